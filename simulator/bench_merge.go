package simulator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/ingest"
	"tillwire/protocol"
	"tillwire/simulator/yardstick"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// mergeStores send their frames in turns, as many journals do at once.
const (
	mergeStores      = 40
	mergeEvents      = 120_000
	mergeEventsQuick = 24_000
	mergeBatch       = 8000 // records per bare transaction: what one commit of ingest holds at most
)

// readyFrames are encoded frames of many journals, and the records inside.
type readyFrames struct {
	origins []protocol.Origin
	frames  [][][]byte // per origin, in order
	records [][]byte   // in the order of sending
	codec   *protocol.FrameCodec
}

func makeFrames(events int) (*readyFrames, error) {
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		return nil, err
	}
	r := &readyFrames{codec: codec, frames: make([][][]byte, mergeStores)}
	per := events / mergeStores / protocol.FrameEventsMax
	chains := make([]protocol.Chain, mergeStores)
	for s := range mergeStores {
		r.origins = append(r.origins, protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", s+1)), Agent: "server"})
	}
	base := time.Now().Add(-time.Hour).UnixMicro()
	for k := range per {
		for s, o := range r.origins {
			f := &protocol.Frame{Epoch: 1, Lease: 1, FirstSeq: uint64(k*protocol.FrameEventsMax + 1), PrevChain: chains[s], SentUS: base}
			for i := range protocol.FrameEventsMax {
				n := k*protocol.FrameEventsMax + i
				e := sampleEvent(s%64, n)
				e.Store = o.Store
				e.EventTime = protocol.Stamp{US: base + int64(n)*1000}
				e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
				rec := protocol.AppendRecord(nil, base+int64(n)*1000+500, e)
				chains[s] = chains[s].Next(rec)
				f.Records = append(f.Records, rec)
				r.records = append(r.records, rec)
			}
			f.LastChain = chains[s]
			b, err := codec.Append(nil, f)
			if err != nil {
				return nil, err
			}
			r.frames[s] = append(r.frames[s], b)
		}
	}
	return r, nil
}

// merge: events per second from encoded frame to durable ledger and changed
// positions, beside bare bbolt batches of the same records.
func (b *bench) merge(ctx context.Context) error {
	events := mergeEvents
	if b.quick {
		events = mergeEventsQuick
	}
	ready, err := makeFrames(events)
	if err != nil {
		return err
	}
	o, l, ratio, err := b.beside(ctx,
		func(ctx context.Context) (float64, error) { return b.ingestRun(ctx, ready) },
		func(context.Context) (float64, error) { return b.bareBatches(ready) })
	if err != nil {
		return err
	}
	row := BenchRow{
		Name: "merge, frame to durable position", Unit: "events/s", Ours: o, Limit: l, Ratio: ratio, Of: "bare bbolt batches of the same bytes",
		Notes: []string{fmt.Sprintf("%s of %d stores in frames of %d; ours decodes, checks chain and ids, folds and commits; bare puts %s per transaction",
			plural(len(ready.records), "event"), mergeStores, protocol.FrameEventsMax, plural(mergeBatch, "record"))},
	}
	row.aimRatio(0.7)
	b.row(row)
	return nil
}

func (b *bench) ingestRun(ctx context.Context, ready *readyFrames) (perS float64, err error) {
	dir, err := b.fresh("ledger")
	if err != nil {
		return 0, err
	}
	led, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "ledger.db"), Log: zerolog.Nop()})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, led.Close()) }()
	merged := make(chan int, 2*mergeStores*len(ready.frames[0])+mergeStores)
	in, err := ingest.Open(ingest.Options{
		Ledger: led, Codec: ready.codec, Log: zerolog.Nop(), Now: time.Now,
		Send: func(protocol.Origin, protocol.Channel, []byte) error { return nil },
		Cells: func([]ingest.Position) {
		},
		Merged:  func(_ protocol.Origin, _ ledger.Mark, n int) { merged <- n },
		Refused: func(protocol.Origin, protocol.NackReason, string) {},
	})
	if err != nil {
		return 0, err
	}
	runCtx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- in.Run(runCtx) }()
	defer func() { cancel(); err = errors.Join(err, <-done) }()
	for _, o := range ready.origins {
		hello, err := protocol.EncodeControl(&protocol.Hello{
			V: protocol.Version, InstallID: "bench", BootID: "bench", Tail: 1, Head: uint64(len(ready.frames[0]) * protocol.FrameEventsMax),
		})
		if err != nil {
			return 0, err
		}
		if err := in.Hello(o, hello); err != nil {
			return 0, err
		}
		if _, err := waitMerged(ctx, merged, 0); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	fed := make(chan error, 1)
	go func() { fed <- feedFrames(runCtx, in, ready) }()
	_, err = waitMerged(ctx, merged, len(ready.records))
	took := time.Since(begin)
	if err != nil {
		cancel()
	}
	if err = errors.Join(err, <-fed); err != nil {
		return 0, err
	}
	return float64(len(ready.records)) / took.Seconds(), nil
}

// feedFrames pushes as the broker does: one frame of each journal in turn, and
// again where the queue is full.
func feedFrames(ctx context.Context, in *ingest.Ingest, ready *readyFrames) error {
	for k := range ready.frames[0] {
		for s, o := range ready.origins {
			for {
				err := in.Frame(o, ready.frames[s][k], time.Now().UnixMicro())
				if err == nil {
					break
				}
				if !errors.Is(err, ingest.ErrBusy) || !pause(ctx, time.Millisecond) {
					return err
				}
			}
		}
	}
	return nil
}

// waitMerged waits for n merged events, or with n = 0 for one notice.
func waitMerged(ctx context.Context, merged <-chan int, n int) (int, error) {
	timer := time.NewTimer(60 * time.Second)
	defer timer.Stop()
	for sum := 0; ; {
		select {
		case k := <-merged:
			if sum += k; sum >= n {
				return sum, nil
			}
		case <-ctx.Done():
			return sum, ctx.Err()
		case <-timer.C:
			return sum, fmt.Errorf("%d of %d events merged after a minute", sum, n)
		}
	}
}

func (b *bench) bareBatches(ready *readyFrames) (perS float64, err error) {
	dir, err := b.fresh("bare")
	if err != nil {
		return 0, err
	}
	y, err := yardstick.OpenBolt(filepath.Join(dir, "bare.db"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, y.Close()) }()
	begin := time.Now()
	for at := 0; at < len(ready.records); at += mergeBatch {
		if err := y.Batch(ready.records[at:min(at+mergeBatch, len(ready.records))]); err != nil {
			return 0, err
		}
	}
	return float64(len(ready.records)) / time.Since(begin).Seconds(), nil
}
