package availability

import (
	"encoding/json"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

var epoch = time.Date(2026, 11, 23, 10, 0, 0, 123456000, time.UTC)

func fixed() time.Time { return epoch }

func TestAnswersAreThoseOfAPlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(fixed)
		plain := map[protocol.SKU]map[protocol.StoreID]Cell{}
		q := func(name string) protocol.Quantity {
			return protocol.Quantity(rapid.Int64Range(-5000, 5000).Draw(t, name))
		}
		some := func(name string) protocol.Quantity {
			return protocol.Quantity(rapid.Int64Range(0, 3).Draw(t, name)) * 250
		}
		for range rapid.IntRange(0, 60).Draw(t, "updates") {
			c := Cell{
				SKU: protocol.SKU(fmt.Sprint("sku\"<", rapid.IntRange(0, 9).Draw(t, "sku"))), Location: protocol.StoreID(fmt.Sprint("S", rapid.IntRange(0, 12).Draw(t, "loc"))),
				OnHand: q("on hand"), Unavailable: some("unavailable"), InTransit: some("transit"), Reserved: some("reserved"),
				Allocated: some("allocated"), LastUS: epoch.UnixMicro() - rapid.Int64Range(0, 1e9).Draw(t, "age"),
			}
			m.Apply([]Cell{c})
			if plain[c.SKU] == nil {
				plain[c.SKU] = map[protocol.StoreID]Cell{}
			}
			plain[c.SKU][c.Location] = c
			if rapid.Bool().Draw(t, "watermark") {
				m.SetLocation(c.Location, LocationState{Type: "dc", WatermarkUS: epoch.UnixMicro() - rapid.Int64Range(0, 1e7).Draw(t, "lag")})
			}
		}
		for sku, cells := range plain {
			a, ok := m.Get(sku, nil)
			if !ok || len(a.Locations) != len(cells) {
				t.Fatalf("%s: %d locations, want %d", sku, len(a.Locations), len(cells))
			}
			var total protocol.AvailabilityTotals
			for i := range a.Locations {
				l := &a.Locations[i]
				c := cells[l.Location]
				want := protocol.Quantities{OnHand: c.OnHand, Reserved: c.Reserved, Allocated: c.Allocated, InTransit: c.InTransit, Unavailable: c.Unavailable}
				if l.Quantities != want || l.Available != max(0, c.OnHand-c.Unavailable-c.Reserved-c.Allocated) {
					t.Fatalf("%s at %s: %+v, want %+v", sku, l.Location, l, want)
				}
				total.OnHand += c.OnHand
				total.Available += l.Available
			}
			if total.OnHand != a.Totals.OnHand || total.Available != a.Totals.Available {
				t.Fatalf("%s: totals %+v", sku, a.Totals)
			}
			checkJSON(t, m, sku, nil)
			checkJSON(t, m, sku, []protocol.StoreID{"S1", "S2", "nowhere"})
			checkJSON(t, m, sku, []protocol.StoreID{"S3"})
		}
		if _, ok := m.Get("never", nil); ok {
			t.Fatal("found what never was")
		}
	})
}

func checkJSON(t *rapid.T, m *Model, sku protocol.SKU, at []protocol.StoreID) {
	a, _ := m.Get(sku, at)
	want, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := m.AppendJSON([]byte("x"), sku, at)
	if !ok || string(got[1:]) != string(want) {
		t.Fatalf("AppendJSON differs:\n%s", cmp.Diff(string(want), string(got[1:])))
	}
}

// TestReadersSeeOneMoment moves stock between two locations in one Apply while
// readers look: the total never changes in their eyes.
func TestReadersSeeOneMoment(t *testing.T) {
	m := New(time.Now)
	put := func(a, b protocol.Quantity) {
		m.Apply([]Cell{{SKU: "X", Location: "A", OnHand: a, InTransit: a}, {SKU: "X", Location: "B", OnHand: b, InTransit: b}})
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

func fill(skus, locations int) *Model {
	m := New(time.Now)
	for s := range skus {
		cells := make([]Cell, locations)
		for l := range locations {
			cells[l] = Cell{SKU: protocol.SKU(fmt.Sprintf("%014d", s)), Location: protocol.StoreID(fmt.Sprintf("S%04d", l)), OnHand: protocol.Units(int64(l))}
		}
		m.Apply(cells)
	}
	return m
}

func BenchmarkOneLocation(b *testing.B) {
	m := fill(10_000, 40)
	buf := make([]byte, 0, 4096)
	s := []protocol.StoreID{"S0007"}
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		buf := append([]byte(nil), buf...)
		for i := 0; p.Next(); i++ {
			buf, _ = m.AppendJSON(buf[:0], "00000000004711", s)
		}
	})
}

func BenchmarkFourHundredLocations(b *testing.B) {
	m := fill(100, 400)
	buf := make([]byte, 0, 1<<18)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = m.AppendJSON(buf[:0], "00000000000042", nil)
	}
}

func BenchmarkApply(b *testing.B) {
	m := fill(10_000, 40)
	c := []Cell{{SKU: "00000000004711", Location: "S0007", OnHand: 1}}
	b.ReportAllocs()
	for b.Loop() {
		c[0].OnHand++
		m.Apply(c)
	}
}

// BenchmarkCellBytes measures memory per cell over 2 million cells.
func BenchmarkCellBytes(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		m := fill(5_000, 400)
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(m.Cells()), "B/cell")
		runtime.KeepAlive(m)
	}
}
