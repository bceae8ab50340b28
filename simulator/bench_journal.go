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

// journal: appends per second and their latency, beside a preallocated file with
// one fdatasync per group, and beside two stores that people use for this: the
// same record bytes, the same closed loop of writers.
func (b *bench) journal(ctx context.Context) error {
	peers, peersErr := b.journalPeers(ctx)
	for _, n := range writerCounts {
		engines := []string{"ours", "file"}
		ms := []measure{nil, nil}
		var p50, p99 [4][]float64
		run := func(i int, fn func(context.Context, int) (loadResult, error)) measure {
			return func(ctx context.Context) (float64, error) {
				r, err := fn(ctx, n)
				p50[i], p99[i] = append(p50[i], micros(r.P50)), append(p99[i], micros(r.P99))
				return r.PerS, err
			}
		}
		ms[0], ms[1] = run(0, b.journalRun), run(1, b.groupFileRun)
		for _, p := range peers {
			ms = append(ms, run(len(ms), p.run))
			engines = append(engines, p.name)
		}
		cols, err := b.turns(ctx, ms...)
		if err != nil {
			return err
		}
		name := "journal append, " + plural(n, "writer")
		for i := 1; i < len(cols); i++ {
			row := beside(name, "/s", cols[0], "preallocated file, one fdatasync per group", cols[i])
			if i > 1 {
				row.Name, row.Of = name+", beside "+engines[i], peers[i-2].how
				if b.alone {
					continue
				}
			} else if aim := journalAims[n]; aim > 0 {
				row.aimRatio(aim)
			}
			row.note("p50 %s µs, p99 %s µs", figure(spread(p50[0]).Median), figure(spread(p99[0]).Median))
			if len(p50[i]) > 0 {
				row.note("%s: p50 %s µs, p99 %s µs", engines[i], figure(spread(p50[i]).Median), figure(spread(p99[i]).Median))
			}
			b.row(row)
		}
	}
	if peersErr != nil {
		b.absent(BenchRow{Name: "journal append beside SQLite and NATS JetStream", Unit: "/s", Of: "peers of simulator/peers"}, peersErr)
	}
	return nil
}

// journalAims are the least ratios to the file, by writers.
var journalAims = map[int]float64{1: 0.45, 64: 0.3}

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

// sampleRecord is a basket as the journal writes it.
func sampleRecord(n int) []byte {
	return protocol.AppendRecord(nil, time.Now().UnixMicro(), sampleEvent(n%64, n))
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
