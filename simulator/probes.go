package simulator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tillwire/protocol"
)

// probes ring up single sales of an article that nothing else moves, and watch
// the availability API until its answer shows them. They skip stores whose line
// is down, and forget a sale whose line was cut on the way: that time is the
// line's.
type probes struct {
	fleet  *fleet
	oracle *oracle
	crew   *crew

	mu    sync.Mutex
	taken []time.Duration
	fresh []time.Duration // since somebody looked
	slow  int             // gave up
}

const (
	probers    = 4
	probeEvery = 150 * time.Millisecond
	probePoll  = 5 * time.Millisecond
	probeMax   = 10 * time.Second
)

// EndToEnd is the time from a till's POST to the changed answer.
type EndToEnd struct {
	Samples int     `json:"samples"`
	P50MS   float64 `json:"p50_ms"`
	P99MS   float64 `json:"p99_ms"`
	MaxMS   float64 `json:"max_ms"`
	GaveUp  int     `json:"gave_up"` // not seen within 10 s though the line was up
}

// probeSKU is a valid GTIN-14 outside the range of articles.
func probeSKU() protocol.SKU {
	body := "0952999999999"
	return protocol.SKU(body + string(protocol.CheckDigit(body)))
}

// run probes until ctx ends. Each prober has stores of its own, so that no two
// wait for the same number.
func (p *probes) run(hard, ctx context.Context, seed uint64) {
	var wg sync.WaitGroup
	for k := range min(probers, len(p.crew.shops)) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0x70726f6265+uint64(k)))
			for n := 0; pause(ctx, probeEvery); n++ {
				i := k + probers*rng.IntN((len(p.crew.shops)-k+probers-1)/probers)
				if !p.fleet.Lines[i].isDown() {
					p.probe(hard, ctx, i, fmt.Sprintf("%s-PROBE-%d-%06d", p.crew.shops[i].shop.Store, k, n))
				}
			}
		})
	}
	wg.Wait()
}

// sell rings up one probe, while nobody takes stock.
func (p *probes) sell(hard context.Context, w *worker, id string) bool {
	w.floor.Lock()
	defer w.floor.Unlock()
	now := w.now()
	sku := probeSKU()
	d := &document{
		kind: kindSale, at: now.Truncate(time.Microsecond), DocumentID: id, Register: "P01", OccurredAt: tillTime(now),
		Lines:   []docLine{{Line: 1, SKU: string(sku), Quantity: protocol.Units(1)}},
		effects: []effect{{SKU: sku, Delta: -protocol.Units(1)}},
	}
	a, err := w.till.post(hard, d)
	if err != nil {
		return false // the crew meets the same trouble, and says so
	}
	p.oracle.record(w.till.store, d, a.Seq)
	return true
}

func (p *probes) probe(hard, ctx context.Context, i int, id string) {
	w, line := p.crew.shops[i], p.fleet.Lines[i]
	cuts, began := line.cutCount(), time.Now()
	if !p.sell(hard, w, id) {
		return
	}
	want := p.oracle.onHand(w.till.store, probeSKU())
	for pause(ctx, probePoll) {
		got, _, err := p.fleet.Chain.availability(ctx, probeSKU(), w.till.store)
		took := time.Since(began)
		switch {
		case line.isDown() || line.cutCount() != cuts:
			return
		case err == nil && got == want:
			p.note(took)
			return
		case p.oracle.onHand(w.till.store, probeSKU()) != want:
			return // somebody took stock meanwhile
		case took > probeMax:
			p.mu.Lock()
			p.slow++
			p.mu.Unlock()
			return
		}
	}
}

func (p *probes) note(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.taken) < latenciesMax {
		p.taken = append(p.taken, d)
	}
	if len(p.fresh) < latenciesMax {
		p.fresh = append(p.fresh, d)
	}
}

// recent are the percentiles since the last call.
func (p *probes) recent() (p50, p99 float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.fresh)
	if n == 0 {
		return 0, 0
	}
	slices.Sort(p.fresh)
	p50, p99 = float64(p.fresh[n/2].Microseconds())/1000, float64(p.fresh[n*99/100].Microseconds())/1000
	p.fresh = p.fresh[:0]
	return p50, p99
}

func (p *probes) result() EndToEnd {
	p.mu.Lock()
	defer p.mu.Unlock()
	slices.Sort(p.taken)
	n := len(p.taken)
	e := EndToEnd{Samples: n, GaveUp: p.slow}
	if n > 0 {
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		e.P50MS, e.P99MS, e.MaxMS = ms(p.taken[n/2]), ms(p.taken[n*99/100]), ms(p.taken[n-1])
	}
	return e
}
