package availability

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

var epoch = time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)

func fixed() time.Time { return epoch }

// TestReadersSeeOneMoment moves stock between two locations in one Apply while
// readers look: the total never changes in their eyes.
func TestReadersSeeOneMoment(t *testing.T) {
	m := New(time.Now)
	put := func(a, b protocol.Quantity) {
		m.Apply([]Cell{
			{SKU: "X", Location: "A", OnHand: a, InTransit: a, Reserved: a, LastUS: int64(a) * usPerS},
			{SKU: "X", Location: "B", OnHand: b, InTransit: b, Reserved: b, LastUS: int64(b) * usPerS},
		})
	}
	put(500, 500)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var reads atomic.Int64
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				a, ok := m.Get("X", nil)
				if !ok || a.Totals.OnHand != 1000 || a.Totals.InTransit != 1000 {
					t.Errorf("torn answer: %+v", a)
					return
				}
				for _, l := range a.Locations {
					if l.InTransit != l.OnHand || l.Reserved != l.OnHand || l.AsOf.Unix() != int64(l.OnHand) {
						t.Errorf("torn location: %+v", l)
						return
					}
				}
				if b, ok := m.Get("X", []protocol.StoreID{"B"}); !ok || b.Totals.InTransit != b.Totals.OnHand {
					t.Errorf("torn answer for one: %+v", b)
					return
				}
				reads.Add(1)
				runtime.Gosched()
			}
		})
	}
	until := time.Now().Add(10 * time.Second)
	for i := 0; i < 20_000 || reads.Load() < 1000 && time.Now().Before(until); i++ {
		n := protocol.Quantity(i % 1000)
		put(n, 1000-n)
		if i%50 == 0 {
			runtime.Gosched() // commits leave readers time, too
		}
		if i%100 == 0 && i < 20_000 { // grow the table and the cells under the readers
			m.Apply([]Cell{{SKU: protocol.SKU(fmt.Sprint("new", i)), Location: protocol.StoreID(fmt.Sprint("L", i)), OnHand: 1}})
			m.Apply([]Cell{{SKU: "X", Location: protocol.StoreID(fmt.Sprint("L", i))}})
		}
	}
	stop.Store(true)
	wg.Wait()
	if n := reads.Load(); n < 1000 {
		t.Errorf("%d readings got through", n)
	}
}

func TestChangesAreFollowedByCursor(t *testing.T) {
	m := New(fixed)
	start := m.Cursor()
	bell := m.Wait()
	m.Apply([]Cell{{SKU: "A", Location: "S"}, {SKU: "B", Location: "S"}, {SKU: "A", Location: "T"}})
	select {
	case <-bell:
	default:
		t.Error("the bell did not ring")
	}
	skus, next, ok := m.Changed(start, 10)
	if !ok || cmp.Diff([]protocol.SKU{"A", "B"}, skus) != "" {
		t.Errorf("changed %v, %v", skus, ok)
	}
	if skus, _, ok := m.Changed(next, 10); !ok || len(skus) != 0 {
		t.Errorf("nothing changed, got %v %v", skus, ok)
	}
	if _, _, ok := m.Changed(next+1, 10); ok {
		t.Error("a cursor from the future is taken")
	}
	for range 10 { // each is noted once until somebody looks
		m.Apply([]Cell{{SKU: "B", Location: "S"}, {SKU: "A", Location: "S"}})
	}
	if skus, end, ok := m.Changed(next, 10); !ok || end != next+2 || cmp.Diff([]protocol.SKU{"B", "A"}, skus) != "" {
		t.Errorf("changed %v, %v up to %d", skus, ok, end-next)
	}
	m.Apply([]Cell{{SKU: "B", Location: "S"}})
	if skus, _, ok := m.Changed(next+2, 10); !ok || cmp.Diff([]protocol.SKU{"B"}, skus) != "" {
		t.Errorf("changed again: %v, %v", skus, ok)
	}
	if skus, _, ok := m.Changed(m.Cursor(), 10); !ok || skus != nil {
		t.Errorf("changed: %v, %v", skus, ok)
	}
	after := m.Cursor()
	m.Apply([]Cell{{SKU: "B", Location: "S"}}) // whoever took a cursor has looked, too
	if skus, _, ok := m.Changed(after, 10); !ok || len(skus) != 1 {
		t.Errorf("changed after a cursor: %v, %v", skus, ok)
	}
	for i := range changesKept + 1 {
		m.Apply([]Cell{{SKU: protocol.SKU(fmt.Sprint("C", i)), Location: "S"}})
	}
	if _, _, ok := m.Changed(start, 10); ok {
		t.Error("a cursor that fell off the ring is taken")
	}
}

func TestALocationMayBeKnownBeforeItsStock(t *testing.T) {
	m := New(fixed)
	m.SetLocation("S1", LocationState{Type: "dc", WatermarkUS: epoch.UnixMicro() - 2_500_000})
	m.Apply([]Cell{{SKU: "A", Location: "S1", OnHand: 3000}})
	a, ok := m.Get("A", nil)
	if !ok || a.Locations[0].Type != "dc" || a.Locations[0].LagS != 2.5 || a.Locations[0].Provisional {
		t.Errorf("%+v", a)
	}
}

func TestSearchIsSortedAndBounded(t *testing.T) {
	m := New(fixed)
	for i := range 50 {
		m.Apply([]Cell{{SKU: protocol.SKU(fmt.Sprintf("P%02d", i)), Location: "S"}})
	}
	if d := cmp.Diff([]protocol.SKU{"P10", "P11", "P12"}, m.Search("P1", 3)); d != "" {
		t.Error(d)
	}
	if got := m.Search("nothing", 3); len(got) != 0 {
		t.Error(got)
	}
}

func TestLocationsHaveGroups(t *testing.T) {
	m := New(fixed)
	for _, x := range []struct {
		loc   protocol.StoreID
		group string
	}{{"S3", "north"}, {"S1", "south"}, {"S2", "north"}, {"S4", ""}} {
		m.SetLocation(x.loc, LocationState{Group: x.group})
		m.Apply([]Cell{{SKU: "A", Location: x.loc, OnHand: 1000}})
	}
	if d := cmp.Diff([]protocol.StoreID{"S2", "S3"}, m.InGroup("north")); d != "" {
		t.Error(d)
	}
	var got []string
	if !m.Each("A", "web", func(s *Share) { got = append(got, fmt.Sprint(s.Location, s.Group, s.Available)) }) {
		t.Error("not found")
	}
	if d := cmp.Diff([]string{"S1south1", "S2north1", "S3north1", "S41"}, got); d != "" {
		t.Error(d)
	}
	if m.Each("never", "", func(*Share) { t.Error("a share of nothing") }) {
		t.Error("found what never was")
	}
}
