package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// report adds the latencies of a closed loop of writers to a benchmark.
func report(b *testing.B, lat [][]time.Duration, took time.Duration) {
	all := slices.Concat(lat...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(len(all))/took.Seconds(), "events/s")
}

// closedLoop runs writers that each wait for durability before the next event.
func closedLoop(b *testing.B, writers int, one func(i int64) error) {
	b.ReportAllocs()
	lat := make([][]time.Duration, writers)
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	start := time.Now()
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				at := time.Now()
				if err := one(i); err != nil {
					b.Error(err)
					return
				}
				lat[w] = append(lat[w], time.Since(at))
			}
		}()
	}
	wg.Wait()
	b.StopTimer()
	report(b, lat, time.Since(start))
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			j := open(b, testOptions(b))
			closedLoop(b, writers, func(i int64) error {
				_, err := j.Append(context.Background(), sale(fmt.Sprintf("S0042-R03-%09d", i)))
				return err
			})
			b.ReportMetric(float64(j.State().Counters.Appended)/float64(j.State().Counters.Groups), "events/group")
		})
	}
}

// BenchmarkBaselineFile is the limit to compare with: the same encoding, ids
// and hashes, the same bytes, written to a preallocated file with one fdatasync
// per group.
func BenchmarkBaselineFile(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) { benchmarkBaseline(b, writers) })
	}
}

func benchmarkBaseline(b *testing.B, writers int) {
	f, err := os.Create(filepath.Join(b.TempDir(), "baseline"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := writeZeros(f, 64<<20); err != nil {
		b.Fatal(err)
	}
	type write struct {
		p    *pending
		done chan error
	}
	queue := make(chan write, queueMaxDefault)
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		at, off := tip{}, int64(0)
		var group []write
		var buf []byte
		for w := range queue {
			group, buf = append(group[:0], w), buf[:0]
			for more := true; more; {
				select {
				case w, more = <-queue:
					if more {
						group = append(group, w)
					}
				default:
					more = false
				}
			}
			now := time.Now().UnixMicro()
			for _, w := range group {
				r := place(now, at, w.p, nil)
				buf, at = append(buf, r.value...), r.after
			}
			if off+int64(len(buf)) > 64<<20 {
				off = 0
			}
			_, err := f.WriteAt(buf, off)
			if err == nil {
				err = dataSync(f)
			}
			off += int64(len(buf))
			for _, w := range group {
				w.done <- err
			}
		}
	}()
	closedLoop(b, writers, func(i int64) error {
		p, err := newPending(sale(fmt.Sprintf("S0042-R03-%09d", i)))
		if err != nil {
			return err
		}
		w := write{p, make(chan error, 1)}
		queue <- w
		return <-w.done
	})
	close(queue)
	wg.Wait()
}

// BenchmarkLookUp asks the index of 60,000 events in many runs for ids that are new,
// as nearly all are.
func BenchmarkLookUp(b *testing.B) {
	o := testOptions(b)
	o.SegmentEvents = 8000
	j := open(b, o)
	events := make([]*protocol.Event, 500)
	for at := 0; at < 60_000; at += len(events) {
		for i := range events {
			events[i] = sale(fmt.Sprintf("S0042-R03-%09d", at+i))
		}
		if _, errs := j.AppendAll(context.Background(), events); errors.Join(errs...) != nil {
			b.Fatal(errs)
		}
	}
	ids := make([]protocol.EventID, 4096)
	for i := range ids {
		ids[i] = sale(fmt.Sprintf("S0042-R04-%09d", i)).ID
	}
	err := j.do(func() error {
		b.ReportMetric(float64(len(j.c.runs)), "runs")
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ { // one transaction and so one finder per id: a till alone
			err := j.db.View(func(tx *bolt.Tx) error {
				if _, known := j.c.finder(tx)(ids[i%len(ids)]); known {
					return errors.New("found an id that is not there")
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}
