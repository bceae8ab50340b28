package ingest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

func chainOf(n byte) protocol.Chain { return protocol.Chain{n} }

// TestGreet holds the handshake to its table: what the ledger knows, what the
// agent says, and whether the journal goes on or a new epoch begins.
func TestGreet(t *testing.T) {
	known := ledger.Mark{Epoch: 3, Lease: 7, Seq: 100, Chain: chainOf(9), SafeSeq: 90, InstallID: "i1", HeadSeen: 120}
	cases := []struct {
		name       string
		mark       ledger.Mark
		hello      protocol.Hello
		epoch      uint64
		merged     uint64
		rebase     bool
		chain      protocol.Chain
		from, to   uint64 // lost
		forkShared uint64 // of the newest fork; ^0-1 marks none
	}{
		{
			"a journal never seen starts epoch 1 at its tail",
			ledger.Mark{},
			protocol.Hello{InstallID: "i1", Tail: 1, Head: 5, ChainTail: chainOf(1)},
			1, 0, true, chainOf(1), 0, 0, none,
		},
		{
			"the same journal resumes", known,
			protocol.Hello{InstallID: "i1", Epoch: 3, Tail: 50, Head: 130, MergedSeq: 100, ChainMerged: chainOf(9)},
			3, 100, false, chainOf(9), 0, 0, none,
		},
		{
			"a lost WELCOME does not fork",
			ledger.Mark{Epoch: 1, InstallID: "i1", Seq: 0},
			protocol.Hello{InstallID: "i1", Epoch: 0, Tail: 1, Head: 5},
			1, 0, true, chainOf(0), 0, 0, none,
		},
		{
			"a disk set back to before its first WELCOME is a fork where it differs",
			ledger.Mark{Epoch: 1, InstallID: "i1", Seq: 8, Chain: chainOf(9)},
			protocol.Hello{InstallID: "i1", Epoch: 0, Tail: 1, Head: 153, MergedSeq: 8, ChainMerged: chainOf(8)},
			2, 0, true, chainOf(0), 0, 0, 0,
		},
		{
			"another epoch shares what the ledger has, where the chains agree", known,
			protocol.Hello{InstallID: "i1", Epoch: 2, Tail: 50, Head: 130, ChainTail: chainOf(5), MergedSeq: 100, ChainMerged: chainOf(9)},
			4, 49, true, chainOf(5), 0, 0, 100,
		},
		{
			"an agent that has not heard of the last acks resumes", known,
			protocol.Hello{InstallID: "i1", Epoch: 3, Tail: 50, Head: 130, MergedSeq: 80, ChainMerged: chainOf(8)},
			3, 100, false, chainOf(9), 0, 0, none,
		},
		{
			"a chain that differs at merged is a fork", known,
			protocol.Hello{InstallID: "i1", Epoch: 3, Tail: 50, Head: 130, ChainTail: chainOf(5), MergedSeq: 100, ChainMerged: chainOf(8)},
			4, 49, true, chainOf(5), 0, 0, 49,
		},
		{
			"a disk rolled back offers all it has again", known,
			protocol.Hello{InstallID: "i1", Epoch: 3, Tail: 1, Head: 70, MergedSeq: 60},
			4, 0, true, chainOf(0), 0, 0, 0,
		},
		{
			"what a store trimmed before we had it is named", known,
			protocol.Hello{InstallID: "i1", Epoch: 3, Tail: 111, Head: 130, ChainTail: chainOf(6), MergedSeq: 115},
			4, 110, true, chainOf(6), 101, 110, ^uint64(0),
		},
		{
			"what a store trimmed is missing in an empty ledger, too",
			ledger.Mark{},
			protocol.Hello{InstallID: "i1", Epoch: 3, Tail: 111, Head: 130, ChainTail: chainOf(6), MergedSeq: 115},
			1, 110, true, chainOf(6), 1, 110, none,
		},
		{
			"what a store trimmed before an older ledger had it is named", known,
			protocol.Hello{InstallID: "i1", Epoch: 6, Tail: 121, Head: 130, ChainTail: chainOf(5), MergedSeq: 128},
			7, 120, true, chainOf(5), 101, 120, 100,
		},
		{
			"a re-installed store names the least loss known", known,
			protocol.Hello{InstallID: "i2", Tail: 1, Head: 3},
			4, 0, true, chainOf(0), 101, 120, 0,
		},
		{
			"a ledger restored from a backup mints beyond the agent's epoch", known,
			protocol.Hello{InstallID: "i1", Epoch: 6, Tail: 50, Head: 130, ChainTail: chainOf(5), MergedSeq: 128},
			7, 49, true, chainOf(5), 0, 0, 49,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := &session{mark: c.mark}
			c.hello.V, c.hello.BootID = protocol.Version, "b"
			w, gone := s.greet(&c.hello, 5)
			got := protocol.Welcome{V: w.V, BootID: w.BootID, Epoch: w.Epoch, Lease: w.Lease, Rebase: w.Rebase, MergedSeq: w.MergedSeq, ChainMerged: w.ChainMerged, ServerUS: w.ServerUS}
			want := protocol.Welcome{V: 1, BootID: "b", Epoch: c.epoch, Lease: c.mark.Lease + 1, Rebase: c.rebase, MergedSeq: c.merged, ChainMerged: c.chain, ServerUS: 5}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("welcome (-want +got):\n%s", d)
			}
			if c.to == 0 && gone != nil || c.to != 0 && (gone == nil || gone.from != c.from || gone.to != c.to) {
				t.Errorf("lost is %+v, want %d to %d", gone, c.from, c.to)
			}
			if c.forkShared == none {
				if len(s.mark.Forks) != 0 {
					t.Errorf("forks %+v, want none", s.mark.Forks)
				}
			} else if n := len(s.mark.Forks); n != 1 || s.mark.Forks[0] != (ledger.Fork{Epoch: c.epoch, After: c.forkShared}) {
				t.Errorf("forks %+v, want epoch %d after %d", s.mark.Forks, c.epoch, c.forkShared)
			}
		})
	}
}

const none = ^uint64(0) - 1

// TestExtend: what is offered again in its place tells how far an epoch shares the
// history before it; the ledger's own mark is never changed in place.
func TestExtend(t *testing.T) {
	held := []ledger.Fork{{Epoch: 2, After: 10}, {Epoch: 3, After: 4}}
	s := &session{mark: ledger.Mark{Epoch: 3, Forks: held}}
	for _, c := range []struct {
		seq  uint64
		news bool
		want uint64
	}{{4, false, 4}, {5, true, 5}, {5, false, 5}, {9, true, 9}, {6, false, 9}} {
		if news := s.extend(c.seq); news != c.news || s.mark.Forks[1].After != c.want || s.mark.Forks[0].After != 10 {
			t.Errorf("extend to %d: news %v, forks %+v, want %v and %d", c.seq, news, s.mark.Forks, c.news, c.want)
		}
	}
	if held[1].After != 4 {
		t.Errorf("the slice that the ledger holds was changed: %+v", held)
	}
	s.mark.Epoch = 4
	if s.extend(20) {
		t.Error("a fork of another epoch was extended")
	}
}

func TestJudge(t *testing.T) {
	recs := [][]byte{{1}, {2}, {3}}
	prev := chainOf(1)
	at := func(n int) protocol.Chain {
		c := prev
		for _, r := range recs[:n] {
			c = c.Next(r)
		}
		return c
	}
	frame := func(first uint64) *protocol.Frame {
		return &protocol.Frame{Epoch: 1, Lease: 2, FirstSeq: first, PrevChain: prev, LastChain: at(3), Records: recs}
	}
	live := func(seq uint64, c protocol.Chain) *session {
		return &session{live: true, mark: ledger.Mark{Epoch: 1, Lease: 2, Seq: seq, Chain: c}}
	}
	cases := []struct {
		name   string
		s      *session
		f      *protocol.Frame
		skip   int
		refuse protocol.NackReason
	}{
		{"the next frame", live(10, prev), frame(11), 0, protocol.NackNone},
		{"a frame whose first two are merged", live(12, at(2)), frame(11), 2, protocol.NackNone},
		{"a frame merged whole is acked again", live(13, at(3)), frame(11), 3, protocol.NackNone},
		{"a gap", live(9, prev), frame(11), 0, protocol.NackGap},
		{"another history before it", live(10, chainOf(7)), frame(11), 0, protocol.NackChain},
		{"another history inside it", live(12, chainOf(7)), frame(11), 0, protocol.NackChain},
		{"an old lease", &session{live: true, mark: ledger.Mark{Epoch: 1, Lease: 3, Seq: 10, Chain: prev}}, frame(11), 0, protocol.NackSuperseded},
		{"another epoch", &session{live: true, mark: ledger.Mark{Epoch: 2, Lease: 2, Seq: 10, Chain: prev}}, frame(11), 0, protocol.NackSuperseded},
		{"no HELLO yet", &session{mark: ledger.Mark{Epoch: 1, Lease: 2, Seq: 10, Chain: prev}}, frame(11), 0, protocol.NackNoSession},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			skip, refuse := c.s.judge(c.f)
			if skip != c.skip || refuse != c.refuse {
				t.Errorf("judge: skip %d, refuse %q; want %d, %q", skip, refuse, c.skip, c.refuse)
			}
		})
	}
}

func TestCheckHelloRefusesTheImpossible(t *testing.T) {
	ok := protocol.Hello{V: 1, BootID: "b", InstallID: "i", Tail: 1, Head: 0}
	if err := checkHello(&ok); err != nil {
		t.Fatalf("an empty journal: %v", err)
	}
	for name, spoil := range map[string]func(*protocol.Hello){
		"version":       func(h *protocol.Hello) { h.V = 9 },
		"no boot id":    func(h *protocol.Hello) { h.BootID = "" },
		"no install id": func(h *protocol.Hello) { h.InstallID = "" },
		"tail zero":     func(h *protocol.Hello) { h.Tail = 0 },
		"tail > head+1": func(h *protocol.Hello) { h.Tail = 3 },
	} {
		h := ok
		spoil(&h)
		if checkHello(&h) == nil {
			t.Errorf("%s: not refused", name)
		}
	}
}

// TestAstray: a heartbeat under a session that is none is answered, so that an agent
// with nothing to send says HELLO.
func TestAstray(t *testing.T) {
	mark := ledger.Mark{Epoch: 3, Lease: 7, BootID: "b"}
	for name, c := range map[string]struct {
		s            session
		epoch, lease uint64
		boot         string
		want         protocol.NackReason
	}{
		"its session":               {session{mark: mark, live: true}, 3, 7, "b", protocol.NackNone},
		"no HELLO since the start":  {session{mark: mark}, 3, 7, "b", protocol.NackNoSession},
		"a WELCOME that was lost":   {session{mark: mark, live: true}, 3, 6, "b", protocol.NackNoSession},
		"an epoch that was lost":    {session{mark: mark, live: true}, 2, 7, "b", protocol.NackNoSession},
		"a WELCOME on its way":      {session{mark: mark, live: true, greetedUS: 1}, 3, 6, "b", protocol.NackNone},
		"another process":           {session{mark: mark, live: true}, 3, 6, "c", protocol.NackSuperseded},
		"before its first WELCOME":  {session{mark: mark, live: true}, 0, 0, "b", protocol.NackNone},
		"quarantined, nobody chose": {session{mark: mark, copies: copies{SinceUS: 1}}, 3, 6, "c", protocol.NackNone},
	} {
		if got := c.s.astray(c.epoch, c.lease, c.boot, welcomeUS); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestABareEpochLeavesNoFork: an epoch under which nothing new was merged vanishes
// when the next begins, and what it did not share with the history before it, the
// next does not share either.
func TestABareEpochLeavesNoFork(t *testing.T) {
	held := []ledger.Fork{{Epoch: 2, After: 10}, {Epoch: 3, After: 4}}
	rebased := func(bare bool, after uint64) []ledger.Fork {
		s := &session{bare: bare, mark: ledger.Mark{Epoch: 3, Seq: 20, InstallID: "i", Forks: held}}
		s.rebase(&protocol.Hello{InstallID: "i", Tail: 1, Head: 20}, 4, after)
		return s.mark.Forks
	}
	for _, c := range []struct {
		bare  bool
		after uint64
		want  []ledger.Fork
	}{
		{false, 8, []ledger.Fork{{Epoch: 2, After: 10}, {Epoch: 3, After: 4}, {Epoch: 4, After: 8}}},
		{true, 8, []ledger.Fork{{Epoch: 2, After: 10}, {Epoch: 4, After: 4}}},
		{true, 2, []ledger.Fork{{Epoch: 2, After: 10}, {Epoch: 4, After: 2}}},
	} {
		if d := cmp.Diff(c.want, rebased(c.bare, c.after)); d != "" {
			t.Errorf("bare %v, after %d (-want +got):\n%s", c.bare, c.after, d)
		}
	}
	if d := cmp.Diff([]ledger.Fork{{Epoch: 2, After: 10}, {Epoch: 3, After: 4}}, held); d != "" {
		t.Errorf("what the ledger holds was changed (-want +got):\n%s", d)
	}
}

// TestAStoreThatNeverSettlesAddsNoForks: one that says HELLO from an epoch of its own
// again and again, and sends nothing, does not grow what the ledger keeps of it;
// epochs under which something was merged are kept.
func TestAStoreThatNeverSettlesAddsNoForks(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	forks := func() int { return len(markOf(t, r.ledger, a.o).Forks) }
	astray := func() {
		for range 20 {
			a.w.Epoch += 3
			r.hello(a)
		}
	}
	a.sale("d1", "X", 1)
	r.hello(a)
	r.send(a, 1, 1)
	astray()
	if n := forks(); n != 1 {
		t.Fatalf("%d forks after 20 epochs with nothing in them, want 1", n)
	}
	a.sale("d2", "X", 1)
	if ack := r.send(a, 1, 2); ack.MergedSeq != 2 {
		t.Fatalf("merged %d, want 2", ack.MergedSeq)
	}
	astray()
	if n := forks(); n != 2 {
		t.Errorf("%d forks, want 2: of the epoch that has an entry, and of the newest", n)
	}
	r.want(map[string]protocol.Quantity{"S1/X": protocol.Units(-2)})
}
