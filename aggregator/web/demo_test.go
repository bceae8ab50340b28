package web

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// demo is a made-up chain behind the pages: the numbers are invented, as tests
// may, and change once a second like a real one's.
type demo struct {
	mu     sync.Mutex // guards all below
	r      *rand.Rand
	rev    uint64
	wake   chan struct{}
	tiles  []protocol.Tile
	revs   []uint64
	since  []int64
	merged uint64
	acked  []string
	exc    []protocol.Exception
	paused map[string]protocol.Pause
	frozen bool
	share  int // one in so many stores has a heartbeat in a second; 0: 15
	desk   *demoDesk
	flow   *demoFlow
}

var (
	demoCities  = strings.Fields("Aachen Augsburg Bamberg Berlin Bielefeld Bochum Bonn Bremen Celle Chemnitz Cottbus Dessau Dresden Düren Düsseldorf Emden Erfurt Essen Flensburg Freiburg Fulda Gera Gießen Görlitz Hagen Halle Hamburg Hanau Heilbronn Jena Karlsruhe Kassel Kiel Köln Łódź Leipzig Lübeck Magdeburg Mainz München Münster Nürnberg Passau Plauen Potsdam Regensburg Rostock Schwerin Siegen Stuttgart Trier Ulm Weimar Wismar Worms Zwickau")
	demoRegions = []string{"North", "Rhine", "East", "South", "Coast"}
)

func newDemo(n int) *demo {
	d := &demo{r: rand.New(rand.NewPCG(7, 7)), rev: 1, wake: make(chan struct{}), desk: newDemoDesk(), paused: map[string]protocol.Pause{}}
	d.flow = newDemoFlow(d.desk)
	now := time.Now().UnixMicro()
	for i := range n {
		t := protocol.Tile{
			Index: i, Store: protocol.StoreID(fmt.Sprintf("S%04d", i+1)), Name: demoCities[d.r.IntN(len(demoCities))], Type: "store",
			Region: demoRegions[min(4, int(absf(d.r.NormFloat64())*2.4))], Presence: protocol.PresenceOnline, Version: "1.8.2",
		}
		lag := d.r.Float64() * 16
		switch p := d.r.Float64(); {
		case p < .012:
			t.Presence, lag, t.Backlog, t.Codes = protocol.PresenceOffline, 3600*(.1+d.r.Float64()*9), 40+d.r.Uint64N(4000), []string{"store_offline"}
		case p < .020:
			t.Presence, lag, t.Backlog, t.Codes = protocol.PresenceStuck, 200+d.r.Float64()*9000, 20+d.r.Uint64N(900), []string{"store_stuck"}
		case p < .05:
			t.Presence, lag, t.Backlog = protocol.PresenceDraining, 35+d.r.Float64()*d.r.Float64()*20000, 20+d.r.Uint64N(9000)
		case p < .056:
			t.Presence, lag, t.Backlog = protocol.PresenceRebuilding, 4000, 20+d.r.Uint64N(30000)
		case p < .065:
			t.Presence, t.Codes = protocol.PresencePOSSilent, []string{"pos_silent"}
		case p < .08:
			lag = 30 + d.r.Float64()*70
		}
		if d.r.Float64() < .04 {
			t.Version = "1.8.1"
		}
		t.WatermarkUS = now - int64(lag*1e6)
		if t.SinceUS = t.WatermarkUS; len(t.Codes) > 0 {
			t.Urgent, t.Urgency = t.Codes[0], map[string]int{"store_stuck": 8, "store_offline": 6, "pos_silent": 5}[t.Codes[0]]
		}
		d.tiles, d.revs, d.since = append(d.tiles, t), append(d.revs, 1), append(d.since, now-int64(lag*1e6))
	}
	for i := range 9 {
		code := []string{"unknown_sku", "id_reused", "bad_unit"}[i%3]
		d.exc = append(d.exc, protocol.Exception{
			ID: fmt.Sprintf("x%d", i), State: "open", Code: code, Reason: []string{"Line 3 names an article that is not a valid GTIN; it was counted under its raw code.", "The same document id came with another content; the first one counts.", "The unit CRT has no conversion for this article."}[i%3],
			Origin: protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", i*7+1)), Agent: "server"}, Epoch: 1, Seq: uint64(4000 + i), Kind: protocol.KindSale, DocumentID: fmt.Sprintf("S%04d-R02-%06d", i*7+1, 817+i),
			At: time.UnixMicro(now).Add(-time.Duration(i*37) * time.Minute).UTC(), Document: map[string]any{"kind": "sale", "lines": []any{map[string]any{"sku": "4006381333932", "quantity": 2}}},
		})
	}
	return d
}

func absf(f float64) float64 { return max(f, -f) }

// step lets a second pass: a fifteenth of the fleet has a heartbeat.
func (d *demo) step() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.frozen {
		return
	}
	d.rev++
	now := time.Now().UnixMicro()
	for i := range d.tiles {
		t := &d.tiles[i]
		switch {
		case t.Presence == protocol.PresenceOnline && d.r.IntN(cmp.Or(d.share, 15)) == 0:
			t.WatermarkUS, d.revs[i] = now-d.r.Int64N(400_000), d.rev
			d.merged += d.r.Uint64N(30)
		case t.Presence == protocol.PresenceDraining && d.r.IntN(3) == 0:
			t.WatermarkUS += 24e6
			t.Backlog, d.revs[i] = t.Backlog*97/100, d.rev
			if t.WatermarkUS > now-30e6 {
				t.Presence, t.Backlog = protocol.PresenceOnline, 0
			}
		}
	}
	close(d.wake)
	d.wake = make(chan struct{})
}

func (d *demo) View(since uint64) protocol.FleetView {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := protocol.FleetView{Boot: "demo", Rev: d.rev, AtUS: time.Now().UnixMicro(), MergedHere: d.merged}
	t := &v.Totals
	t.Stores, t.EventsPerS, t.MergedEvents, t.Exceptions = len(d.tiles), 214.6, 1_204_551+d.merged, 9
	for i := range d.tiles {
		x := &d.tiles[i]
		behind := v.AtUS - x.WatermarkUS
		v.Bands[protocol.Band(x.Presence, behind)]++
		t.ByPresence[presenceNo(x.Presence)]++
		t.BacklogEvents += x.Backlog
		if x.Presence != protocol.PresenceOffline && behind < 60e6 {
			t.Current++
		}
		if s := float64(behind) / 1e6; s > t.WorstLagS {
			t.WorstLagS, t.WorstStore = s, x.Store
		}
		if d.revs[i] > since {
			v.Tiles = append(v.Tiles, *x)
		}
	}
	return v
}

func (d *demo) Wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.wake
}

func (d *demo) Status(id protocol.StoreID) (protocol.StoreStatus, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.tiles {
		if d.tiles[i].Store == id {
			return d.status(&d.tiles[i]), true
		}
	}
	return protocol.StoreStatus{}, false
}

func (d *demo) status(t *protocol.Tile) protocol.StoreStatus {
	now := time.Now()
	lag := now.Sub(time.UnixMicro(t.WatermarkUS))
	pos := now.Add(-20 * time.Second)
	s := protocol.StoreStatus{
		Store: t.Store, Name: t.Name, Region: t.Region, Type: t.Type, Presence: t.Presence, BacklogEvents: t.Backlog, BacklogBytes: t.Backlog * 210,
		MergedSeq: 41_200, HeadSeq: 41_200 + t.Backlog, SafeSeq: 39_000, ClockOffsetMS: -41, LastPOSWriteAt: &pos, Incidents: []protocol.Incident{},
		Reason: "Sales arrive within seconds; nothing is waiting.",
	}
	if t.Backlog > 0 {
		s.LagS = lag.Seconds()
	}
	switch t.Presence {
	case protocol.PresenceOffline:
		s.Reason = fmt.Sprintf("Offline for %s; its link dropped. It keeps selling; at least %d events wait in its journal.", ago(int64(lag.Seconds())), t.Backlog)
	case protocol.PresenceStuck:
		s.Reason = fmt.Sprintf("Stuck for %s: connected, but %d events wait and none is merged; its frames are refused (its journal does not continue what is merged). It keeps selling; nothing is lost.", ago(int64(lag.Seconds())), t.Backlog)
	case protocol.PresenceDraining:
		eta := float64(t.Backlog) / 60
		s.DrainETAS = &eta
		s.Reason = fmt.Sprintf("%s behind and catching up: %d events wait in its journal; current in about %s.", ago(int64(lag.Seconds())), t.Backlog, ago(int64(eta)))
	case protocol.PresencePOSSilent:
		s.Reason = "No till has written for 48 min while the chain is selling. The link is fine; look at the tills."
	}
	for _, c := range t.Codes {
		s.Incidents = append(s.Incidents, protocol.Incident{ID: c + "/" + string(t.Store), Code: c, Store: t.Store, Agent: "server", Since: now.Add(-lag), Summary: s.Reason, Remedy: "Call the shop: is the line up, is the server on?"})
	}
	hb := now.Add(-9 * time.Second)
	s.Agents = []protocol.AgentStatus{{
		Store: t.Store, Agent: "server", Presence: t.Presence, Reason: s.Reason, Connected: t.Presence != protocol.PresenceOffline, BacklogEvents: t.Backlog, Epoch: 1, Lease: 12,
		MergedSeq: s.MergedSeq, HeadSeq: s.HeadSeq, SafeSeq: s.SafeSeq, TailSeq: 18_001, ClockOffsetMS: -41, ClockErrorMS: 12, LastHeartbeatAt: &hb, LastMergedAt: &hb, LastPOSWriteAt: &pos, DrainPerS: 61.5,
		Registers:     []protocol.RegisterSeen{{Register: "R01", LastUS: pos.UnixMicro()}, {Register: "R02", LastUS: pos.Add(-time.Minute).UnixMicro()}, {Register: "R03", LastUS: pos.Add(-3 * time.Hour).UnixMicro()}},
		DiskFreeBytes: 61 << 30, JournalBytes: 48 << 20, FsyncP99US: 4180, AgentVersion: t.Version, UptimeS: 864_000, Counters: map[string]uint64{"duplicates_answered": 12, "pan_masked": 1}, Incidents: s.Incidents,
	}}
	if slices.Contains(t.Codes, "update_failed") {
		s.Agents[0].Update = &protocol.UpdateState{State: protocol.UpdateFailed, Wanted: "1.9.0", Reason: "it did not answer within 60 s after the change; 1.8.2 runs again"}
	}
	return s
}

func (d *demo) Statuses() []protocol.StoreStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []protocol.StoreStatus
	for i := range d.tiles {
		out = append(out, d.status(&d.tiles[i]))
	}
	return out
}

func (d *demo) History(id protocol.StoreID, day bool) []protocol.LagPoint {
	s, ok := d.Status(id)
	if !ok {
		return nil
	}
	n, every := 360, 10
	if day {
		n, every = 1440, 60
	}
	out := make([]protocol.LagPoint, n)
	now := time.Now().Unix()
	for i := range out {
		back := (n - 1 - i) * every
		lag := max(0, s.LagS-float64(back))
		out[i] = protocol.LagPoint{AtS: now - int64(back), LagS: lag}
		if s.LagS > 0 && lag > 0 {
			out[i].Backlog = uint64(float64(s.BacklogEvents) * lag / s.LagS)
		}
	}
	return out
}

func (d *demo) Bands() []protocol.BandColumn {
	n := len(d.tiles)
	out := make([]protocol.BandColumn, 288)
	at := time.Now().UnixMicro()
	r := rand.New(rand.NewPCG(3, 3))
	for i := range out {
		c := &out[i]
		c.AtUS = at - int64(287-i)*300e6
		bad := 1.0
		if i > 150 && i < 190 {
			bad = 4
		}
		left := n
		for k := 7; k > 0; k-- {
			c.Count[k] = min(left, int(bad*float64(n)*[]float64{0, .05, .03, .02, .015, .01, .003, .01}[k]*(.5+r.Float64())))
			left -= c.Count[k]
		}
		c.Count[0] = left
	}
	return out
}

func (d *demo) Past(atUS int64) (protocol.FleetPast, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	back := (time.Now().UnixMicro() - atUS) / 60e6
	if back < 0 || back >= 1440 {
		return protocol.FleetPast{}, false
	}
	p := protocol.FleetPast{Boot: "demo", AtUS: atUS, States: make([]uint8, len(d.tiles)), Backlog: make([]uint64, len(d.tiles))}
	for i := range d.tiles {
		t := &d.tiles[i]
		began := (time.Now().UnixMicro() - d.since[i]) / 60e6
		if back < began { // as bad then as now, only less far behind
			p.States[i] = uint8(presenceNo(t.Presence)<<3 | protocol.Band(t.Presence, (began-back)*60e6))
			p.Backlog[i] = t.Backlog / 2
		}
		if i%5 == 0 && back > 600 && back < 700 { // an outage of the past
			p.States[i] = 5<<3 | 7
		}
	}
	return p, true
}

func (d *demo) acknowledge(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acked = append(d.acked, id)
	return strings.HasPrefix(id, "events_unrecoverable/")
}

const demoSKU = protocol.SKU("04006381333931")

func (d *demo) availability(sku protocol.SKU) (protocol.Availability, bool) {
	a := protocol.Availability{SKU: sku, AsOf: time.Now().UTC()}
	if sku != demoSKU {
		return a, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range min(24, len(d.tiles)) {
		t := &d.tiles[i]
		q := protocol.Quantities{OnHand: protocol.Units(int64(i*7%19) - 1), Reserved: protocol.Units(int64(i % 2))}
		l := protocol.AvailabilityLocation{Location: t.Store, Type: "store", Quantities: q, Available: max(0, q.OnHand-q.Reserved), AsOf: time.UnixMicro(t.WatermarkUS).UTC(), LagS: time.Since(time.UnixMicro(t.WatermarkUS)).Seconds(), Provisional: i == 4}
		a.Totals.OnHand += q.OnHand
		a.Totals.Reserved += q.Reserved
		a.Totals.Available += l.Available
		a.Locations = append(a.Locations, l)
	}
	return a, true
}

func (d *demo) explain(_ context.Context, sku protocol.SKU, loc protocol.StoreID, _ int, when Moment) (protocol.Explanation, error) {
	if sku != demoSKU {
		return protocol.Explanation{}, ledger.ErrNotFound
	}
	now := time.Now().Truncate(time.Second).In(time.FixedZone("", 3600))
	line := func(back time.Duration, k protocol.Kind, q, eff int64, inside bool, flags ...string) protocol.ExplainLine {
		return protocol.ExplainLine{Position: 1, Kind: k, DocumentID: string(loc) + "-R02-000817", Origin: protocol.Origin{Store: loc, Agent: "server"}, Epoch: 1, Seq: uint64(41_000 - back/time.Minute), Register: "R02", OccurredAt: now.Add(-back), Quantity: protocol.Units(q), Effect: protocol.Units(eff), InsideCut: inside, Flags: flags}
	}
	anchor, until := line(30*time.Hour, protocol.KindCount, 12, 12, false), now.Add(15*time.Minute)
	if when.AtUS != 0 { // what was known then lacks the return, which came in late
		t := time.UnixMicro(when.AtUS).UTC()
		x := protocol.Explanation{SKU: sku, Location: loc, Anchor: &anchor, At: &t, Quantities: protocol.Quantities{OnHand: protocol.Units(12)}, Sum: "12 counted + 1 returned − 1 sold = 12 on hand"}
		if when.KnownUS != 0 {
			x.KnownAt, x.OnHand, x.Sum = &t, protocol.Units(11), "12 counted − 1 sold = 11 on hand"
		}
		return x, nil
	}
	return protocol.Explanation{
		SKU: sku, Location: loc, Anchor: &anchor, Lines: []protocol.ExplainLine{line(4*time.Minute, protocol.KindSale, 2, -2, false), line(3*time.Hour, protocol.KindReturn, 1, 1, false), line(26*time.Hour, protocol.KindSale, 1, -1, false), line(31*time.Hour, protocol.KindSale, 1, 0, true, "by_event_time")},
		Quantities: protocol.Quantities{OnHand: protocol.Units(8), Reserved: protocol.Units(1), Allocated: protocol.Units(2), SafetyStock: protocol.Units(1)},
		RiskBuffer: protocol.Units(1), Available: protocol.Units(3), AsOf: now, Sum: "12 counted − 3 sold + 1 returned = 10 on hand; − 2 announced by server and on its way",
		OnTheWay: []protocol.ExplainDigest{{Agent: "server", MergedSeq: 40_996, AsOfSeq: 41_120, AsOf: now, OnHand: -protocol.Units(2)}},
		Holds: []protocol.ExplainHold{
			{ReservationID: "web-100234", Channel: "web", State: protocol.ReservationHeld, Reserved: protocol.Units(1), ExpiresAt: &until},
			{ReservationID: "web-100187", Channel: "web", State: protocol.ReservationAccepted, Allocated: protocol.Units(2)},
		},
		Buffers: []protocol.ExplainBuffer{
			{Quantity: "safety_stock", Value: protocol.Units(1), Reason: "policy fragile, version 3"},
			{Quantity: "risk_buffer", Value: protocol.Units(1), Reason: "what may have been sold in the 410 s since the store was last known whole, at a service level of 0.95"},
		},
		Variance: &protocol.Variance{Counted: protocol.Units(12), Book: protocol.Units(13), LateSales: 1},
	}, nil
}

func (d *demo) exceptions(f ledger.Filter) ([]protocol.Exception, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []protocol.Exception
	for _, e := range d.exc {
		if (f.State == "" || e.State == f.State) && (f.Code == "" || e.Code == f.Code) && (f.Store == "" || e.Origin.Store == f.Store) && e.ID > f.After && (f.Limit == 0 || len(out) < f.Limit) && (f.Source == "" || f.Source == ledger.SourceOf(e.Origin)) && !e.At.Before(f.Since) && (f.Until.IsZero() || e.At.Before(f.Until)) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (d *demo) open() int { e, _ := d.exceptions(ledger.Filter{State: "open"}); return len(e) }

func (d *demo) decide(id, state, note string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.exc, func(e protocol.Exception) bool { return e.ID == id })
	if i < 0 {
		return ledger.ErrNotFound
	}
	d.exc[i].State, d.exc[i].Note, d.exc[i].DecidedAt = state, note, time.Now()
	return nil
}

// demoManual is the real one; a test of every link would fail without it.
func demoManual() []byte {
	b, err := os.ReadFile("../../deploy/OPERATIONS.md")
	if err != nil {
		panic(err)
	}
	return b
}

func (d *demo) options() Options {
	o := Options{
		Dev: true, Version: "0.1.0", Manual: demoManual(), Fleet: d, Availability: d.availability, Explain: d.explain,
		Search:     func(string, int) []protocol.SKU { return []protocol.SKU{demoSKU, "04006381333948"} },
		Exceptions: d.exceptions, OpenCount: d.open, Exception: d.exception, Mending: demoMending{d},
		Retry:   func(_ context.Context, id, _ string) error { return d.decide(id, "retried", "") },
		Discard: func(_ context.Context, id, _, note string) error { return d.decide(id, "discarded", note) },

		Acknowledge: func(_ context.Context, id, _ string) bool { return d.acknowledge(id) },
	}
	d.desk.into(&o)
	d.flow.into(&o)
	return o
}

// serve runs the pages over d, which steps once a second until the test ends.
func serve(t testing.TB, d *demo, edit ...func(*Options)) string {
	t.Helper()
	return serveBehind(t, d, func(ln net.Listener) net.Listener { return ln }, edit...)
}

// serveBehind serves behind a listener of the test's own.
func serveBehind(t testing.TB, d *demo, door func(net.Listener) net.Listener, edit ...func(*Options)) string {
	t.Helper()
	o := d.options()
	for _, e := range edit {
		e(&o)
	}
	w, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(w.Handler())
	s.Listener = door(s.Listener)
	s.Start()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				d.step()
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done; w.Close(); s.Close() })
	return s.URL
}

func (d *demo) exception(id string) (protocol.Exception, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.IndexFunc(d.exc, func(e protocol.Exception) bool { return e.ID == id }); i >= 0 {
		return d.exc[i], nil
	}
	return protocol.Exception{}, ledger.ErrNotFound
}
