package catalog

import (
	"fmt"
	"testing"

	"tillwire/protocol"
)

func BenchmarkResolveEmpty(b *testing.B) {
	c := New()
	var into []protocol.HoldLine
	b.ReportAllocs()
	for b.Loop() {
		into, _ = c.Resolve("04006381333931", 1000, "EA", 9, true, into[:0])
	}
}

// million is a book of a million items, every tenth a kit.
func million(tb testing.TB) *Book {
	tb.Helper()
	c := New()
	for n := range 1_000_000 {
		it := protocol.Item{SKU: protocol.SKU(fmt.Sprintf("%014d", n)), Version: 1}
		if n%10 == 9 {
			it.Kit = []protocol.KitComponent{{SKU: protocol.SKU(fmt.Sprintf("%014d", n-1)), Quantity: 1000}, {SKU: protocol.SKU(fmt.Sprintf("%014d", n-2)), Quantity: 2000}}
		}
		c.Apply(&it, uint64(n+1))
	}
	return c
}

func BenchmarkMillion(b *testing.B) {
	c := million(b)
	_ = c.Chunks(func(uint32, []byte) {})
	var skus [4096]protocol.SKU
	for n := range skus {
		skus[n] = protocol.SKU(fmt.Sprintf("%014d", 2_000_000+n*7919))
	}
	var into []protocol.HoldLine
	b.Run("resolve unknown", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			into, _ = c.Resolve(skus[n%len(skus)], 1000, "", 9, true, into[:0])
			n++
		}
	})
	b.Run("resolve known", func(b *testing.B) {
		b.ReportAllocs()
		for n := range skus {
			skus[n] = protocol.SKU(fmt.Sprintf("%014d", n*241))
		}
		n := 0
		for b.Loop() {
			into, _ = c.Resolve(skus[n%len(skus)], 1000, "", 9_000_000, true, into[:0])
			n++
		}
	})
	b.Run("put, apply and snapshot", func(b *testing.B) {
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			it, p := c.Put(&protocol.Item{SKU: skus[n%len(skus)], Name: fmt.Sprint(n)}, "ann", 1)
			if p != nil || it == nil {
				b.Fatal(p)
			}
			c.Apply(it, uint64(2_000_000+n))
			if c.Snapshot().Len() != c.Len() {
				b.Fatal("not all of it")
			}
		}
	})
}
