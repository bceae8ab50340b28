package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// bench is an ingest over a real ledger, with what it sent down.
type rig struct {
	t      *testing.T
	path   string
	codec  *protocol.FrameCodec
	ledger *bolt.Ledger
	in     *Ingest
	stop   func()
	backed bool
	raised []string

	mu       sync.Mutex
	acks     map[protocol.Origin]protocol.Ack
	welcomes map[protocol.Origin]protocol.Welcome
	sent     chan struct{}
	cells    map[string]protocol.Quantity
}

func newRig(t *testing.T) *rig {
	t.Helper()
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, path: filepath.Join(t.TempDir(), "ledger.db"), codec: codec, acks: map[protocol.Origin]protocol.Ack{},
		welcomes: map[protocol.Origin]protocol.Welcome{}, sent: make(chan struct{}, 10_000), cells: map[string]protocol.Quantity{},
	}
	r.open()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *rig) open() {
	r.t.Helper()
	l, err := bolt.Open(bolt.Options{Path: r.path, Log: zerolog.Nop()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.ledger = l
	in, err := Open(Options{
		Ledger: l, Codec: r.codec, Log: zerolog.Nop(), Now: time.Now, Send: r.take, CheckpointEvery: 7, Backed: r.backed,
		Raised: func(_ uint64, why string) { r.mu.Lock(); defer r.mu.Unlock(); r.raised = append(r.raised, why) },
		Cells: func(cs []Position) {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, c := range cs {
				r.cells[string(c.Location)+"/"+string(c.SKU)] = c.OnHand
			}
		},
		Merged:  func(protocol.Origin, ledger.Mark, int) {},
		Refused: func(protocol.Origin, protocol.NackReason, string) {},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.in = in
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
		if err := l.Close(); err != nil {
			r.t.Errorf("close: %v", err)
		}
		r.stop = func() {}
	}
}

func (r *rig) take(o protocol.Origin, ch protocol.Channel, payload []byte) error {
	if ch == protocol.DnHolds {
		return nil // told beside the conversation
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch ch { //nolint:exhaustive // only what goes down
	case protocol.DnAck:
		var a protocol.Ack
		_ = json.Unmarshal(payload, &a)
		r.acks[o] = a
	case protocol.DnWelcome:
		var w protocol.Welcome
		_ = json.Unmarshal(payload, &w)
		r.welcomes[o] = w
	}
	r.sent <- struct{}{}
	return nil
}

// agentSide is a journal in memory that speaks the link's protocol by hand.
type agentSide struct {
	o     protocol.Origin
	recs  [][]byte
	chain []protocol.Chain // chain[n] is after record n
	w     protocol.Welcome
	boot  int
}

func newAgent(store string) *agentSide {
	return &agentSide{o: protocol.Origin{Store: protocol.StoreID(store), Agent: "server"}, chain: make([]protocol.Chain, 1)}
}

func (a *agentSide) sale(doc, sku string, units int64) {
	ev := protocol.Event{
		Kind: protocol.KindSale, Store: a.o.Store, DocumentID: doc, EventTime: protocol.Stamp{US: int64(len(a.recs)+1) * 1e6},
		Lines: []protocol.Line{{Line: 1, SKU: protocol.SKU(sku), Quantity: protocol.Units(units), UOM: "EA"}},
	}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, doc)
	a.raw(protocol.AppendRecord(nil, int64(len(a.recs)+1)*1e6, &ev))
}

func (a *agentSide) raw(rec []byte) {
	a.recs = append(a.recs, rec)
	a.chain = append(a.chain, a.chain[len(a.chain)-1].Next(rec))
}

func (r *rig) hello(a *agentSide) {
	r.t.Helper()
	a.boot++
	h := protocol.Hello{V: 1, InstallID: "i-" + string(a.o.Store), BootID: fmt.Sprint("b", a.boot), Epoch: a.w.Epoch, Tail: 1, Head: uint64(len(a.recs)), ChainHead: a.chain[len(a.recs)]}
	b, err := protocol.EncodeControl(h)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.in.Hello(a.o, b); err != nil {
		r.t.Fatal(err)
	}
	<-r.sent
	r.mu.Lock()
	a.w = r.welcomes[a.o]
	r.mu.Unlock()
	if a.w.BootID != h.BootID {
		r.t.Fatalf("welcome for boot %q, want %q", a.w.BootID, h.BootID)
	}
}

// send offers records from..to (seqs) in one frame and returns the answer.
func (r *rig) send(a *agentSide, from, to int) protocol.Ack {
	r.t.Helper()
	f := &protocol.Frame{
		Epoch: a.w.Epoch, Lease: a.w.Lease, FirstSeq: uint64(from), PrevChain: a.chain[from-1], LastChain: a.chain[to], Records: a.recs[from-1 : to], SentUS: 1,
	}
	b, err := r.codec.Append(nil, f)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.in.Frame(a.o, b, 1); err != nil {
		r.t.Fatal(err)
	}
	<-r.sent
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acks[a.o]
}

func (r *rig) want(cells map[string]protocol.Quantity) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := cmp.Diff(cells, r.cells); d != "" {
		r.t.Errorf("positions (-want +got):\n%s", d)
	}
}

func TestFramesMergeOnceAndInOrder(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	for n := range 6 {
		a.sale(fmt.Sprint("d", n), "X", 1)
	}
	r.hello(a)
	if ack := r.send(a, 1, 2); ack.MergedSeq != 2 || ack.ChainMerged != a.chain[2] || ack.Nack != "" {
		t.Errorf("first frame: %+v", ack)
	}
	if ack := r.send(a, 1, 2); ack.MergedSeq != 2 || ack.Nack != "" {
		t.Errorf("the same again: %+v", ack)
	}
	if ack := r.send(a, 5, 6); ack.Nack != protocol.NackGap || ack.Expected != 3 || ack.MergedSeq != 2 {
		t.Errorf("a gap: %+v", ack)
	}
	if ack := r.send(a, 2, 6); ack.MergedSeq != 6 || ack.Nack != "" {
		t.Errorf("an overlap: %+v", ack)
	}
	r.want(map[string]protocol.Quantity{"S1/X": -6000})
}

func TestPoisonIsParkedAndBlocksNobody(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	a.sale("d1", "X", 1)
	a.raw([]byte{1, 0xff, 0xff})
	a.sale("d3", "X", 1)
	a.sale("d1", "X", 9) // the id of another sale
	r.hello(a)
	if ack := r.send(a, 1, 4); ack.MergedSeq != 4 {
		t.Fatalf("ack %+v", ack)
	}
	r.want(map[string]protocol.Quantity{"S1/X": -2000})
	list, err := r.ledger.Exceptions(ledger.Filter{State: "open"})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d exceptions, %v", len(list), err)
	}
	codes := map[string]string{}
	for _, x := range list {
		codes[x.Code] = x.ID
		if x.Reason == "" || len(x.Raw) == 0 {
			t.Errorf("%s says nothing: %+v", x.ID, x)
		}
	}
	ctx := context.Background()
	if x, err := r.in.Retry(ctx, codes["id_reused"], "ann"); err != nil || x.State != "open" {
		t.Errorf("retry of what is still wrong: %+v, %v", x, err)
	}
	if x, err := r.in.Discard(ctx, codes["undecodable"], "torn sector", "ann"); err != nil || x.State != "discarded" || x.Note != "torn sector" {
		t.Errorf("discard: %+v, %v", x, err)
	}
	if _, err := r.in.Discard(ctx, codes["undecodable"], "again", "ann"); !errors.Is(err, ErrNotOpen) {
		t.Errorf("second discard: %v", err)
	}
	if _, err := r.in.Retry(ctx, "none", "ann"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("retry of nothing: %v", err)
	}
}

func TestFeedsAreJournalsOfTheirOwn(t *testing.T) {
	r := newRig(t)
	ev := protocol.Event{
		Kind: protocol.KindReceipt, Store: "DC1", DocumentID: "r1", EventTime: protocol.Stamp{US: 1e6}, Source: "wms",
		Lines: []protocol.Line{{Line: 1, SKU: "X", Quantity: protocol.Units(5), UOM: "EA"}},
	}
	ev.ID = protocol.MakeEventID("DC1", ev.Kind, "r1")
	o := protocol.Origin{Store: "DC1", Agent: "feed:wms"}
	other := ev
	other.Lines = []protocol.Line{{Line: 1, SKU: "X", Quantity: protocol.Units(6), UOM: "EA"}}
	got, err := r.in.Accept(context.Background(), o, []*protocol.Event{&ev, &ev, &other})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"accepted", "duplicate", "parked"} {
		if got[i].Status != want {
			t.Errorf("document %d is %q, want %q", i, got[i].Status, want)
		}
	}
	if _, err := r.ledger.Exception(got[2].ExceptionID); err != nil {
		t.Errorf("exception %q: %v", got[2].ExceptionID, err)
	}
	r.want(map[string]protocol.Quantity{"DC1/X": 5000})
	if ok, err := r.in.SpendFact(context.Background(), "code/1", []byte("x")); !ok || err != nil {
		t.Errorf("spend: %v, %v", ok, err)
	}
	if ok, err := r.in.SpendFact(context.Background(), "code/1", []byte("x")); ok || err != nil {
		t.Errorf("spend again: %v, %v", ok, err)
	}
}

// TestRestartKeepsEverything stops and reopens between frames: the journal goes
// on where the ledger stands, and three ways to the positions agree.
func TestRestartKeepsEverything(t *testing.T) {
	r, a, b := newRig(t), newAgent("S1"), newAgent("S2")
	for n := range 30 {
		a.sale(fmt.Sprint("a", n), fmt.Sprint("X", n%3), 1)
		b.sale(fmt.Sprint("b", n), "X1", 2)
	}
	for n := 1; n <= 30; n += 5 {
		r.hello(a)
		r.hello(b)
		if a.w.MergedSeq != uint64(n-1) || a.w.ChainMerged != a.chain[n-1] || a.w.Epoch != 1 {
			t.Fatalf("welcome after restart: %+v, want merged %d", a.w, n-1)
		}
		r.send(a, n, n+4)
		r.send(b, n, n+4)
		r.stop()
		r.open()
	}
	live, _, err := Load(r.ledger, reconcile.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	whole, err := Rebuild(r.ledger, reconcile.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]protocol.Quantity{"S1/X0": -10000, "S1/X1": -10000, "S1/X2": -10000, "S2/X1": -60000}
	r.want(want)
	for name, eng := range map[string]*Fold{"checkpoint and tail": live, "whole log": whole} {
		got := map[string]protocol.Quantity{}
		eng.Each(func(c merge.Cell) { got[string(c.Location)+"/"+string(c.SKU)] = c.OnHand })
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	x, err := r.in.Explain(context.Background(), "X1", "S2", merge.Question{Limit: 5})
	if err != nil {
		t.Fatal(err)
	}
	if x.OnHand != protocol.Units(-60) || len(x.Lines) != 5 || x.Truncated != 25 || x.Rest != protocol.Units(-50) {
		t.Errorf("explain: on hand %s, %d lines, %d more, rest %s", x.OnHand, len(x.Lines), x.Truncated, x.Rest)
	}
	if _, err := r.in.Explain(context.Background(), "nothing", "S2", merge.Question{Limit: 5}); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("explain of nothing: %v", err)
	}
}
