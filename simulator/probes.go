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
	places []place

	mu    sync.Mutex
	taken []time.Duration
	slow  int // gave up
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
	for k := range min(probers, len(p.places)) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 0x70726f6265+uint64(k)))
			sums := map[int]protocol.Quantity{}
			for n := 0; pause(ctx, probeEvery); n++ {
				i := k + probers*rng.IntN((len(p.places)-k+probers-1)/probers)
				if !p.fleet.Lines[i].isDown() {
					p.probe(hard, ctx, i, fmt.Sprintf("%s-PROBE-%d-%06d", p.places[i].Store, k, n), sums)
				}
			}
		})
	}
	wg.Wait()
}

func (p *probes) probe(hard, ctx context.Context, i int, id string, sums map[int]protocol.Quantity) {
	t, line := p.fleet.Tills[i], p.fleet.Lines[i]
	now := time.Now()
	sku := probeSKU()
	d := &document{
		kind: kindSale, at: now, DocumentID: id, Register: "P01", OccurredAt: tillTime(now),
		Lines:   []docLine{{Line: 1, SKU: string(sku), Quantity: protocol.Units(1)}},
		effects: []effect{{SKU: sku, Delta: -protocol.Units(1)}},
	}
	cuts := line.cutCount()
	a, err := t.post(hard, d)
	if err != nil {
		return // the crew meets the same trouble, and says so
	}
	p.oracle.record(t.store, d, a.Seq)
	sums[i] -= protocol.Units(1)
	for pause(ctx, probePoll) {
		got, _, err := p.fleet.Chain.availability(ctx, sku, t.store)
		took := time.Since(now)
		switch {
		case line.isDown() || line.cutCount() != cuts:
			return
		case err == nil && got == sums[i]:
			p.note(took)
			return
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
