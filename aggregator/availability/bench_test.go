package availability

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/protocol"
)

func numbered(s int) protocol.SKU { return protocol.SKU(fmt.Sprintf("%014d", s)) }

// fill makes every SKU known at every location, each with a rate and a count.
func fill(skus, locations int) *Model {
	m := New(time.Now)
	names := make([]protocol.StoreID, locations)
	for l := range names {
		names[l] = protocol.StoreID(fmt.Sprintf("S%04d", l))
	}
	nowUS := time.Now().UnixMicro()
	cells := make([]Cell, locations)
	for s := range skus {
		sku := numbered(s)
		for l := range cells {
			cells[l] = Cell{
				SKU: sku, Location: names[l], OnHand: protocol.Units(int64(l)), Rate: 0.05, LastUS: nowUS, CountedUS: nowUS,
			}
		}
		m.Apply(cells)
	}
	return m
}

// policed is a model under policies as chains have them: a service level for
// all, a quota of one channel, a few stores that differ; stores 10 s behind, and
// one that is dark.
func policed(m *Model) *Model {
	h := &protocol.Holdbacks{Default: protocol.Holdback{
		Safety: 1000, LowAt: 2000, Alpha: 0.95, DarkAfterS: 900, Escrow: 2000, Fences: []protocol.Fence{{Channel: "market", Quantity: 1000}},
	}, At: map[protocol.StoreID]*protocol.Holdback{}}
	for _, loc := range []protocol.StoreID{"S0003", "S0007", "S0011"} {
		x := h.Default
		h.At[loc] = &x
	}
	m.UseRules(oneRule{h})
	profile := new([168]float32)
	for i := range profile {
		profile[i] = 1
	}
	for i, l := range m.locs.Load().list {
		age := 10 * time.Second
		if i == 5 {
			age = time.Hour
		}
		m.SetLocation(l.name, LocationState{WatermarkUS: time.Now().Add(-age).UnixMicro(), Profile: profile, OffsetMin: 60})
	}
	return m
}

type oneRule struct{ h *protocol.Holdbacks }

func (oneRule) Rev() uint64                                   { return 1 }
func (r oneRule) For(protocol.SKU, int64) *protocol.Holdbacks { return r.h }

func BenchmarkOneLocation(b *testing.B) {
	for _, c := range []struct {
		name string
		m    *Model
	}{{"plain", fill(10_000, 40)}, {"policies", policed(fill(10_000, 40))}} {
		b.Run(c.name, func(b *testing.B) {
			s := []protocol.StoreID{"S0007"}
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				buf := make([]byte, 0, 4096)
				for i := 0; p.Next(); i++ {
					buf, _ = c.m.AppendJSONFor(buf[:0], "00000000004711", s, "web")
				}
			})
		})
	}
}

// BenchmarkFiftyArticles is what a shop's page asks: fifty articles of one location.
func BenchmarkFiftyArticles(b *testing.B) {
	for _, c := range []struct {
		name string
		m    *Model
	}{{"plain", fill(10_000, 4)}, {"policies", policed(fill(10_000, 4))}} {
		b.Run(c.name, func(b *testing.B) {
			skus := make([]protocol.SKU, 50)
			for i := range skus {
				skus[i] = numbered(i * 173)
			}
			s := []protocol.StoreID{"S0003"}
			buf := make([]byte, 0, 1<<16)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = c.m.AppendJSONList(buf[:0], skus, s, "web", nil)
			}
		})
	}
}

func BenchmarkFourHundredLocations(b *testing.B) {
	for _, c := range []struct {
		name string
		m    *Model
	}{{"plain", fill(100, 400)}, {"policies", policed(fill(100, 400))}} {
		b.Run(c.name, func(b *testing.B) {
			buf := make([]byte, 0, 1<<18)
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = c.m.AppendJSONFor(buf[:0], "00000000000042", nil, "web")
			}
		})
	}
}

func BenchmarkPromise(b *testing.B) {
	m := policed(fill(10_000, 40))
	c := Cell{SKU: "00000000004711", Location: "S0007", OnHand: 5000, Rate: 0.05}
	nowUS := time.Now().UnixMicro()
	b.ReportAllocs()
	for b.Loop() {
		m.Promise(&c, "web", nowUS)
	}
}

// BenchmarkApply publishes one cell at a time, of 10,000 SKUs in turn, while
// 0 or 1,000 subscribers listen to all changes and all states.
func BenchmarkApply(b *testing.B) {
	for _, subscribers := range []int{-1, 0, 1000} {
		name := fmt.Sprint("subscribers=", subscribers)
		if subscribers < 0 {
			name = "nobody follows"
		}
		b.Run(name, func(b *testing.B) {
			m := fill(10_000, 40)
			defer listen(b, m, subscribers)()
			c := []Cell{{Location: "S0007", OnHand: 1}}
			skus := make([]protocol.SKU, 10_000)
			for i := range skus {
				skus[i] = numbered(i)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				c[0].OnHand++
				c[0].SKU = skus[i%len(skus)]
				i++
				m.Apply(c)
			}
		})
	}
}

// listen starts a follower and its subscribers; what it returns ends them.
func listen(b *testing.B, m *Model, subscribers int) (stop func()) {
	if subscribers < 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(b.Context())
	var wg, ready sync.WaitGroup
	wg.Go(func() {
		if err := m.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	for range subscribers {
		ready.Add(1)
		wg.Go(func() {
			s, err := m.Subscribe(Filter{Changes: true, States: true})
			if err != nil {
				b.Error(err)
				ready.Done()
				return
			}
			defer s.Close()
			first := true
			for {
				if _, err := s.Next(ctx); err != nil {
					return
				}
				if first {
					ready.Done()
					first = false
				}
			}
		})
	}
	ready.Wait()
	return func() { cancel(); wg.Wait() }
}

// BenchmarkSteadyApply publishes 20,000 cells a second in batches of 200, as a
// chain at twice its peak would, and reports what a batch takes and how long after
// it a subscriber knew of a state that it changed.
func BenchmarkSteadyApply(b *testing.B) {
	for _, subscribers := range []int{0, 1000} {
		b.Run(fmt.Sprint("subscribers=", subscribers), func(b *testing.B) {
			m := fill(5_000, 40)
			defer listen(b, m, subscribers)()
			var sent atomic.Int64 // when the probe was changed; 0 = it was heard
			delays := probe(b, m, &sent)
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			var took []time.Duration
			cells := make([]Cell, 200)
			flip := protocol.Quantity(0)
			for b.Loop() {
				<-tick.C
				for i := range cells {
					cells[i] = Cell{SKU: numbered(rand.IntN(5000)), Location: "S0007", OnHand: protocol.Units(rand.Int64N(9))}
				}
				began := time.Now()
				m.Apply(cells)
				took = append(took, time.Since(began))
				if sent.Load() == 0 {
					flip = 1000 - flip
					sent.Store(time.Now().UnixNano())
					m.Apply([]Cell{{SKU: "probe", Location: "S0007", OnHand: flip}})
				}
			}
			b.ReportMetric(quantile(took, 0.5), "µs/batch-p50")
			b.ReportMetric(quantile(took, 0.99), "µs/batch-p99")
			d := delays()
			b.ReportMetric(quantile(d, 0.5), "µs-delay-p50")
			b.ReportMetric(quantile(d, 0.99), "µs-delay-p99")
		})
	}
}

// probe listens to one SKU's states, and measures from before Apply to delivery.
func probe(b *testing.B, m *Model, sent *atomic.Int64) (delays func() []time.Duration) {
	m.Apply([]Cell{{SKU: "probe", Location: "S0007"}})
	ctx, cancel := context.WithCancel(b.Context())
	s, err := m.Subscribe(Filter{States: true, SKUs: []protocol.SKU{"probe"}})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Next(ctx); err != nil {
		b.Fatal(err)
	}
	var list []time.Duration
	var wg sync.WaitGroup
	wg.Go(func() {
		defer s.Close()
		for {
			if _, err := s.Next(ctx); err != nil {
				return
			}
			list = append(list, time.Since(time.Unix(0, sent.Swap(0))))
		}
	})
	return func() []time.Duration { cancel(); wg.Wait(); return list }
}

func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return float64(d[int(q*float64(len(d)-1))].Nanoseconds()) / 1000
}

// BenchmarkCellBytes measures memory per cell over 2 million cells.
func BenchmarkCellBytes(b *testing.B) {
	for b.Loop() {
		before := heap()
		m := fill(5_000, 400)
		b.ReportMetric(float64(heap()-before)/float64(m.Cells()), "B/cell")
		runtime.KeepAlive(m)
	}
}

func heap() uint64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// BenchmarkCells20M loads 50,000 SKUs × 400 locations, every cell with a rate and
// a count, every tenth with holds or goods in transit, under policies, with states
// kept for three channels; reports memory per cell, all in; then reads while
// 200,000 cells a second are written. It takes 1.5 GB and half a minute, so it
// runs where it is named only: go test -run xxx -bench Cells20M -benchtime 1x
func BenchmarkCells20M(b *testing.B) {
	if f := flag.Lookup("test.bench"); f == nil || !strings.Contains(f.Value.String(), "Cells20M") {
		b.Skip("takes 1.5 GB: name it")
	}
	const skus, locations = 50_000, 400
	for b.Loop() {
		before := heap()
		m := policed(fill(skus, locations))
		loaded := heap()
		cell := make([]Cell, 1)
		for s := range skus {
			sku := numbered(s)
			for l := s % 10; l < locations; l += 10 {
				cell[0] = Cell{SKU: sku, Location: protocol.StoreID(fmt.Sprintf("S%04d", l)), OnHand: 5000, Reserved: 1000, InTransit: 2000, Rate: 0.05, LastUS: 1, CountedUS: 1}
				m.Apply(cell)
			}
		}
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		began := time.Now()
		for _, channel := range []string{"", "web", "market"} {
			s, err := m.Subscribe(Filter{States: true, Channel: channel})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			if _, err := s.Next(ctx); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-to-live")
		b.ReportMetric(float64(loaded-before)/float64(m.Cells()), "B/cell-plain")
		b.ReportMetric(float64(heap()-before)/float64(m.Cells()), "B/cell")
		readWhileWriting(b, m, skus)
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
}

// readWhileWriting reads one and 400 locations for 5 s each, with and without a
// writer of 200,000 cells a second beside.
func readWhileWriting(b *testing.B, m *Model, skus int) {
	buf := make([]byte, 0, 1<<18)
	one := []protocol.StoreID{"S0123"}
	for _, at := range [][]protocol.StoreID{one, nil} {
		for _, writes := range []bool{false, true} {
			var stop atomic.Bool
			var written atomic.Int64
			var wg sync.WaitGroup
			if writes {
				wg.Go(func() { written.Store(write(m, skus, 200_000, &stop)) })
			}
			var took []time.Duration
			began := time.Now()
			for time.Since(began) < 5*time.Second {
				sku := numbered(rand.IntN(skus))
				t0 := time.Now()
				buf, _ = m.AppendJSONFor(buf[:0], sku, at, "web")
				took = append(took, time.Since(t0))
			}
			stop.Store(true)
			elapsed := time.Since(began).Seconds()
			wg.Wait()
			name := fmt.Sprintf("at%d", max(1, 400*(1-len(at))))
			if writes {
				name += "+w"
				b.ReportMetric(float64(written.Load())/elapsed, "cells/s-"+name)
			}
			b.ReportMetric(quantile(took, 0.5), "µs-p50-"+name)
			b.ReportMetric(quantile(took, 0.99), "µs-p99-"+name)
			b.ReportMetric(quantile(took, 0.999), "µs-p999-"+name)
		}
	}
}

// write changes so many cells a second, 200 at a time, until it is stopped.
func write(m *Model, skus, perSecond int, stop *atomic.Bool) (n int64) {
	cells := make([]Cell, 200)
	began := time.Now()
	for !stop.Load() {
		due := int64(time.Since(began).Seconds() * float64(perSecond))
		if n+int64(len(cells)) > due {
			time.Sleep(200 * time.Microsecond)
			continue
		}
		for i := range cells {
			cells[i] = Cell{
				SKU: numbered(rand.IntN(skus)), Location: protocol.StoreID(fmt.Sprintf("S%04d", rand.IntN(400))), OnHand: protocol.Units(rand.Int64N(9)),
				Rate: 0.05, LastUS: 1, CountedUS: 1,
			}
		}
		m.Apply(cells)
		n += int64(len(cells))
	}
	return n
}
