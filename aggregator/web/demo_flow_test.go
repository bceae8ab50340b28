package web

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tillwire/aggregator/posting"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// demoFlow is what the made-up chain says to other systems.
type demoFlow struct {
	*demoDesk
	postings []protocol.Posting
	held     bool
	hooks    []protocol.Subscription
	letters  map[string][]protocol.DeadLetter
	rollout  *protocol.Rollout
	broken   error // answered by all that is asked
}

const demoEvent = "0123456789abcdef0123456789abcdef"

func newDemoFlow(d *demoDesk) *demoFlow {
	f := &demoFlow{demoDesk: d, letters: map[string][]protocol.DeadLetter{}}
	at := time.Now().UTC().Add(-2 * time.Hour)
	for i, s := range []protocol.PostingState{protocol.PostingPosted, protocol.PostingParked, protocol.PostingDue, protocol.PostingPosted, protocol.PostingDiscarded, protocol.PostingParked} {
		p := protocol.Posting{
			ID: fmt.Sprintf("PST%013d", i), ERP: "tryton", Store: protocol.StoreID(fmt.Sprintf("S%04d", 1+i/2)), Day: "2026-03-31", PostDay: "2026-03-31", Class: []string{"sale", "receipt", "count"}[i%3],
			State: s, LineCount: 6 - i, Quantity: protocol.Units(int64(i*7 - 12)), CutAt: at.Add(time.Duration(-i) * time.Minute),
		}
		switch s {
		case protocol.PostingPosted:
			p.ERPID, p.DecidedAt = fmt.Sprintf("stock.move/%d", 880+i), at.Add(time.Minute)
		case protocol.PostingParked:
			p.Code, p.Reason, p.Attempts = "product_unknown", "tryton has no product of the code 04006381333931.", 1
		case protocol.PostingDue:
			p.Attempts, p.NextAt = 3, time.Now().UTC().Add(time.Minute)
		case protocol.PostingDiscarded:
			p.DecidedBy, p.Note, p.DecidedAt = "ann", "booked by hand", at
		}
		f.postings = append(f.postings, p)
	}
	sent := at.Add(time.Hour)
	for i, state := range []string{protocol.SubscriptionActive, protocol.SubscriptionPaused} {
		s := protocol.Subscription{
			ID: fmt.Sprintf("sub%d", i), State: state, CreatedAt: at, CreatedBy: "ann", Sent: 1204, Items: 30551, LastSentAt: &sent,
			SubscriptionRequest: protocol.SubscriptionRequest{URL: "https://shop.example/hooks?token=verysecret", Name: []string{"Web shop", "Old app"}[i], Events: protocol.SubscriptionEvents[:1], BatchMax: 100},
		}
		if state == protocol.SubscriptionPaused {
			s.Reason, s.Pending, s.LagS, s.DeadLetters = "The receiver did not take a message for 3 days.", 412, 260000, 1
			f.letters[s.ID] = []protocol.DeadLetter{{ID: "d1", At: at, Kind: protocol.EventAvailabilityChanged, Reason: "the receiver answered 400", Attempts: 1, Keys: []string{string(demoSKU) + "@S0003"}}}
		}
		f.hooks = append(f.hooks, s)
	}
	f.letters["vendure"] = []protocol.DeadLetter{{ID: "v1", At: at, Kind: "order", Reason: "The order names a place that no location is mapped to: 7.", Document: `{"order":"V-1001"}`}}
	f.rollout = &protocol.Rollout{Version: "1.9.0", Percent: 25, Regions: []string{"North"}, By: "ann", At: at}
	return f
}

func (f *demoFlow) Postings(_ context.Context, q posting.Filter) (out []protocol.Posting, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	past := q.After == ""
	for _, p := range f.postings {
		if past && (q.State == "" || p.State == q.State) && (q.Store == "" || p.Store == q.Store) && (q.Class == "" || p.Class == q.Class) && (q.Day == "" || p.Day == q.Day) && (q.ERP == "" || p.ERP == q.ERP) && len(out) < q.Limit {
			out = append(out, p)
		}
		past = past || p.ID == q.After
	}
	return out, f.broken
}

func (f *demoFlow) find(id string) (*protocol.Posting, error) {
	if i := slices.IndexFunc(f.postings, func(p protocol.Posting) bool { return p.ID == id }); i >= 0 {
		return &f.postings[i], nil
	}
	return nil, fmt.Errorf("posting %s: %w", id, ledger.ErrNotFound)
}

func (f *demoFlow) Posting(_ context.Context, id string) (protocol.Posting, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.find(id)
	if err != nil {
		return protocol.Posting{}, err
	}
	out := *p
	var ev protocol.EventID
	_ = ev.UnmarshalText([]byte(demoEvent))
	for n := range 2 {
		l := protocol.PostingLine{SKU: demoSKU, Quantity: protocol.Units(int64(-3 - n))}
		for k := range 1 + 4*n {
			l.Sources = append(l.Sources, protocol.PostingSource{EventID: ev, Kind: protocol.KindSale, DocumentID: fmt.Sprintf("S0001-R02-%06d", 817+k), Origin: protocol.Origin{Store: "S0001", Agent: "server"}, Quantity: protocol.Units(-1)})
		}
		out.Lines = append(out.Lines, l)
	}
	return out, nil
}

func (f *demoFlow) PostingsOf(context.Context, protocol.EventID) ([]protocol.Posting, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.postings[:1]), nil
}

func (f *demoFlow) decide(id, what, who, note string, to protocol.PostingState) (protocol.Posting, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, err := f.find(id)
	if err != nil {
		return protocol.Posting{}, err
	}
	if p.State != protocol.PostingParked {
		return *p, protocol.NewProblem(409, "not_parked", "Not parked", "It is "+string(p.State)+".", "")
	}
	p.State, p.Reason, p.Code, p.Note, p.DecidedBy, p.DecidedAt = to, "", "", note, who, time.Now().UTC()
	f.record(who, "posting."+what, id, note, map[string]any{"state": "parked"}, map[string]any{"state": to})
	return *p, nil
}

func (f *demoFlow) RetryPosting(_ context.Context, id, who string) (protocol.Posting, error) {
	return f.decide(id, "retry", who, "", protocol.PostingDue)
}

func (f *demoFlow) DiscardPosting(_ context.Context, id, who, note string) (protocol.Posting, error) {
	return f.decide(id, "discard", who, note, protocol.PostingDiscarded)
}

func (f *demoFlow) ResumePostings(_ context.Context, who, note string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = false
	f.record(who, "posting.resume", "tryton", note, nil, nil)
	return nil
}

func (f *demoFlow) Standings(context.Context) ([]protocol.PostingStanding, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := protocol.PostingStanding{ERP: "tryton", Kind: "tryton", Stores: 40, Posted: 18_204, LinesPosted: 402_771, Waiting: 1204, Up: true, Held: f.held, Items: 12_006, ItemsWrong: 3, LastPosted: time.Now().Add(-40 * time.Second), LagS: 130}
	for _, p := range f.postings {
		s.Parked += map[bool]int{true: 1}[p.State == protocol.PostingParked]
		s.Due += map[bool]int{true: 1}[p.State == protocol.PostingDue]
	}
	return []protocol.PostingStanding{s}, f.broken
}

func (f *demoFlow) parked() int {
	all, _ := f.Standings(context.Background())
	return all[0].Parked
}

func (f *demoFlow) Connectors() []protocol.Connector {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := time.Now().UTC().Add(-9 * time.Minute)
	return []protocol.Connector{
		{Name: "wms", Kind: "edi", Direction: protocol.ConnectorIn, State: protocol.ConnectorOK, In: 90, InPerS: .4, DelayS: 12, LastDocument: &protocol.ConnectorDoc{ID: "943-7", Kind: "944", At: at}},
		{
			Name: "marketplace", Kind: "listings", Direction: protocol.ConnectorOut, State: protocol.ConnectorOK, LagS: 41, Pending: 220, Out: 81_004, Coalesced: 19_220, Throttled: 12, Retries: 14,
			Rates: []protocol.ConnectorRate{{Account: "eu", Operation: "patch_listing", PerS: 5, Burst: 10, Left: 3.4, Learnt: true}, {Operation: "get_listing", PerS: 2, Burst: 20, Left: 20}},
			SLA:   &protocol.ConnectorSLA{Items: 1000, TargetS: 120, Within: .982, P50S: 8.2, P90S: 31, P99S: 144, MaxS: 410}, LastDocument: &protocol.ConnectorDoc{ID: "feed-81004", Kind: "patch", At: at},
		},
		{
			Name: "vendure", Kind: "vendure", Direction: protocol.ConnectorBoth, State: protocol.ConnectorOK, In: 2211, Out: 40_120, Echoes: 39_004, Duplicates: 4, DeadLetters: len(f.letters["vendure"]), Divergences: 1,
			Drift:        []protocol.SchemaDrift{{Where: "order", Field: "/lines/*/giftWrap", Count: 41, FirstAt: at.Add(-time.Hour), LastAt: at}},
			LastDocument: &protocol.ConnectorDoc{ID: "V-1001", Kind: "order", At: at}, LastError: &protocol.ConnectorErr{Message: "502 Bad Gateway", At: at},
		},
	}
}

func (f *demoFlow) LettersOf(name string) ([]protocol.DeadLetter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.letters[name]), nil
}

func (f *demoFlow) DecideLetter(_ context.Context, name, letter string, retry bool, who string) (protocol.DeadLetter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if retry {
		return protocol.DeadLetter{}, protocol.NewProblem(409, "still_refused", "", "No location is mapped to place 7.", "map it, or discard the document")
	}
	f.letters[name] = slices.DeleteFunc(f.letters[name], func(d protocol.DeadLetter) bool { return d.ID == letter })
	f.record(who, "connector.letter_discard", name, letter, nil, nil)
	return protocol.DeadLetter{}, nil
}

func (f *demoFlow) Divergences(name string) ([]protocol.Divergence, error) {
	if name != "vendure" {
		return nil, nil
	}
	at := time.Now().UTC().Add(-5 * time.Minute)
	return []protocol.Divergence{{SKU: demoSKU, Location: "S0003", Field: "on_hand", Expected: protocol.Units(4), Actual: protocol.Units(6), Cause: "phantom_unit", Words: "It shows two that are not there: somebody changed it in its own desk.", Since: at, SeenAt: at}}, nil
}

func (f *demoFlow) ReplayFeed(_ context.Context, name string, _ time.Time, who string) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.record(who, "feed.replay", name, "", nil, nil)
	return 3, nil
}

// demoHooks are the subscriptions; their names collide with those of postings.
type demoHooks struct{ *demoFlow }

func (f demoHooks) List() []protocol.Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.hooks)
}

func (f demoHooks) edit(id, who, action string, do func(*protocol.Subscription)) (protocol.Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.hooks, func(s protocol.Subscription) bool { return s.ID == id })
	if i < 0 {
		return protocol.Subscription{}, protocol.NewProblem(404, "unknown_subscription", "", "There is no such subscription.", "")
	}
	if action != "" {
		f.record(who, "subscription."+action, id, "", nil, nil)
	}
	do(&f.hooks[i])
	return f.hooks[i], nil
}

func (f demoHooks) Create(_ context.Context, r *protocol.SubscriptionRequest, who string) (protocol.Subscription, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := protocol.Subscription{ID: "sub9", State: protocol.SubscriptionActive, CreatedAt: time.Now().UTC(), CreatedBy: who, SubscriptionRequest: *r, Secret: "whsec_fresh"}
	f.hooks = append(f.hooks, s)
	f.record(who, "subscription.create", s.ID, "", nil, nil)
	return s, nil
}

func (f demoHooks) Get(id string) (protocol.Subscription, error) {
	return f.edit(id, "", "", func(*protocol.Subscription) {})
}

func (f demoHooks) Delete(_ context.Context, id, who string) error {
	if _, err := f.edit(id, who, "delete", func(*protocol.Subscription) {}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hooks = slices.DeleteFunc(f.hooks, func(s protocol.Subscription) bool { return s.ID == id })
	return nil
}

func (f demoHooks) Test(_ context.Context, id, who string) (protocol.SubscriptionTest, error) {
	s, err := f.edit(id, who, "test", func(*protocol.Subscription) {})
	t := protocol.SubscriptionTest{Delivered: s.State == protocol.SubscriptionActive, Status: 204, DurationMS: 31}
	if !t.Delivered {
		t.Error = "connection refused"
	}
	return t, err
}

func (f demoHooks) Rotate(_ context.Context, id string, overlap time.Duration, who string) (protocol.Subscription, error) {
	return f.edit(id, who, "rotate", func(s *protocol.Subscription) {
		until := time.Now().Add(overlap).UTC()
		s.Secret, s.OldSecretEnds = "whsec_next", &until
	})
}

func (f demoHooks) Resume(_ context.Context, id, who string) (protocol.Subscription, error) {
	return f.edit(id, who, "resume", func(s *protocol.Subscription) { s.State, s.Reason = protocol.SubscriptionActive, "" })
}

func (f demoHooks) Replay(_ context.Context, id string, from time.Time, _ uint64, who string) (protocol.Subscription, error) {
	return f.edit(id, who, "replay", func(s *protocol.Subscription) { s.LagS = time.Since(from).Seconds() })
}

func (f demoHooks) DeadLetters(id string) ([]protocol.DeadLetter, error) { return f.LettersOf(id) }

func (f demoHooks) DecideDeadLetter(_ context.Context, id, letter string, _ bool, who string) (protocol.DeadLetter, error) {
	_, err := f.edit(id, who, "letter_discard", func(s *protocol.Subscription) { s.DeadLetters = 0 })
	f.mu.Lock()
	defer f.mu.Unlock()
	f.letters[id] = nil
	return protocol.DeadLetter{ID: letter}, err
}

func (f *demoFlow) trace(_ context.Context, q protocol.TraceQuery) (*protocol.Trace, error) {
	if len(q.ID) < traceIDMin || strings.Contains(q.ID, "nothing") {
		return nil, protocol.NewProblem(404, "unknown_trace", "No such document here", q.ID+" is nowhere in the log and not parked", "name its store and kind")
	}
	at := time.Now().UTC().Add(-3 * time.Hour)
	after := func(ms int64) *int64 { return &ms }
	var ev protocol.EventID
	_ = ev.UnmarshalText([]byte(demoEvent))
	d := protocol.TracedDocument{
		EventID: ev, Kind: protocol.KindSale, Store: "S0001", DocumentID: "S0001-R02-000817", State: "merged", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Hops: []protocol.Hop{
			{Hop: "occurred", At: at, Clock: "register", By: "R02"},
			{Hop: "journaled", At: at.Add(120 * time.Millisecond), Clock: "agent", By: "S0001/server", Detail: "epoch 1, seq 4120", AfterMS: after(120)},
			{Hop: "merged", At: at.Add(4300 * time.Millisecond), Clock: "aggregator", By: "aggregator", Detail: "position 90211 of the log; availability shows it from here on", AfterMS: after(4180)},
			{Hop: "reservation", At: at.Add(5 * time.Second), Clock: "aggregator", By: "web", Detail: "reservation web-103 is collected", AfterMS: after(700), Ref: map[string]any{"reservation": "web-103"}},
			{Hop: "posting", At: at.Add(40 * time.Minute), Clock: "aggregator", By: "tryton", Detail: "posted as stock.move/880", AfterMS: after(2_395_000), Ref: map[string]any{"posting": f.postings[0].ID}},
		},
		Lines: []protocol.TraceLine{{Line: 1, SKU: demoSKU, Quantity: protocol.Units(-2)}},
	}
	if q.ID == "W-7001" { // an order, of which a second document is parked
		p := d
		p.EventID[0]++
		p.Kind, p.State, p.DocumentID = protocol.KindReturn, "parked", "S0001-R02-000901"
		p.Hops = []protocol.Hop{d.Hops[0], {Hop: "parked", At: at.Add(time.Second), Clock: "aggregator", By: "S0001/server", Detail: "unknown_sku: Line 3 names an article that is not a valid GTIN", AfterMS: after(1000), Ref: map[string]any{"exception": "x0"}}}
		return &protocol.Trace{ID: q.ID, Documents: []protocol.TracedDocument{d, p}, Searched: &protocol.TraceSearch{Entries: 90211, FromAt: &at, Whole: true}}, nil
	}
	return &protocol.Trace{ID: q.ID, Documents: []protocol.TracedDocument{d}}, nil
}

func (f *demoFlow) View() (protocol.Releases, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := protocol.Releases{Released: &protocol.Released{Version: "1.9.0", Sequence: 14, ExpiresAt: time.Now().UTC().Add(80 * 24 * time.Hour), Platforms: []string{"linux/amd64", "windows/amd64"}}}
	if f.rollout != nil {
		r := *f.rollout
		v.Rollout, v.Progress = &r, protocol.RolloutProgress{InScope: 160, Chosen: 160 * r.Percent / 100, Running: 22, Asked: 6, Failed: 2, Waiting: max(0, 160*r.Percent/100-30)}
	}
	return v, f.broken
}

func (f *demoFlow) Set(_ context.Context, next protocol.Rollout, who string) (protocol.Releases, error) {
	if next.Percent > 100 {
		return protocol.Releases{}, protocol.NewProblem(422, "invalid_rollout", "", "percent is 101, must be 0 to 100", "")
	}
	f.mu.Lock()
	next.By, next.At = who, time.Now().UTC()
	f.rollout = &next
	f.record(who, "release.rollout", next.Version, next.Paused, nil, next)
	f.mu.Unlock()
	return f.View()
}

func (f *demoFlow) into(o *Options) {
	o.Flow, o.Postings, o.Parked, o.Connectors, o.Subscriptions, o.Trace, o.Releases, o.Outcomes = f.flow, f, f.parked, f, demoHooks{f}, f.trace, f, demoOutcomes
	at, until := time.Now().UTC().Add(-48*time.Hour), time.Now().UTC().Add(20*24*time.Hour)
	o.Identities = func() []protocol.Identity {
		return []protocol.Identity{{Store: "S0001", Agent: "server", Kind: "certificate", Status: "expiring", NotAfter: &until}, {Store: "S0002", Agent: "server", Kind: "token", Status: "active"}}
	}
	o.APIKeys = func() ([]protocol.APIKey, error) {
		return []protocol.APIKey{{ID: "k1", Name: "webshop", Role: "channel", Status: "active", CreatedAt: at, ExpiresAt: &until}}, nil
	}
}

// flow invents a day of each connection: by daylight, with an outage, and a gap in
// which nobody looked. One that began a minute ago has no curve yet.
func (f *demoFlow) flow(name string) (out []protocol.FlowPoint) {
	now := time.Now().Truncate(time.Minute)
	n := map[string]int{"connector/wms": 1440, "connector/marketplace": 1440, "connector/vendure": 400, "subscription/sub0": 1440, "subscription/sub1": 1440, "erp/tryton": 1440}[name]
	for back := n - 1; back >= 0; back-- {
		at := now.Add(time.Duration(-back) * time.Minute)
		p := protocol.FlowPoint{AtS: at.Unix(), PerMin: uint64(12 + 11*math.Sin(float64(back)/230) + float64(back*7%5))}
		switch {
		case back > 700 && back < 760:
			continue
		case name == "subscription/sub1":
			p.LagS, p.Waits, p.PerMin = 260_000-60*float64(back), 412, 0
		case name != "connector/wms" && back > 240 && back < 300:
			p.LagS, p.Waits, p.PerMin = 60*float64(300-back), uint64(20*(300-back)), 0
		case name == "connector/marketplace":
			p.LagS, p.Waits = 20+float64(back%30), uint64(180+back%50)
		}
		out = append(out, p)
	}
	return out
}

func demoOutcomes(_ context.Context, f protocol.OutcomesFilter) (protocol.Outcomes, error) {
	out := protocol.Outcomes{Group: f.Group, WeeksKept: 110, Definitions: map[string]string{"oversells": "Promises that stock no longer covered, and positions that fell below zero.", "manual_reconciliations": "Differences that a person decided on."}}
	share, ms := func(v float64) *float64 { return &v }, func(v int64) *int64 { return &v }
	row := func(i int64) protocol.Outcome {
		return protocol.Outcome{
			Discrepancy: protocol.Discrepancy{Lines: 400 + 10*i, Differing: 30 - 2*i, Rate: share(float64(30-2*i) / float64(400+10*i)), Unexplained: protocol.Units(60 - i)},
			Oversells:   protocol.Oversells{Total: 12 - i, AtRisk: 8 - i/2, BelowZero: 4 - i/2}, Reconciliations: 40 - 3*i,
			SyncWindow: protocol.SyncWindow{Documents: 90_000, P50MS: ms(900), P95MS: ms(4800 - 200*i), P99MS: ms(20_000), MaxMS: ms(900_000)},
			Fulfilment: protocol.FulfilmentSum{Kept: 900 + i, Short: 14 - i, Rejected: 3, Accuracy: share(.97 + float64(i)/600)},
		}
	}
	n := map[string]int64{protocol.ByWeek: 13, protocol.ByStore: 4, protocol.ByChannel: 2}[f.Group[0]]
	for i := range n {
		o := row(i)
		switch f.Group[0] {
		case protocol.ByWeek:
			o.Week = time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(7*i)).Format(time.DateOnly)
		case protocol.ByStore:
			o.Store = protocol.StoreID(fmt.Sprintf("S%04d", i+1))
		default:
			o.Channel = []string{"web", "app"}[i]
		}
		out.Rows = append(out.Rows, o)
		out.Total.Oversells.Total += o.Oversells.Total
	}
	out.Total.Fulfilment, out.Total.SyncWindow, out.Total.Discrepancy = row(6).Fulfilment, row(6).SyncWindow, row(6).Discrepancy
	return out, nil
}
