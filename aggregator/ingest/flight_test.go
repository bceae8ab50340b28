package ingest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// slowDisk is a real ledger whose commits wait until they are let go.
type slowDisk struct {
	ledger.Ledger
	begun chan int   // entries of a commit that waits
	let   chan error // not nil: it fails instead
}

func (d *slowDisk) Commit(ctx context.Context, b *ledger.Batch) error {
	d.begun <- len(b.Entries)
	if err := <-d.let; err != nil {
		return err
	}
	return d.Ledger.Commit(ctx, b)
}

// slowRig is a rig whose ingest runs over a slow disk. What it says is counted.
type slowRig struct {
	*rig
	disk  *slowDisk
	acked chan protocol.Ack
	shown chan Position
	ran   chan error
}

func newSlowRig(t *testing.T, agents ...*agentSide) *slowRig {
	t.Helper()
	r := &slowRig{rig: newRig(t), acked: make(chan protocol.Ack, 100), shown: make(chan Position, 100), ran: make(chan error, 1)}
	for _, a := range agents {
		r.hello(a)
	}
	r.stop()
	r.open() // a fresh ledger handle, not run by hand of the rig: its ingest stays idle
	r.disk = &slowDisk{Ledger: r.ledger, begun: make(chan int, 10), let: make(chan error, 10)}
	in, err := Open(Options{
		Ledger: r.disk, Codec: r.codec, Log: zerolog.Nop(), Now: time.Now,
		Send: func(_ protocol.Origin, ch protocol.Channel, payload []byte) error {
			var a protocol.Ack
			if ch == protocol.DnAck && protocol.DecodeControl(payload, &a) == nil {
				r.acked <- a
			}
			return nil
		},
		Cells: func(cs []Position) {
			for _, c := range cs {
				r.shown <- c
			}
		},
		Merged: func(protocol.Origin, ledger.Mark, int) {}, Refused: func(o protocol.Origin, n protocol.NackReason, d string) { t.Errorf("%s: %s: %s", o, n, d) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.in = in
	go func() { r.ran <- in.Run(ctx) }()
	t.Cleanup(func() {
		for range cap(r.disk.let) {
			select {
			case r.disk.let <- nil:
			default:
			}
		}
		cancel()
	})
	for _, a := range agents {
		a.boot++
		h, err := protocol.EncodeControl(protocol.Hello{V: 1, InstallID: "i-" + string(a.o.Store), BootID: fmt.Sprint("b", a.boot), Epoch: a.w.Epoch, Tail: 1, Head: uint64(len(a.recs)), ChainHead: a.chain[len(a.recs)]})
		if err == nil {
			err = in.Hello(a.o, h)
		}
		if err != nil {
			t.Fatal(err)
		}
		<-r.disk.begun
		r.disk.let <- nil
		a.w.Lease++
	}
	return r
}

// offer hands a frame in and does not wait.
func (r *slowRig) offer(a *agentSide, from, to int) {
	r.t.Helper()
	b, err := r.codec.Append(nil, &protocol.Frame{
		Epoch: a.w.Epoch, Lease: a.w.Lease, FirstSeq: uint64(from), PrevChain: a.chain[from-1], LastChain: a.chain[to], Records: a.recs[from-1 : to], SentUS: 1,
	})
	if err == nil {
		err = r.in.Frame(a.o, b, 1)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// folded waits until the writer has taken all that waits.
func (r *slowRig) folded() {
	r.t.Helper()
	for end := time.Now().Add(10 * time.Second); r.in.Stats().QueueItems > 0; {
		if time.Now().After(end) {
			r.t.Fatal("the writer does not fold while the disk is busy")
		}
		time.Sleep(time.Millisecond)
	}
}

func (r *slowRig) silent(when string) {
	r.t.Helper()
	select {
	case a := <-r.acked:
		r.t.Errorf("%s: an ack is sent: %+v", when, a)
	case c := <-r.shown:
		r.t.Errorf("%s: a position is shown: %+v", when, c)
	default:
	}
}

// TestFoldRunsAheadOfTheDisk: while one batch is being written the next is folded
// and sees it, and nobody hears of either before it is durable.
func TestFoldRunsAheadOfTheDisk(t *testing.T) {
	a, b, twin := newAgent("S1"), newAgent("S2"), newAgent("S1")
	twin.o.Agent = "till-2"
	a.sale("d1", "X", 1)
	b.sale("d1", "X", 2)
	twin.sale("d1", "X", 1) // the same document by another agent of the shop
	r := newSlowRig(t, a, b, twin)
	r.offer(a, 1, 1)
	if n := <-r.disk.begun; n != 1 {
		t.Fatalf("first batch has %d entries", n)
	}
	r.offer(b, 1, 1)
	r.offer(twin, 1, 1)
	r.folded()
	r.silent("before the first commit")
	r.disk.let <- nil
	if n := <-r.disk.begun; n != 1 {
		t.Fatalf("second batch has %d entries: what is on its way was not seen", n)
	}
	if ack := <-r.acked; ack.MergedSeq != 1 || ack.ChainMerged != a.chain[1] {
		t.Errorf("first ack: %+v", ack)
	}
	if c := <-r.shown; c.Location != "S1" || c.OnHand != protocol.Units(-1) {
		t.Errorf("first position: %+v", c)
	}
	r.silent("before the second commit")
	r.disk.let <- nil
	for range 2 {
		if ack := <-r.acked; ack.MergedSeq != 1 || ack.Nack != "" {
			t.Errorf("ack: %+v", ack)
		}
	}
	if c := <-r.shown; c.Location != "S2" || c.OnHand != protocol.Units(-2) {
		t.Errorf("second position: %+v", c)
	}
	if st := r.in.Stats(); st.Duplicates != 1 || st.Events != 2 {
		t.Errorf("%+v", st)
	}
}

// TestFailedCommitTellsNobody: neither of the batch that failed nor of the one that
// was folded on top of it.
func TestFailedCommitTellsNobody(t *testing.T) {
	a, b := newAgent("S1"), newAgent("S2")
	a.sale("d1", "X", 1)
	b.sale("d1", "X", 2)
	r := newSlowRig(t, a, b)
	r.offer(a, 1, 1)
	<-r.disk.begun
	r.offer(b, 1, 1)
	put := make(chan error, 1)
	go func() { put <- r.in.PutFact(context.Background(), "k", []byte("v")) }()
	r.folded()
	broken := errors.New("disk is gone")
	r.disk.let <- broken
	if err := <-r.ran; !errors.Is(err, broken) {
		t.Fatalf("run ends with %v", err)
	}
	if err := <-put; err == nil {
		t.Error("a caller is told that its fact is kept")
	}
	r.silent("after the failure")
	if _, err := r.ledger.Fact("k"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("fact: %v", err)
	}
}

// TestDecisionsSeeWhatIsOnItsWay: an exception that a batch under way opens can be
// decided on at once, and a code that it spends is spent.
func TestDecisionsSeeWhatIsOnItsWay(t *testing.T) {
	a := newAgent("S1")
	a.raw([]byte{1, 0xff, 0xff})
	r := newSlowRig(t, a)
	ctx := context.Background()
	spent := make(chan bool, 2)
	spend := func() {
		ok, err := r.in.SpendFact(ctx, "code", []byte("x"))
		if err != nil {
			t.Error(err)
		}
		spent <- ok
	}
	r.offer(a, 1, 1)
	<-r.disk.begun
	discarded := make(chan error, 1)
	go func() {
		_, err := r.in.Discard(ctx, exceptionID(a.o, 1, 1), "torn sector", "ann")
		discarded <- err
	}()
	r.disk.let <- nil
	<-r.disk.begun
	r.disk.let <- nil
	if err := <-discarded; err != nil {
		t.Errorf("discard: %v", err)
	}
	go spend()
	<-r.disk.begun
	go spend()
	r.disk.let <- nil
	r.disk.let <- nil
	if one, two := <-spent, <-spent; one == two {
		t.Errorf("a code is spent: %v, %v", one, two)
	}
}
