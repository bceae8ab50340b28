package simulator

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"tillwire/protocol"
)

// Sample is one look at a running fleet.
type Sample struct {
	S        float64   `json:"s"`     // real, since the story began
	Story    time.Time `json:"story"` // then
	Rate     float64   `json:"rate"`  // of the story's clock
	Posted   uint64    `json:"posted"`
	Merged   uint64    `json:"merged"`
	Backlog  uint64    `json:"backlog"`  // acknowledged by agents, not merged
	Down     int       `json:"down"`     // lines
	P50MS    float64   `json:"p50_ms"`   // sale to availability since the last look; 0: none was taken
	P99MS    float64   `json:"p99_ms"`   //
	LagS     float64   `json:"lag_s"`    // in the story: since when the store furthest behind is not complete
	RSS      int64     `json:"rss"`      //
	Heap     uint64    `json:"heap"`     //
	Orders   int       `json:"orders"`   // promised so far
	Oversold int       `json:"oversold"` // of them, so far
	Off      int       `json:"off"`      // cells of a sample whose number is not the truth of this moment
	Looked   int       `json:"looked"`   // cells in it
	LateMS   float64   `json:"late_ms"`  // how late tills were, real
}

const (
	samplesMax    = 600
	gaugeArticles = 3
)

// gauge looks at a fleet every second or so, and keeps what it saw: at most
// samplesMax looks, the older ones thinned out evenly.
type gauge struct {
	r        *rehearsal
	draining bool // the end: looks are closer

	mu      sync.Mutex
	samples []Sample
	skip    int // of this many looks one is kept
	n       int
	heap    uint64
	behind  float64
	pull    float64 // events/s that the aggregator has merged lately
	whole   []completeness
	last    Sample
	view    view
}

// completeness tells up to which moment of the story everything of a store is
// merged: what stood in its journal at some look is what the next ones wait for.
type completeness struct {
	until time.Time
	head  uint64    // waited for
	at    time.Time // when it was seen
}

// look takes a store's newest numbers and answers how far it is behind.
func (c *completeness) look(now time.Time, head, merged uint64) time.Duration {
	if c.at.IsZero() || merged >= c.head {
		if c.until = c.at; c.at.IsZero() {
			c.until = now
		}
		c.head, c.at = head, now
	}
	if merged >= head {
		c.until = now
	}
	return now.Sub(c.until)
}

// view is what a look knows beside the sample, for whoever shows it.
type view struct {
	Sample
	DocsPerS   float64
	MergedPerS float64
	By         map[protocol.Presence]int
	Worst      string
	Faults     []string
}

// every is how long a gauge rests: the marks of thousands of stores cost something.
func (g *gauge) every() time.Duration {
	if g.draining {
		return max(200*time.Millisecond, time.Duration(g.r.o.Stores)*time.Millisecond/2)
	}
	return max(time.Second, time.Duration(g.r.o.Stores)*time.Millisecond)
}

func (g *gauge) run(ctx context.Context) {
	for pause(ctx, g.every()) {
		g.look(ctx)
	}
}

// look takes one sample and shows it.
func (g *gauge) look(ctx context.Context) {
	r := g.r
	ask, cancel := context.WithTimeout(ctx, max(20*time.Second, 4*g.every()))
	defer cancel()
	marks, err := r.fleet.Chain.stores(ask)
	if err != nil {
		if ctx.Err() == nil {
			r.complain(err.Error())
		}
		return
	}
	off, looked, err := g.compare(ask)
	if err != nil {
		if ctx.Err() == nil {
			r.complain(err.Error())
		}
		return
	}
	x := g.sample(marks)
	x.Off, x.Looked = off, looked
	r.season.watch(r.oracle, marks)
	g.keep(x.Sample)
	g.mu.Lock()
	g.view = x
	g.mu.Unlock()
	if r.o.Screen != nil {
		r.o.Screen.show(r, x)
	} else {
		r.progressLine(x)
	}
}

func (g *gauge) sample(marks map[protocol.StoreID]protocol.StoreStatus) view {
	r := g.r
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	x := view{By: map[protocol.Presence]int{}, Faults: r.season.going()}
	x.S, x.Story, x.Rate, x.Heap = r.elapsed(), r.clock.story(), r.clock.rate(), mem.HeapInuse
	x.RSS, _ = residentBytes()
	x.Posted = r.oracle.total().Documents
	x.Down, _ = r.fleet.down()
	x.P50MS, x.P99MS = r.probes.recent()
	web := r.pledge.result()
	x.Orders, x.Oversold = web.Promised, web.Oversold
	var live uint64
	var worst time.Duration
	if g.whole == nil {
		g.whole = make([]completeness, len(r.places))
	}
	for i, p := range r.places {
		m := marks[p.Store]
		head := r.oracle.tally(p.Store).Head
		if behind := g.whole[i].look(x.Story, head, m.MergedSeq); behind > worst {
			worst, x.Worst = behind, string(p.Store)+" "+p.Name
		}
		x.Merged += m.MergedEvents - min(m.MergedEvents, m.OwnEvents)
		x.By[m.Presence]++
		if head > m.MergedSeq {
			x.Backlog += head - m.MergedSeq
			if !r.fleet.Lines[i].isDown() {
				live += head - m.MergedSeq
			}
		}
	}
	x.LagS = worst.Seconds()
	g.mu.Lock()
	defer g.mu.Unlock()
	if dt := x.S - g.last.S; dt > 0 {
		x.DocsPerS, x.MergedPerS = float64(x.Posted-g.last.Posted)/dt, (float64(x.Merged)-float64(g.last.Merged))/dt
	}
	if !r.o.Virtual {
		x.LateMS = float64(r.clock.real(r.crew.late())) / 1e6
	}
	g.pull = max(x.MergedPerS, 0.8*g.pull, 200)
	g.behind = float64(live) / g.pull
	g.last, g.heap = x.Sample, max(g.heap, x.Heap)
	return x
}

// compare asks for a few best sellers everywhere, and counts where the number is
// not the truth of this moment: what is on its way shows here, as it does to a
// customer.
func (g *gauge) compare(ctx context.Context) (off, looked int, err error) {
	r := g.r
	var skus []protocol.SKU
	for _, a := range r.crew.shops[0].shop.goods.articles[:gaugeArticles] {
		skus = append(skus, a.SKU)
	}
	got, err := r.fleet.Chain.onHand(ctx, skus)
	if err != nil {
		return 0, 0, err
	}
	for _, p := range r.places {
		for _, sku := range skus {
			looked++
			if got[p.Store][sku] != r.oracle.onHand(p.Store, sku) {
				off++
			}
		}
	}
	return off, looked, nil
}

// keep adds a sample, and thins out when there are too many.
func (g *gauge) keep(x Sample) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n++
	if g.n%(g.skip+1) != 0 {
		return
	}
	g.samples = append(g.samples, x)
	if len(g.samples) < samplesMax {
		return
	}
	kept := g.samples[:0]
	for i, s := range g.samples {
		if i%2 == 1 {
			kept = append(kept, s)
		}
	}
	g.samples, g.skip = kept, 2*g.skip+1
}

// behindS is how many seconds of work wait on lines that are up.
func (g *gauge) behindS() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.behind
}

func (g *gauge) result() ([]Sample, uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.samples), g.heap
}
