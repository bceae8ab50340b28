package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// said sends a HELLO with what it says of generation and merged.
func (r *rig) said(a *agentSide, generation, merged uint64) protocol.Welcome {
	r.t.Helper()
	a.boot++
	h := protocol.Hello{
		V: 1, InstallID: "i-" + string(a.o.Store), BootID: fmt.Sprint("b", a.boot), Epoch: a.w.Epoch, Tail: 1, Head: uint64(len(a.recs)),
		Generation: generation, MergedSeq: merged, ChainMerged: a.chain[merged],
	}
	b, err := protocol.EncodeControl(h)
	if err == nil {
		err = r.in.Hello(a.o, b)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	<-r.sent
	r.mu.Lock()
	defer r.mu.Unlock()
	a.w = r.welcomes[a.o]
	return a.w
}

func markOf(t *testing.T, l ledger.Ledger, o protocol.Origin) ledger.Mark {
	t.Helper()
	marks, err := l.Marks()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marks {
		if m.Origin == o {
			return m
		}
	}
	t.Fatalf("no mark of %s", o)
	return ledger.Mark{}
}

func TestSafeIsMergedWithoutABackup(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	a.sale("d1", "X", 1)
	a.sale("d2", "X", 1)
	r.hello(a)
	if ack := r.send(a, 1, 2); ack.SafeSeq != 2 {
		t.Errorf("safe %d, want 2", ack.SafeSeq)
	}
	if r.in.CoveredBy() != CoveredByNone {
		t.Errorf("covered by %s", r.in.CoveredBy())
	}
}

// TestSafeFollowsBackups: the first backup configured takes back what was called
// safe; each verified one moves it to its own marks, across restarts, and no
// further.
func TestSafeFollowsBackups(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	for n := range 6 {
		a.sale(fmt.Sprint("d", n), "X", 1)
	}
	r.hello(a)
	if ack := r.send(a, 1, 2); ack.SafeSeq != 2 {
		t.Fatalf("safe %d, want 2", ack.SafeSeq)
	}
	r.stop()
	r.backed = true
	r.open()
	if w := r.said(a, 1, 2); w.SafeSeq != 0 || w.MergedSeq != 2 || w.Generation != 1 {
		t.Fatalf("no backup yet: %+v", w)
	}
	if ack := r.send(a, 3, 4); ack.SafeSeq != 0 || ack.MergedSeq != 4 {
		t.Fatalf("merged is not safe: %+v", ack)
	}
	covered := markOf(t, r.ledger, a.o)
	if ack := r.send(a, 5, 6); ack.MergedSeq != 6 {
		t.Fatal(ack)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.in.Covered(ctx, []ledger.Mark{covered, {Origin: protocol.Origin{Store: "S9", Agent: "gone"}, Epoch: 1, Seq: 9}}, ledger.Fact{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	<-r.sent
	r.mu.Lock()
	ack := r.acks[a.o]
	r.mu.Unlock()
	if ack.SafeSeq != 4 || ack.MergedSeq != 6 {
		t.Errorf("the agent is told at once: %+v", ack)
	}
	other := covered
	other.Epoch, other.Seq = 7, 6
	if err := r.in.Covered(ctx, []ledger.Mark{other, {Origin: a.o, Epoch: 1, Seq: 3}}); err != nil {
		t.Fatal(err)
	}
	r.stop()
	r.open()
	if w := r.said(a, 1, 6); w.SafeSeq != 4 {
		t.Errorf("after a restart safe is %d, want 4", w.SafeSeq)
	}
	if b, err := r.ledger.Fact("k"); err != nil || string(b) != "v" {
		t.Errorf("fact %q, %v", b, err)
	}
}

func TestFreezeIsWhatTheLedgerHolds(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	a.sale("d1", "X", 1)
	r.hello(a)
	r.send(a, 1, 1)
	var hash string
	err := r.in.Freeze(context.Background(), func(h string) error { hash = h; return nil })
	want, err2 := r.in.Certificate(context.Background())
	if err != nil || err2 != nil || hash != want.StateHash {
		t.Errorf("frozen %s, want %s (%v, %v)", hash, want.StateHash, err, err2)
	}
	if err := r.in.Freeze(context.Background(), func(string) error { return context.Canceled }); !errors.Is(err, context.Canceled) {
		t.Errorf("fn's error is %v", err)
	}
}

// TestAnOlderLedgerIsFoundOut: an agent that was told more than the ledger has, or
// that saw a higher generation, raises it; what cannot be true does not.
func TestAnOlderLedgerIsFoundOut(t *testing.T) {
	r, a, b := newRig(t), newAgent("S1"), newAgent("S2")
	for n := range 4 {
		a.sale(fmt.Sprint("d", n), "X", 1)
	}
	b.sale("e", "X", 1)
	r.hello(a)
	r.send(a, 1, 2)
	if w := r.said(a, 1, 2); w.Generation != 1 {
		t.Fatalf("nothing is wrong: %+v", w)
	}
	if w := r.said(a, 1, 4); w.Generation != 2 || w.MergedSeq != 2 {
		t.Fatalf("told that 4 are merged, 2 are: %+v", w)
	}
	if w := r.said(b, 7, 0); w.Generation != 8 {
		t.Fatalf("an agent has seen generation 7: %+v", w)
	}
	if w := r.said(a, 1<<40, 2); w.Generation != 8 {
		t.Fatalf("a leap out of all numbers: %+v", w)
	}
	r.stop()
	r.open()
	if w := r.said(a, 8, 2); w.Generation != 8 {
		t.Errorf("it is kept: %+v", w)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.raised) != 2 || !strings.Contains(r.raised[0], "seq 4") || !strings.Contains(r.raised[1], "generation 7") {
		t.Errorf("told %q", r.raised)
	}
}

// TestAStuckStoresHeadIsKept: the disk of a store that hangs may die after our own
// restart, and the loss must still be known.
func TestAStuckStoresHeadIsKept(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	a.sale("d1", "X", 1)
	a.sale("d2", "X", 1)
	r.hello(a)
	r.send(a, 1, 1)
	s := &session{mark: ledger.Mark{Epoch: 2, Seq: 5, HeadSeen: 9}}
	s.was = s.mark
	if s.heard(1, 50); s.moved() {
		t.Error("a head of another epoch moved the mark")
	}
	if s.heard(2, 11); !s.moved() || s.mark.HeadSeen != 11 {
		t.Errorf("%+v", s.mark)
	}
	if err := r.in.Heartbeat(a.o, &protocol.Heartbeat{Epoch: a.w.Epoch, Lease: a.w.Lease, Head: 500, HoldsRev: 1 << 60}); err != nil {
		t.Fatal(err)
	}
	a.sale("d3", "X", 1)
	r.send(a, 2, 3)
	r.stop()
	r.open()
	if m := markOf(t, r.ledger, a.o); m.HeadSeen != 500 {
		t.Errorf("head seen is %d, want 500", m.HeadSeen)
	}
}
