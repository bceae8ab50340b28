package link

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tillwire/protocol"
)

// world is a session between a journal that only grows and an aggregator that
// says anything at all, until it is healed: then it is honest, and knows only
// what it really merged.
type world struct {
	t   *rapid.T
	s   *session
	now int64
	j   Facts

	epoch, lease, merged uint64 // of the honest aggregator
	honest               bool
	inbox                []Input // its answers under way
}

func newWorld(t *rapid.T) *world {
	tm := Timing{}
	tm.setDefaults()
	return &world{
		t: t, s: newSession("boot", tm), now: 1,
		j: Facts{InstallID: "i", Tail: 1, Head: rapid.Uint64Max(3000).Draw(t, "head")}, epoch: 1,
	}
}

// feed steps the session and everything that follows at once.
func (w *world) feed(in Input) {
	for in.Kind != 0 {
		in.Journal = w.j
		before := *w.s
		effects := w.s.Step(w.now, in)
		w.check(&before, &in, effects)
		next := Input{}
		for _, e := range effects {
			switch e.Do {
			case SayHello:
				w.greet()
			case SendFrame:
				next = w.carry(e.Seq)
			case SetMark:
				w.j.Epoch = e.Mark.Epoch
			case Drop:
				next = Input{Kind: onLost}
			case Announce, Note:
			}
		}
		in = next
	}
}

// check is what must hold whatever the other side says.
func (w *world) check(before *session, in *Input, effects []Effect) {
	w.t.Helper()
	if len(w.s.flights) > protocol.CreditMax || w.s.credit > protocol.CreditMax || len(effects) > 4 {
		w.t.Fatalf("%d frames in flight, credit %d, %d effects", len(w.s.flights), w.s.credit, len(effects))
	}
	if in.Kind == onAck && before.phase == sending && w.s.phase == sending {
		a, ours := in.Ack, in.Ack.V == 1 && in.Ack.Epoch == before.epoch && in.Ack.Lease == before.lease
		if a.Nack == protocol.NackUpgrade || a.Nack == protocol.NackSuperseded && !ours {
			w.t.Fatalf("sending goes on after NACK %s", a.Nack)
		}
	}
	for _, e := range effects {
		switch e.Do {
		case SendFrame:
			if w.s.phase != sending || e.Seq <= w.s.merged || e.Seq > w.j.Head || len(w.s.flights) >= w.s.credit || w.now < w.s.notBefore {
				w.t.Fatalf("seq %d is sent in phase %s, merged %d, head %d, %d of %d in flight", e.Seq, w.s.phase, w.s.merged, w.j.Head, len(w.s.flights), w.s.credit)
			}
		case SetMark:
			w.checkMark(before, in, e.Mark)
		case SayHello:
			if w.s.phase != greeting || e.Seq > w.j.Head {
				w.t.Fatalf("HELLO of seq %d in phase %s", e.Seq, w.s.phase)
			}
		case Announce:
			if w.s.phase != sending || e.Seq != w.s.merged || in.Welcome == nil || in.Welcome.Rebase || w.s.next <= e.Seq || len(w.s.flights) > 0 {
				w.t.Fatalf("seq %d is announced in phase %s, merged %d, %d in flight", e.Seq, w.s.phase, w.s.merged, len(w.s.flights))
			}
		case Drop, Note:
		}
	}
}

// checkMark: the mark moves by a WELCOME or Ack whose chain is the journal's,
// and by an Ack of the session forwards only.
func (w *world) checkMark(before *session, in *Input, m Mark) {
	w.t.Helper()
	if m.Merged > w.j.Head || m.Safe > m.Merged || m.Epoch == 0 || m.Lease == 0 || !in.Known {
		w.t.Fatalf("mark %+v, head %d, chain known %v", m, w.j.Head, in.Known)
	}
	switch in.Kind {
	case onWelcome:
		if in.Own != in.Welcome.ChainMerged || in.Welcome.BootID != "boot" || in.Welcome.Refused != "" || m.Merged != in.Welcome.MergedSeq {
			w.t.Fatalf("mark %+v by WELCOME %+v", m, in.Welcome)
		}
	case onAck:
		a := in.Ack
		if in.Own != a.ChainMerged || a.Epoch != before.epoch || a.Lease != before.lease || before.phase != sending || m.Merged < before.merged {
			w.t.Fatalf("mark %+v from %d by Ack %+v", m, before.merged, a)
		}
	default:
		w.t.Fatalf("mark %+v moved by nothing that was said", m)
	}
}

func (w *world) chain(seq uint64) (protocol.Chain, bool) {
	return chainOf(seq), seq <= w.j.Head
}

func (w *world) welcomed(m protocol.Welcome) Input {
	own, known := w.chain(m.MergedSeq)
	return Input{Kind: onWelcome, Welcome: &m, Own: own, Known: known}
}

func (w *world) acked(a protocol.Ack) Input {
	own, known := w.chain(a.MergedSeq)
	return Input{Kind: onAck, Ack: &a, Own: own, Known: known}
}

// greet is an honest aggregator's answer to HELLO.
func (w *world) greet() {
	if !w.honest {
		return
	}
	rebase := w.j.Epoch != w.epoch && w.j.Epoch != 0
	if rebase {
		w.epoch, w.merged = max(w.epoch, w.j.Epoch)+1, 0
	}
	w.lease++
	w.inbox = append(w.inbox, w.welcomed(protocol.Welcome{
		V: 1, BootID: "boot", Epoch: w.epoch, Lease: w.lease, Rebase: rebase, MergedSeq: w.merged, ChainMerged: chainOf(w.merged), Credit: 1,
	}))
}

// carry reads a frame and has an honest aggregator judge it.
func (w *world) carry(from uint64) Input {
	if !w.honest && rapid.IntRange(0, 9).Draw(w.t, "unreadable") == 0 {
		return Input{Kind: onUnsent}
	}
	last := min(from+protocol.FrameEventsMax-1, w.j.Head)
	if w.honest {
		a := protocol.Ack{V: 1, Credit: protocol.CreditMax}
		switch {
		case w.s.epoch != w.epoch || w.s.lease != w.lease:
			a.Nack = protocol.NackSuperseded
		case from > w.merged+1:
			a.Nack, a.Expected = protocol.NackGap, w.merged+1
		default:
			w.merged = max(w.merged, last)
		}
		a.Epoch, a.Lease, a.MergedSeq, a.ChainMerged = w.epoch, w.lease, w.merged, chainOf(w.merged)
		w.inbox = append(w.inbox, w.acked(a))
	}
	return Input{Kind: onSent, First: from, Last: last}
}

// lie draws something that any aggregator, broken or hostile, might say.
func (w *world) lie() Input {
	t := w.t
	seq := rapid.Uint64Max(w.j.Head+3).Draw(t, "seq")
	chain := chainOf(seq)
	if rapid.IntRange(0, 3).Draw(t, "chain") == 0 {
		chain[2]++
	}
	epoch := rapid.SampledFrom([]uint64{w.s.epoch, w.s.epoch, w.s.epoch + 1, 0, 1, 9}).Draw(t, "epoch")
	lease := rapid.SampledFrom([]uint64{w.s.lease, w.s.lease, w.s.lease + 1, 0, 1, 9}).Draw(t, "lease")
	ms := rapid.OneOf(rapid.Int64Range(-10, 10), rapid.Int64Range(-10, 1e9))
	if rapid.Bool().Draw(t, "credible") {
		epoch, lease, seq = w.s.epoch, w.s.lease, min(w.s.merged+rapid.Uint64Max(300).Draw(t, "more"), w.j.Head)
		chain = chainOf(seq)
	}
	credit := rapid.IntRange(-2, 1000).Draw(t, "credit")
	if rapid.Bool().Draw(t, "welcome") {
		return w.welcomed(protocol.Welcome{
			V: rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "v"), BootID: rapid.SampledFrom([]string{"boot", "boot", "other"}).Draw(t, "boot"),
			Epoch: epoch, Lease: lease, MergedSeq: seq, ChainMerged: chain, SafeSeq: rapid.Uint64().Draw(t, "safe"), Credit: credit,
			Rebase: rapid.Bool().Draw(t, "rebase"), StartAfterMS: ms.Draw(t, "start after"), PaceMS: ms.Draw(t, "pace"),
			Refused: rapid.SampledFrom([]string{"", "", "", "no"}).Draw(t, "refused"),
		})
	}
	return w.acked(protocol.Ack{
		V: rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(t, "v"), Epoch: epoch, Lease: lease, MergedSeq: seq, ChainMerged: chain,
		SafeSeq: rapid.Uint64().Draw(t, "safe"), Credit: credit, PaceMS: ms.Draw(t, "pace"), Expected: rapid.Uint64Max(w.j.Head+3).Draw(t, "expected"),
		Nack: rapid.SampledFrom([]protocol.NackReason{
			"", "", "", protocol.NackGap, protocol.NackChain, protocol.NackSuperseded, protocol.NackUpgrade, protocol.NackMalformed,
			protocol.NackNoSession, protocol.NackBusy, "word of tomorrow",
		}).Draw(t, "nack"),
	})
}

func (w *world) happen() {
	switch rapid.IntRange(0, 9).Draw(w.t, "what") {
	case 0:
		w.feed(Input{Kind: onLost})
	case 1, 2:
		if w.s.phase == offline {
			w.feed(Input{Kind: onConnected})
		}
	case 3:
		w.j.Head += rapid.Uint64Max(500).Draw(w.t, "sold")
		w.feed(Input{Kind: onTick})
	case 4, 5:
		w.now += rapid.Int64Range(0, 90e6).Draw(w.t, "pause")
		w.feed(Input{Kind: onTick})
	default:
		w.feed(w.lie())
	}
}

// heal has the aggregator be honest, and the line stay up, until all that the
// journal holds is merged and acknowledged. Behind an embedded broker a new
// aggregator means a new connection; behind another one, an agent that was told
// that all is merged learns better with its next event.
func (w *world) heal() {
	const patience = 20 * time.Minute // start_after may take ten of it
	w.honest = true
	if rapid.Bool().Draw(w.t, "same connection") {
		w.j.Head++
		w.feed(Input{Kind: onTick})
	} else {
		w.feed(Input{Kind: onLost})
	}
	until := w.now + patience.Microseconds()
	for range 10_000 {
		switch {
		case w.s.phase == sending && w.s.merged == w.j.Head && w.merged == w.j.Head && len(w.inbox) == 0:
			return
		case w.s.phase == offline:
			w.inbox = nil
			w.now += 1e6
			w.feed(Input{Kind: onConnected})
		case len(w.inbox) > 0:
			in := w.inbox[0]
			w.inbox = w.inbox[1:]
			w.now += 1000
			w.feed(in)
		default:
			at := w.s.deadline(w.j.Head)
			if at == math.MaxInt64 || at > until {
				w.t.Fatalf("stuck in phase %s: merged %d, aggregator %d, head %d, due at %d, now %d", w.s.phase, w.s.merged, w.merged, w.j.Head, at, w.now)
			}
			w.now = max(w.now, at)
			w.feed(Input{Kind: onTick})
		}
	}
	w.t.Fatalf("goes round in circles: phase %s, merged %d, aggregator %d, head %d, %+v", w.s.phase, w.s.merged, w.merged, w.j.Head, w.s.n)
}

// TestWhateverIsSaid: no sequence of messages, losses and pauses makes a session
// move its mark wrongly, send what it must not, or stay stuck once the other
// side is sane again.
func TestWhateverIsSaid(t *testing.T) {
	for range 80 { // 8,000 runs: the rarest of the bugs once planted here needs 5,000
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t)
			w.feed(Input{Kind: onConnected})
			for range rapid.IntRange(0, 60).Draw(t, "steps") {
				w.happen()
			}
			w.heal()
		})
	}
}
