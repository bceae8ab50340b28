package availability

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"tillwire/protocol"
)

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
