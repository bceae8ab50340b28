package simulator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/simulator/yardstick"
	"tillwire/store/journal"
)

// writerCounts are the closed-loop writers of the journal figures.
var writerCounts = []int{1, 8, 64}

// journal: appends per second and their latency, beside a preallocated file
// with one fdatasync per group, the same record bytes.
func (b *bench) journal(ctx context.Context) error {
	for _, n := range writerCounts {
		var ourP50, ourP99, fileP50, fileP99 []float64
		ours := func(ctx context.Context) (float64, error) {
			r, err := b.journalRun(ctx, n)
			ourP50, ourP99 = append(ourP50, micros(r.P50)), append(ourP99, micros(r.P99))
			return r.PerS, err
		}
		file := func(ctx context.Context) (float64, error) {
			r, err := b.groupFileRun(ctx, n)
			fileP50, fileP99 = append(fileP50, micros(r.P50)), append(fileP99, micros(r.P99))
			return r.PerS, err
		}
		o, l, ratio, err := b.beside(ctx, ours, file)
		if err != nil {
			return err
		}
		row := BenchRow{
			Name: fmt.Sprintf("journal append, %s", plural(n, "writer")), Unit: "/s", Ours: o, Limit: l, Ratio: ratio,
			Of: "preallocated file, one fdatasync per group",
			Notes: []string{fmt.Sprintf("p50 %s µs, p99 %s µs; the file p50 %s µs, p99 %s µs", figure(spread(ourP50).Median),
				figure(spread(ourP99).Median), figure(spread(fileP50).Median), figure(spread(fileP99).Median))},
		}
		switch n {
		case 1:
			row.aimRatio(0.45)
		case 64:
			row.aimRatio(0.3)
		}
		b.row(row)
	}
	return nil
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (b *bench) journalRun(ctx context.Context, writers int) (res loadResult, err error) {
	dir, err := b.fresh("journal")
	if err != nil {
		return res, err
	}
	j, err := journal.Open(journal.Options{Path: filepath.Join(dir, "journal.db"), Log: zerolog.Nop(), BallastBytes: -1})
	if err != nil {
		return res, err
	}
	res, err = closedLoop(ctx, writers, b.slice, func(w, n int) error {
		_, err := j.Append(ctx, sampleEvent(w, n))
		return err
	})
	return res, errors.Join(err, j.Close())
}

// groupFileBytes holds a second of the fastest disks we know.
const groupFileBytes = 128 << 20

func (b *bench) groupFileRun(ctx context.Context, writers int) (res loadResult, err error) {
	dir, err := b.fresh("file")
	if err != nil {
		return res, err
	}
	g, err := yardstick.CreateGroupFile(filepath.Join(dir, "file"), groupFileBytes)
	if err != nil {
		return res, err
	}
	res, err = closedLoop(ctx, writers, b.slice, func(w, n int) error {
		return g.Append(protocol.AppendRecord(nil, time.Now().UnixMicro(), sampleEvent(w, n)))
	})
	return res, errors.Join(err, g.Close())
}

// closedLoop runs op from n goroutines, each as soon as its last one ended. The
// first tenth warms up and is not counted.
func closedLoop(ctx context.Context, writers int, d time.Duration, op func(writer, n int) error) (loadResult, error) {
	from := time.Now().Add(d / 10)
	until := from.Add(d)
	samples := make([][]time.Duration, writers)
	errs := make([]error, writers)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := 0; !stop.Load() && ctx.Err() == nil; n++ {
				begin := time.Now()
				if begin.After(until) {
					return
				}
				if errs[w] = op(w, n); errs[w] != nil {
					stop.Store(true)
					return
				}
				if begin.After(from) && len(samples[w]) < latenciesMax {
					samples[w] = append(samples[w], time.Since(begin))
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errors.Join(errs...), ctx.Err()); err != nil {
		return loadResult{}, err
	}
	var all []time.Duration
	for _, s := range samples {
		all = append(all, s...)
	}
	return summarise(all, d), nil
}

var sampleArticles = articles(500)

// sampleEvent is a basket of three lines, about 280 bytes as JSON.
func sampleEvent(w, n int) *protocol.Event {
	e := &protocol.Event{
		Kind: protocol.KindSale, Store: "S0042", DocumentID: fmt.Sprintf("S0042-R%02d-%06d", w, n), Register: fmt.Sprintf("R%02d", w),
		EventTime: protocol.StampOf(time.Now()), BusinessDate: "2026-11-23",
	}
	for i := range 3 {
		e.Lines = append(e.Lines, protocol.Line{
			Line: i + 1, SKU: sampleArticles[(w*31+n*7+i*13)%len(sampleArticles)].SKU, Quantity: protocol.Units(int64(i + 1)), UOM: "EA",
		})
	}
	e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
	return e
}
