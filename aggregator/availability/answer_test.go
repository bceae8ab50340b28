package availability

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// plainRules answer from a map.
type plainRules map[protocol.SKU]*protocol.Holdbacks

func (r plainRules) Rev() uint64 { return 1 }

func (r plainRules) For(sku protocol.SKU, _ int64) *protocol.Holdbacks { return r[sku] }

// plainBuffer is easy to work out by hand: what sells in that time at this rate,
// whatever the service level.
func plainBuffer(rate float32, _ *[168]float32, _ int, fromUS, toUS int64, _, _ float64) protocol.Quantity {
	return protocol.Units(int64(math.Ceil(float64(rate) * float64(toUS-fromUS) / 3.6e9)))
}

// plain is the model without cleverness: maps, and the formulas as the contract
// has them.
type plain struct {
	cells map[protocol.SKU]map[protocol.StoreID]Cell
	locs  map[protocol.StoreID]LocationState
	rules plainRules
	kits  map[protocol.SKU][]protocol.KitComponent
}

func (p *plain) location(sku protocol.SKU, loc protocol.StoreID, channel string) protocol.AvailabilityLocation {
	c, l, h := p.cells[sku][loc], LocationState{Type: "store", Provisional: true}, &protocol.Holdback{}
	if known, ok := p.locs[loc]; ok {
		l = known
	}
	if r := p.rules[sku]; r != nil {
		h = r.For(loc)
	}
	asOf := l.WatermarkUS
	if asOf == 0 {
		asOf = c.LastUS / 1e6 * 1e6
	}
	age := epoch.UnixMicro() - asOf
	x := protocol.AvailabilityLocation{
		Location: loc, Type: l.Type, AsOf: time.UnixMicro(asOf).UTC(), LagS: float64(age/1000) / 1000, Provisional: l.Provisional,
		Quantities: protocol.Quantities{
			OnHand: c.OnHand, Reserved: c.Reserved, Allocated: c.Allocated, SafetyStock: h.Safety + h.Threshold,
			InTransit: c.InTransit, Unavailable: c.Unavailable,
		},
		Incoming: c.Incoming, UnavailableBy: protocol.UnavailableOf(c.UnavailableBy), ServiceLevel: h.Alpha,
		Dark: !l.Feed && h.DarkAfterS > 0 && age > h.DarkAfterS*1e6,
	}
	if h.Alpha > 0 {
		x.RiskBuffer = plainBuffer(c.Rate, nil, 0, asOf, epoch.UnixMicro(), h.Alpha, 0)
	}
	if x.Dark {
		x.RiskBuffer = max(x.RiskBuffer, h.Escrow)
	}
	for _, f := range h.Fences {
		if f.Channel != channel && channel != "" {
			x.Fenced += f.Quantity
		}
	}
	x.Available = max(0, x.OnHand-x.Unavailable-x.Reserved-x.Allocated-x.SafetyStock-x.RiskBuffer-x.Fenced)
	return x
}

func (p *plain) get(sku protocol.SKU, channel string) protocol.Availability {
	a := protocol.Availability{SKU: sku, AsOf: epoch, Channel: channel, Locations: []protocol.AvailabilityLocation{}}
	if parts := p.kits[sku]; parts != nil {
		a.Kit, a.Components = true, parts
		a.Locations = p.kit(parts, channel)
	} else {
		for loc := range p.cells[sku] {
			a.Locations = append(a.Locations, p.location(sku, loc, channel))
		}
	}
	slices.SortFunc(a.Locations, func(x, y protocol.AvailabilityLocation) int { return cmp.Compare(x.Location, y.Location) })
	for _, l := range a.Locations {
		t := &a.Totals
		t.OnHand, t.Reserved, t.Allocated = t.OnHand+l.OnHand, t.Reserved+l.Reserved, t.Allocated+l.Allocated
		t.SafetyStock, t.InTransit, t.Unavailable = t.SafetyStock+l.SafetyStock, t.InTransit+l.InTransit, t.Unavailable+l.Unavailable
		t.Available, t.RiskBuffer, t.Fenced, t.Incoming = t.Available+l.Available, t.RiskBuffer+l.RiskBuffer, t.Fenced+l.Fenced, t.Incoming+l.Incoming
	}
	return a
}

func (p *plain) kit(parts []protocol.KitComponent, channel string) (out []protocol.AvailabilityLocation) {
	out = []protocol.AvailabilityLocation{}
	per := map[protocol.SKU]protocol.Quantity{}
	for _, part := range parts {
		per[part.SKU] += part.Quantity
	}
locations:
	for loc := range p.cells[parts[0].SKU] {
		x := protocol.AvailabilityLocation{Location: loc, Available: math.MaxInt64, AsOf: epoch.AddDate(100, 0, 0)}
		for sku, q := range per {
			if _, ok := p.cells[sku][loc]; !ok {
				continue locations
			}
			l := p.location(sku, loc, channel)
			x.Type, x.Available = l.Type, min(x.Available, protocol.Units(int64(l.Available/q)))
			x.Dark, x.Provisional, x.LagS = x.Dark || l.Dark, x.Provisional || l.Provisional, max(x.LagS, l.LagS)
			if l.AsOf.Before(x.AsOf) {
				x.AsOf = l.AsOf
			}
		}
		out = append(out, x)
	}
	return out
}

func drawWorld(t *rapid.T, m *Model) *plain {
	p := &plain{
		cells: map[protocol.SKU]map[protocol.StoreID]Cell{}, locs: map[protocol.StoreID]LocationState{}, rules: plainRules{},
		kits: map[protocol.SKU][]protocol.KitComponent{},
	}
	q := func(name string, least, most int64) protocol.Quantity {
		return protocol.Quantity(rapid.Int64Range(least, most).Draw(t, name)) * 250
	}
	sku := func() protocol.SKU { return protocol.SKU(fmt.Sprint("sku\"<", rapid.IntRange(0, 6).Draw(t, "sku"))) }
	loc := func() protocol.StoreID {
		return protocol.StoreID(fmt.Sprint("S", rapid.IntRange(0, 12).Draw(t, "loc")))
	}
	for range rapid.IntRange(1, 60).Draw(t, "updates") {
		c := Cell{
			SKU: sku(), Location: loc(), OnHand: q("on hand", -20, 200), InTransit: q("transit", 0, 2), Incoming: q("incoming", 0, 2),
			Reserved: q("reserved", 0, 4), Allocated: q("allocated", 0, 4), Rate: float32(rapid.IntRange(0, 3).Draw(t, "rate")),
			LastUS: epoch.UnixMicro() - rapid.Int64Range(0, 1e11).Draw(t, "age"), CountedUS: epoch.UnixMicro() - rapid.Int64Range(0, 1e12).Draw(t, "counted"),
		}
		for i := range c.UnavailableBy {
			c.UnavailableBy[i] = q("unavailable", 0, 1)
			c.Unavailable += c.UnavailableBy[i]
		}
		m.Apply([]Cell{c})
		if p.cells[c.SKU] == nil {
			p.cells[c.SKU] = map[protocol.StoreID]Cell{}
		}
		p.cells[c.SKU][c.Location] = c
		if rapid.Bool().Draw(t, "known") {
			l := LocationState{
				Type: "dc", WatermarkUS: epoch.UnixMicro() - rapid.Int64Range(0, 1e11).Draw(t, "lag"), Feed: rapid.Bool().Draw(t, "feed"),
				Provisional: rapid.Bool().Draw(t, "provisional"),
			}
			m.SetLocation(c.Location, l)
			p.locs[c.Location] = l
		}
	}
	held := func() protocol.Holdback {
		h := protocol.Holdback{
			Safety: q("safety", 0, 4), Threshold: q("threshold", 0, 4), Escrow: q("escrow", 0, 40),
			Alpha: rapid.SampledFrom([]float64{0, 0.5, 0.95, 0.999}).Draw(t, "alpha"), DarkAfterS: rapid.Int64Range(0, 2).Draw(t, "dark") * 900,
		}
		for _, ch := range []string{"web", "market"} {
			if rapid.Bool().Draw(t, "fenced") {
				h.Fences = append(h.Fences, protocol.Fence{Channel: ch, Quantity: q("fence", 0, 20)})
			}
		}
		return h
	}
	for range rapid.IntRange(0, 4).Draw(t, "policies") {
		h := &protocol.Holdbacks{Default: held(), At: map[protocol.StoreID]*protocol.Holdback{}}
		for range rapid.IntRange(0, 3).Draw(t, "exceptions") {
			x := held()
			h.At[loc()] = &x
		}
		p.rules[sku()] = h
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "kits") {
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			k := protocol.SKU(fmt.Sprint("kit", i))
			p.kits[k] = append(p.kits[k], protocol.KitComponent{SKU: sku(), Quantity: q("per kit", 1, 12)})
		}
	}
	return p
}

// TestAnswersAreThoseOfAPlainModel holds Get against formulas written down a
// second time, AppendJSON against encoding/json, and Promise against both.
func TestAnswersAreThoseOfAPlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(fixed)
		p := drawWorld(t, m)
		m.UseRules(p.rules)
		m.UseBuffer(plainBuffer)
		m.UseKits(func(sku protocol.SKU) []protocol.KitComponent { return p.kits[sku] })
		for _, channel := range []string{"", "web", "pos\"<"} {
			for sku := range p.cells {
				checkAnswer(t, m, p, sku, channel)
				for loc, c := range p.cells[sku] {
					checkPromise(t, m, &c, channel, p.location(sku, loc, channel))
				}
			}
			for kit := range p.kits {
				checkAnswer(t, m, p, kit, channel)
			}
		}
		if _, ok := m.Get("never", nil); ok {
			t.Fatal("found what never was")
		}
	})
}

func checkAnswer(t *rapid.T, m *Model, p *plain, sku protocol.SKU, channel string) {
	want := p.get(sku, channel)
	a, ok := m.GetFor(sku, nil, channel)
	if !ok {
		t.Fatalf("%s: not found", sku)
	}
	if d := gocmp.Diff(want, a); d != "" {
		t.Fatalf("%s for %q: %s", sku, channel, d)
	}
	for _, at := range [][]protocol.StoreID{nil, {"S1", "S2", "nowhere"}, {"S3"}, {"nowhere"}} {
		a, ok := m.GetFor(sku, at, channel)
		want, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		got, okToo := m.AppendJSONFor([]byte("x"), sku, at, channel)
		if ok != okToo || string(got[1:]) != string(want) {
			t.Fatalf("AppendJSON differs:\n%s", gocmp.Diff(string(want), string(got[1:])))
		}
	}
}

func checkPromise(t *rapid.T, m *Model, c *Cell, channel string, want protocol.AvailabilityLocation) {
	p := m.Promise(c, channel, epoch.UnixMicro())
	x := share{name: c.Location, kind: want.Type, Promise: p}
	if d := gocmp.Diff(want, x.answer()); d != "" {
		t.Fatalf("promise of %s at %s: %s", c.SKU, c.Location, d)
	}
	if p.Available != max(0, p.Free-p.Reserved-p.Allocated) {
		t.Fatalf("free %s, reserved %s, allocated %s, available %s", p.Free, p.Reserved, p.Allocated, p.Available)
	}
}

func TestTimesAreThoseOfTheStandardLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.OneOf(rapid.Int64Range(-1e15, 6e15), rapid.Map(rapid.Int64Range(0, math.MaxUint32), func(s int64) int64 { return s * 1e6 })).Draw(t, "us")
		want, err := json.Marshal(time.UnixMicro(us).UTC())
		if err != nil {
			t.Fatal(err)
		}
		if got := appendTime(nil, us); string(got) != string(want) {
			t.Fatalf("%d: %s, want %s", us, got, want)
		}
	})
}

func TestDarkIsMoreThanDarkAfterAndNeverAFeed(t *testing.T) {
	h := &protocol.Holdbacks{Default: protocol.Holdback{DarkAfterS: 900, Escrow: 3000}}
	cases := []struct {
		name   string
		lag    time.Duration
		feed   bool
		dark   bool
		buffer protocol.Quantity
	}{
		{"at the limit it is not", 15 * time.Minute, false, false, 0},
		{"a microsecond later it is, and escrow is the store's", 15*time.Minute + time.Microsecond, false, true, 3000},
		{"a feed is complete when it has spoken", time.Hour, true, false, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := New(fixed)
			m.UseRules(plainRules{"A": h})
			m.Apply([]Cell{{SKU: "A", Location: "S", OnHand: 2000}})
			m.SetLocation("S", LocationState{WatermarkUS: epoch.Add(-c.lag).UnixMicro(), Feed: c.feed})
			a, _ := m.Get("A", nil)
			l := a.Locations[0]
			if l.Dark != c.dark || l.RiskBuffer != c.buffer || l.Available != max(0, 2000-c.buffer) {
				t.Errorf("%+v", l)
			}
		})
	}
}

func TestTheBufferIsToldWhatItNeeds(t *testing.T) {
	m := New(fixed)
	profile := new([168]float32)
	day := 24 * time.Hour
	type asked struct {
		Rate     float32
		Profile  *[168]float32
		Offset   int
		Age      time.Duration
		Alpha    float64
		CountAge float64
	}
	var got asked
	m.UseBuffer(func(rate float32, p *[168]float32, off int, from, to int64, alpha, days float64) protocol.Quantity {
		got = asked{rate, p, off, time.Duration(to-from) * time.Microsecond, alpha, days}
		return math.MaxInt64 // of a function gone wild no sum overflows
	})
	m.UseRules(plainRules{"A": {Default: protocol.Holdback{Alpha: 0.9}}})
	c := Cell{SKU: "A", Location: "S", OnHand: 1000, Rate: 1.5, CountedUS: epoch.Truncate(time.Second).Add(-2 * day).UnixMicro()}
	m.SetLocation("S", LocationState{WatermarkUS: epoch.Add(-time.Hour).UnixMicro(), Profile: profile, OffsetMin: 60})
	p := m.Promise(&c, "", epoch.Truncate(time.Second).UnixMicro())
	if want := (asked{1.5, profile, 60, time.Hour - 123456*time.Microsecond, 0.9, 2}); got != want {
		t.Errorf("asked %+v, want %+v", got, want)
	}
	if p.RiskBuffer != protocol.QuantityMax || p.Available != 0 || p.Free != 1000-protocol.QuantityMax {
		t.Errorf("%+v", p)
	}
	c.CountedUS = 0
	m.SetLocation("S", LocationState{WatermarkUS: epoch.Add(-90 * day).UnixMicro()})
	m.Promise(&c, "", epoch.UnixMicro())
	if got.CountAge != neverCountedDays || got.Age != 28*day {
		t.Errorf("never counted, silent for 90 days: asked %+v", got)
	}
}

func TestReadingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools forget")
	}
	m := fill(10, 40)
	m.UseRules(plainRules{"00000000000003": {Default: protocol.Holdback{Alpha: 0.95, DarkAfterS: 900, Escrow: 1000, Fences: []protocol.Fence{{Channel: "web", Quantity: 1000}}}}})
	m.UseKits(func(sku protocol.SKU) []protocol.KitComponent {
		if sku == "kit" {
			return kitParts
		}
		return nil
	})
	buf := make([]byte, 0, 1<<16)
	one := []protocol.StoreID{"S0007"}
	for name, f := range map[string]func(){
		"everywhere": func() { m.AppendJSONFor(buf, "00000000000003", nil, "web") },
		"one":        func() { m.AppendJSONFor(buf, "00000000000003", one, "web") },
		"kit":        func() { m.AppendJSON(buf, "kit", nil) },
	} {
		if n := testing.AllocsPerRun(100, f); n >= 1 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

var kitParts = []protocol.KitComponent{{SKU: "00000000000003", Quantity: 1000}, {SKU: "00000000000004", Quantity: 2000}}
