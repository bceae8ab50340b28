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
	for i := range 20_000 {
		n := protocol.Quantity(i % 1000)
		put(n, 1000-n)
		if i%100 == 0 { // grow the table and the cells under the readers
			m.Apply([]Cell{{SKU: protocol.SKU(fmt.Sprint("new", i)), Location: protocol.StoreID(fmt.Sprint("L", i)), OnHand: 1}})
			m.Apply([]Cell{{SKU: "X", Location: protocol.StoreID(fmt.Sprint("L", i))}})
		}
	}
	stop.Store(true)
	wg.Wait()
	if reads.Load() == 0 {
		t.Error("no reader got through")
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
