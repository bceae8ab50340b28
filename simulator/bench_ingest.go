package simulator

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/ingest"
	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// journals make encoded frames as many agents would: each origin has its own
// chain, and frames follow on what was made before.
type journals struct {
	codec   *protocol.FrameCodec
	origins []protocol.Origin
	chains  []protocol.Chain
	next    []uint64
	baseUS  int64
}

func newJournals(stores int) (*journals, error) {
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		return nil, err
	}
	j := &journals{codec: codec, chains: make([]protocol.Chain, stores), next: make([]uint64, stores), baseUS: time.Now().Add(-time.Hour).UnixMicro()}
	for s := range stores {
		j.origins = append(j.origins, protocol.Origin{Store: protocol.StoreID(fmt.Sprintf("S%04d", s+1)), Agent: "server"})
		j.next[s] = 1
	}
	return j, nil
}

// frame makes the next frame of one journal out of n events, and returns their
// records too.
func (j *journals) frame(s, n int, event func(s int, seq uint64) *protocol.Event) (frame []byte, records [][]byte, err error) {
	f := &protocol.Frame{Epoch: 1, Lease: 1, FirstSeq: j.next[s], PrevChain: j.chains[s], SentUS: j.baseUS}
	for range n {
		seq := j.next[s]
		e := event(s, seq)
		e.Store = j.origins[s].Store
		e.EventTime = protocol.Stamp{US: j.baseUS + int64(seq)*1000}
		e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
		rec := protocol.AppendRecord(nil, e.EventTime.US+500, e)
		j.chains[s] = j.chains[s].Next(rec)
		j.next[s]++
		f.Records = append(f.Records, rec)
	}
	f.LastChain = j.chains[s]
	b, err := j.codec.Append(nil, f)
	return b, f.Records, err
}

// basket is a sale of three lines.
func basket(s int, seq uint64) *protocol.Event { return sampleEvent(s%64, int(seq)) }

// delivery brings every sample article to a store.
func delivery(s int, seq uint64) *protocol.Event {
	e := sampleEvent(s%64, int(seq))
	e.Kind, e.Register, e.DocumentID = protocol.KindReceipt, "", fmt.Sprintf("delivery-%d", seq)
	e.Lines = e.Lines[:0]
	for i, a := range sampleArticles {
		e.Lines = append(e.Lines, protocol.Line{Line: i + 1, SKU: a.SKU, Quantity: protocol.Units(100), UOM: "EA"})
	}
	return e
}

// frames makes k frames of n events for every journal, in the order in which they
// arrive: one of each in turn.
func (j *journals) frames(k, n int, event func(s int, seq uint64) *protocol.Event) (out []sent, err error) {
	for range k {
		for s := range j.origins {
			b, records, err := j.frame(s, n, event)
			if err != nil {
				return nil, err
			}
			out = append(out, sent{j.origins[s], b, records})
		}
	}
	return out, nil
}

// sent is one frame on the wire, and the records inside.
type sent struct {
	origin  protocol.Origin
	frame   []byte
	records [][]byte
}

func eventsIn(frames []sent) (n int) {
	for _, f := range frames {
		n += len(f.records)
	}
	return n
}

// door is the aggregator from the broker's hand to the ledger, alone.
type door struct {
	in      *ingest.Ingest
	ledger  *bolt.Ledger
	merged  atomic.Int64
	greeted atomic.Int64
	moved   chan struct{}
	cancel  context.CancelFunc
	done    chan error
}

// openDoor opens a ledger in dir and takes frames; what changed is thrown away.
func openDoor(ctx context.Context, dir string, codec *protocol.FrameCodec) (*door, error) {
	led, err := bolt.Open(bolt.Options{Path: filepath.Join(dir, "ledger.db"), Log: zerolog.Nop()})
	if err != nil {
		return nil, err
	}
	d := &door{ledger: led, moved: make(chan struct{}, 1), done: make(chan error, 1)}
	d.in, err = ingest.Open(ingest.Options{
		Ledger: led, Codec: codec, Log: zerolog.Nop(), Now: time.Now,
		Send: func(_ protocol.Origin, ch protocol.Channel, _ []byte) error {
			if ch == protocol.DnWelcome {
				d.greeted.Add(1)
				d.notice()
			}
			return nil
		},
		Cells:   func([]ingest.Position) {},
		Merged:  func(_ protocol.Origin, _ ledger.Mark, n int) { d.merged.Add(int64(n)); d.notice() },
		Refused: func(protocol.Origin, protocol.NackReason, string) {},
	})
	if err != nil {
		return nil, errors.Join(err, led.Close())
	}
	runCtx, cancel := context.WithCancel(ctx)
	d.cancel = cancel
	go func() { d.done <- d.in.Run(runCtx) }()
	return d, nil
}

// notice wakes whoever waits, who then looks for himself.
func (d *door) notice() {
	select {
	case d.moved <- struct{}{}:
	default:
	}
}

func (d *door) close() error {
	d.cancel()
	return errors.Join(<-d.done, d.ledger.Close())
}

// greet says HELLO for every journal, as after a start with head events to come.
func (d *door) greet(ctx context.Context, origins []protocol.Origin, head uint64) error {
	hello, err := protocol.EncodeControl(&protocol.Hello{V: protocol.Version, InstallID: "bench", BootID: "bench", Tail: 1, Head: head})
	if err != nil {
		return err
	}
	for _, o := range origins {
		if err := d.insist(ctx, func() error { return d.in.Hello(o, hello) }); err != nil {
			return err
		}
	}
	err = d.await(ctx, func() bool { return d.greeted.Load() >= int64(len(origins)) })
	if err != nil {
		return fmt.Errorf("greet %s: %w", plural(len(origins), "journal"), err)
	}
	return nil
}

// feed pushes frames as the broker does, waits until all are merged and durable,
// and tells how long that took.
func (d *door) feed(ctx context.Context, frames []sent) (time.Duration, error) {
	want := d.merged.Load() + int64(eventsIn(frames))
	began := time.Now()
	for _, f := range frames {
		if err := d.insist(ctx, func() error { return d.in.Frame(f.origin, f.frame, time.Now().UnixMicro()) }); err != nil {
			return 0, err
		}
	}
	err := d.await(ctx, func() bool { return d.merged.Load() >= want })
	return time.Since(began), err
}

// insist tries again where the queue is full.
func (d *door) insist(ctx context.Context, fn func() error) error {
	for {
		err := fn()
		if !errors.Is(err, ingest.ErrBusy) {
			return err
		}
		if !pause(ctx, time.Millisecond) {
			return ctx.Err()
		}
	}
}

// await waits for something that merging brings about.
func (d *door) await(ctx context.Context, is func() bool) error {
	deadline := time.NewTimer(benchWaitMax)
	defer deadline.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !is() {
		select {
		case <-d.moved:
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("nothing came of it within %s; %d events are merged", benchWaitMax, d.merged.Load())
		}
	}
	return nil
}

// benchWaitMax bounds one wait of a measurement.
const benchWaitMax = time.Minute
