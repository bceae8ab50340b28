package availability

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/protocol"
)

// countingRules answer with what was set, and count how often they are asked.
type countingRules struct {
	rev, asked atomic.Int64
	now        atomic.Pointer[protocol.Holdbacks]
}

func (r *countingRules) Rev() uint64 { return uint64(r.rev.Load()) }

func (r *countingRules) For(protocol.SKU, int64) *protocol.Holdbacks {
	r.asked.Add(1)
	return r.now.Load()
}

func (r *countingRules) set(safety protocol.Quantity, untilUS int64) {
	r.now.Store(&protocol.Holdbacks{UntilUS: untilUS, Default: protocol.Holdback{Safety: safety}})
}

func TestRulesAreAskedOnceUntilTheyChange(t *testing.T) {
	now := epoch
	m := New(func() time.Time { return now })
	m.Apply([]Cell{{SKU: "A", Location: "S", OnHand: 9000}, {SKU: "A", Location: "T", OnHand: 9000}})
	r := &countingRules{}
	r.set(1000, 0)
	m.UseRules(r)
	check := func(name string, safety protocol.Quantity, asked int64) {
		t.Helper()
		for range 3 {
			a, ok := m.Get("A", nil)
			if !ok || a.Totals.SafetyStock != 2*safety {
				t.Errorf("%s: safety stock %s, want twice %s", name, a.Totals.SafetyStock, safety)
			}
		}
		if n := r.asked.Load(); n != asked {
			t.Errorf("%s: asked %d times, want %d", name, n, asked)
		}
	}
	check("first", 1000, 1)
	m.Apply([]Cell{{SKU: "A", Location: "S", OnHand: 8000}})
	check("numbers do not ask anew", 1000, 1)

	r.set(2000, 0)
	check("what did not move its revision is not looked at", 1000, 1)
	r.rev.Add(1)
	check("a new revision", 2000, 2)

	end := epoch.Add(time.Hour)
	r.set(3000, end.UnixMicro())
	r.rev.Add(1)
	check("a dated policy", 3000, 3)
	now = end.Add(-time.Microsecond)
	check("until its end", 3000, 3)
	r.set(4000, 0)
	now = end
	check("its end", 4000, 4)

	m.Promise(&Cell{SKU: "A", Location: "S"}, "", now.UnixMicro())
	check("a promise uses what is known", 4000, 4)
	other := &countingRules{}
	other.set(5000, 0)
	other.rev.Store(r.rev.Load())
	m.UseRules(other)
	if a, _ := m.Get("A", nil); a.Totals.SafetyStock != 10_000 {
		t.Errorf("other rules of the same revision: %s", a.Totals.SafetyStock)
	}
	m.UseRules(nil)
	if a, _ := m.Get("A", nil); a.Totals.SafetyStock != 0 {
		t.Errorf("no rules: %s", a.Totals.SafetyStock)
	}
	other.now.Store(nil)
	m.UseRules(other)
	if a, _ := m.Get("A", nil); a.Totals.SafetyStock != 0 {
		t.Errorf("rules that know nothing: %s", a.Totals.SafetyStock)
	}
}

// TestAReaderNeverKeepsOldRules changes the rules under many readers: once the
// change is made, no later reading shows what was before.
func TestAReaderNeverKeepsOldRules(t *testing.T) {
	m := New(fixed)
	m.Apply([]Cell{{SKU: "A", Location: "S"}})
	r := &countingRules{}
	r.set(0, 0)
	m.UseRules(r)
	var stop atomic.Bool
	var made atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				least := made.Load()
				if a, _ := m.Get("A", nil); int64(a.Totals.SafetyStock) < least {
					t.Errorf("safety stock %d after %d was in force", a.Totals.SafetyStock, least)
					return
				}
			}
		})
	}
	for i := range int64(2000) {
		r.set(protocol.Quantity(i), 0)
		r.rev.Add(1)
		made.Store(i)
	}
	stop.Store(true)
	wg.Wait()
}

func TestKits(t *testing.T) {
	m := New(fixed)
	bills := map[protocol.SKU][]protocol.KitComponent{
		"set":    {{SKU: "cup", Quantity: 2000}, {SKU: "tea", Quantity: 500}},
		"twice":  {{SKU: "cup", Quantity: 1000}, {SKU: "tea", Quantity: 500}, {SKU: "cup", Quantity: 2000}},
		"broken": {{SKU: "cup", Quantity: 1000}, {SKU: "never", Quantity: 1000}},
	}
	m.UseKits(func(sku protocol.SKU) []protocol.KitComponent { return bills[sku] })
	m.UseRules(plainRules{"tea": {Default: protocol.Holdback{Fences: []protocol.Fence{{Channel: "web", Quantity: 1500}}}}})
	m.Apply([]Cell{
		{SKU: "cup", Location: "A", OnHand: 9000, Reserved: 1000},
		{SKU: "tea", Location: "A", OnHand: 1900},
		{SKU: "cup", Location: "B", OnHand: 4000},
		{SKU: "tea", Location: "C", OnHand: 4000},
		{SKU: "set", Location: "A", OnHand: 77_000}, // from before it was a kit
	})
	cases := []struct {
		name, channel string
		sku           protocol.SKU
		at            []protocol.StoreID
		want          map[protocol.StoreID]protocol.Quantity
	}{
		{"the scarcest part decides, in whole kits, where all parts ever were", "", "set", nil, map[protocol.StoreID]protocol.Quantity{"A": 3000}},
		{"what is fenced off of a part is fenced off of the kit", "shop", "set", nil, map[protocol.StoreID]protocol.Quantity{"A": 0}},
		{"its own channel has it", "web", "set", nil, map[protocol.StoreID]protocol.Quantity{"A": 3000}},
		{"lines of one part add up", "", "twice", nil, map[protocol.StoreID]protocol.Quantity{"A": 2000}},
		{"a part that never was anywhere", "", "broken", nil, map[protocol.StoreID]protocol.Quantity{}},
		{"at one location", "", "set", []protocol.StoreID{"A"}, map[protocol.StoreID]protocol.Quantity{"A": 3000}},
		{"where a part is missing", "", "set", []protocol.StoreID{"B"}, map[protocol.StoreID]protocol.Quantity{}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a, ok := m.GetFor(c.sku, c.at, c.channel)
			if !ok || !a.Kit || len(a.Components) != len(bills[c.sku]) || len(a.Locations) != len(c.want) {
				t.Fatalf("%+v, %v", a, ok)
			}
			sum := protocol.Quantity(0)
			for _, l := range a.Locations {
				if l.Available != c.want[l.Location] || l.Quantities != (protocol.Quantities{}) {
					t.Errorf("%+v", l)
				}
				sum += l.Available
			}
			if a.Totals.Available != sum {
				t.Errorf("total %s, want %s", a.Totals.Available, sum)
			}
		})
	}
	bills["set"] = nil
	if a, ok := m.Get("set", nil); !ok || a.Kit || a.Totals.OnHand != 77_000 {
		t.Errorf("no kit any more: %+v", a)
	}
}
