package simulator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"tillwire/protocol"
)

// Events of one measurement of growth; every size gets the same.
const (
	growthEvents      = 200_000
	growthEventsQuick = 40_000
	growthFrame       = 50 // events; so that 4,000 stores have one frame each
	growthCostMax     = 1.2
)

// growth: what an event costs, from its frame to the ledger, as the chain has more
// stores and as the ledger has more rows. Cost is CPU time of the process, which
// the neighbours of a shared machine change little.
func (b *bench) growth(ctx context.Context) error {
	stores, rows := []int{40, 400, 4000}, []int{1e5, 1e6, 1e7}
	if b.quick {
		stores, rows = stores[:2], rows[:2]
	}
	if b.full {
		rows = append(rows, 1e8)
	}
	if err := b.growthOfStores(ctx, stores); err != nil {
		return err
	}
	return b.growthOfRows(ctx, rows)
}

func (b *bench) growthEvents() int {
	switch {
	case b.grown > 0:
		return b.grown
	case b.quick:
		return growthEventsQuick
	}
	return growthEvents
}

// growthOfStores measures chains of several sizes, all of whose articles are
// known: what a new cell costs is paid before.
func (b *bench) growthOfStores(ctx context.Context, sizes []int) error {
	var first []float64
	var weight float64
	for _, n := range sizes {
		costs, perCell, err := b.chainOf(ctx, n)
		if err != nil {
			return fmt.Errorf("%d stores: %w", n, err)
		}
		row := b.costRow(fmt.Sprintf("cost of an event, %s", plural(n, "store")), costs, first, fmt.Sprintf("the same with %d stores", sizes[0]))
		row.note("%s in frames of %d, %s", plural(b.growthEvents(), "event"), b.framesOf(n), plural(n*len(sampleArticles), "cell"))
		b.row(row)
		if first == nil {
			first = costs
		}
		weight = perCell
	}
	cells := sizes[len(sizes)-1] * len(sampleArticles)
	b.row(BenchRow{Name: fmt.Sprintf("memory per cell of the merge at %s", millions(cells)), Unit: "B", Ours: spread([]float64{weight}), Of: "–", Aim: "–", Less: true})
	return nil
}

// framesOf is how many events a frame of a chain's growth holds.
func (b *bench) framesOf(stores int) int { return min(growthFrame, max(1, b.growthEvents()/stores)) }

// costRow is a cost beside that of the smallest size; nothing stands beside that.
func (b *bench) costRow(name string, costs, first []float64, of string) BenchRow {
	row := beside(name, "µs of CPU", costs, of, first)
	row.Less = true
	if first == nil {
		row.Of, row.Aim = "–", "–"
		return row
	}
	row.Aim = fmt.Sprintf("ratio ≤ %.2f", growthCostMax)
	met := row.Ratio.Median <= growthCostMax
	row.Met = &met
	return row
}

func (b *bench) chainOf(ctx context.Context, stores int) (costs []float64, perCell float64, err error) {
	js, err := newJournals(stores)
	if err != nil {
		return nil, 0, err
	}
	dir, err := b.fresh("stores")
	if err != nil {
		return nil, 0, err
	}
	d, err := openDoor(ctx, dir, js.codec)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.greet(ctx, js.origins, math.MaxUint32); err != nil {
		return nil, 0, err
	}
	shelves, err := js.frames(1, 1, delivery)
	if err != nil {
		return nil, 0, err
	}
	empty := heapBytes()
	if _, err := d.feed(ctx, shelves); err != nil {
		return nil, 0, err
	}
	perCell = float64(heapBytes()-empty) / float64(stores*len(sampleArticles))
	runtime.KeepAlive(shelves) // in both weighings
	perFrame := b.framesOf(stores)
	for range b.reps {
		ready, err := js.frames(max(1, b.growthEvents()/perFrame/stores), perFrame, basket)
		if err != nil {
			return nil, 0, err
		}
		cost, _, err := d.cost(ctx, ready)
		if err != nil {
			return nil, 0, err
		}
		costs = append(costs, cost)
	}
	return costs, perCell, nil
}

// cost is the CPU time that merging takes per event, and what of it the system has
// used, in microseconds; wall time where the system does not tell.
func (d *door) cost(ctx context.Context, ready []sent) (all, kernel float64, err error) {
	before, system, err := cpuParts(os.Getpid())
	if err != nil {
		return 0, 0, err
	}
	took, err := d.feed(ctx, ready)
	if err != nil {
		return 0, 0, err
	}
	after, systemAfter, err := cpuParts(os.Getpid())
	if used := after - before; used > 0 {
		took = used
	}
	n := float64(eventsIn(ready))
	return micros(took) / n, micros(systemAfter-system) / n, err
}

// growthOfRows fills one ledger up to each size, and measures there.
func (b *bench) growthOfRows(ctx context.Context, sizes []int) (err error) {
	js, err := newJournals(mergeStores)
	if err != nil {
		return err
	}
	dir, err := b.fresh("rows")
	if err != nil {
		return err
	}
	d, err := openDoor(ctx, dir, js.codec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	if err := d.greet(ctx, js.origins, math.MaxUint32); err != nil {
		return err
	}
	var first []float64
	for _, size := range sizes {
		if err := b.fill(ctx, d, js, size); err != nil {
			return err
		}
		var costs, kernel []float64
		for range b.reps {
			ready, err := js.frames(max(1, b.growthEvents()/protocol.FrameEventsMax/mergeStores), protocol.FrameEventsMax, basket)
			if err != nil {
				return err
			}
			cost, system, err := d.cost(ctx, ready)
			if err != nil {
				return err
			}
			costs, kernel = append(costs, cost), append(kernel, system)
		}
		row := b.costRow(fmt.Sprintf("cost of an event, %s rows", grouped(size)), costs, first, fmt.Sprintf("the same with %s rows", grouped(sizes[0])))
		row.note("%s µs of it in the kernel, which copies what is written into its cache", figure(spread(kernel).Median))
		if st, err := os.Stat(filepath.Join(dir, "ledger.db")); err == nil {
			row.note("the ledger's file has %s, %d B per event", bytesWord(st.Size()), st.Size()/max(d.merged.Load(), 1))
		}
		b.row(row)
		if first == nil {
			first = costs
		}
	}
	return nil
}

// fill merges events until the ledger has size of them.
func (b *bench) fill(ctx context.Context, d *door, js *journals, size int) error {
	told := time.Now()
	for d.merged.Load() < int64(size) {
		left := size - int(d.merged.Load())
		k := min(5, max(1, left/protocol.FrameEventsMax/mergeStores))
		ready, err := js.frames(k, protocol.FrameEventsMax, basket)
		if err != nil {
			return err
		}
		if _, err := d.feed(ctx, ready); err != nil {
			return err
		}
		if time.Since(told) > 10*time.Second {
			b.errorf("         filling the ledger: %s of %s rows\n", grouped(d.merged.Load()), grouped(size))
			told = time.Now()
		}
	}
	return nil
}
