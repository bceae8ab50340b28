package link

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

// desk drives a session over a journal of head records and plays the shell:
// each SendFrame is answered at once with up to frame records.
type desk struct {
	t     *testing.T
	s     *session
	now   int64
	j     Facts
	frame uint64
	did   []Effect
}

func newDesk(t *testing.T, head uint64) *desk {
	d := &desk{t: t, now: 1e6, j: Facts{InstallID: "i", Tail: 1, Head: head}, frame: protocol.FrameEventsMax}
	tm := Timing{}
	tm.setDefaults()
	d.s = newSession("boot", tm)
	return d
}

// chainOf is the chain of the desk's journal.
func chainOf(seq uint64) protocol.Chain {
	return protocol.Chain{byte(seq), byte(seq >> 8), 7}
}

func (d *desk) step(in Input) []Effect {
	d.t.Helper()
	d.did = nil
	for in.Kind != 0 {
		in.Journal = d.j
		next := Input{}
		for _, e := range d.s.Step(d.now, in) {
			d.did = append(d.did, e)
			if e.Do == SendFrame {
				last := min(e.Seq+d.frame-1, d.j.Head)
				next = Input{Kind: onSent, First: e.Seq, Last: last}
			}
		}
		in = next
	}
	return d.did
}

func (d *desk) connect() { d.step(Input{Kind: onConnected}) }

func (d *desk) welcome(change func(*protocol.Welcome)) []Effect {
	w := protocol.Welcome{V: 1, BootID: "boot", Epoch: 1, Lease: 1, Credit: 1, Generation: 1}
	if change != nil {
		change(&w)
	}
	if w.ChainMerged == (protocol.Chain{}) {
		w.ChainMerged = chainOf(w.MergedSeq)
	}
	return d.step(Input{Kind: onWelcome, Welcome: &w, Own: chainOf(w.MergedSeq), Known: w.MergedSeq+1 >= d.j.Tail && w.MergedSeq <= d.j.Head})
}

func (d *desk) ack(merged uint64, change func(*protocol.Ack)) []Effect {
	a := protocol.Ack{V: 1, Epoch: d.s.epoch, Lease: d.s.lease, MergedSeq: merged, ChainMerged: chainOf(merged), Credit: protocol.CreditMax}
	if change != nil {
		change(&a)
	}
	return d.step(Input{Kind: onAck, Ack: &a, Own: chainOf(a.MergedSeq), Known: a.MergedSeq+1 >= d.j.Tail && a.MergedSeq <= d.j.Head})
}

func (d *desk) after(pause time.Duration) []Effect {
	d.now += pause.Microseconds()
	return d.step(Input{Kind: onTick})
}

// sends are the first seqs of the frames sent by the last step.
func (d *desk) sends() (out []uint64) {
	for _, e := range d.did {
		if e.Do == SendFrame {
			out = append(out, e.Seq)
		}
	}
	return out
}

func (d *desk) has(do Do) (Effect, bool) {
	for _, e := range d.did {
		if e.Do == do {
			return e, true
		}
	}
	return Effect{}, false
}

func (d *desk) wantSends(want ...uint64) {
	d.t.Helper()
	if diff := cmp.Diff(want, d.sends()); diff != "" {
		d.t.Fatalf("frames sent (-want +got):\n%s", diff)
	}
}

func (d *desk) wantHello(at uint64, set bool) {
	d.t.Helper()
	e, ok := d.has(SayHello)
	if !ok || e.At != set || (set && e.Seq != at) {
		d.t.Fatalf("want HELLO(at %d, %v), did %+v", at, set, d.did)
	}
}

func (d *desk) wantSilence() {
	d.t.Helper()
	if _, ok := d.has(SayHello); ok || len(d.sends()) > 0 {
		d.t.Fatalf("want nothing said, did %+v", d.did)
	}
}

func TestHandshake(t *testing.T) {
	t.Run("resume behind merged", func(t *testing.T) {
		d := newDesk(t, 1000)
		d.connect()
		d.wantHello(0, false)
		d.welcome(func(w *protocol.Welcome) { w.MergedSeq, w.SafeSeq, w.Lease, w.Generation = 300, 250, 9, 4 })
		d.wantSends(301)
		got, _ := d.has(SetMark)
		if diff := cmp.Diff(Mark{Epoch: 1, Lease: 9, Merged: 300, Safe: 250, Generation: 4}, got.Mark); diff != "" {
			t.Fatal(diff)
		}
	})
	t.Run("chain differs", func(t *testing.T) {
		d := newDesk(t, 1000)
		d.connect()
		d.welcome(func(w *protocol.Welcome) { w.MergedSeq, w.ChainMerged = 300, protocol.Chain{0xff} })
		d.wantHello(300, true)
		if _, ok := d.has(SetMark); ok {
			t.Fatal("mark moved on a chain that is not ours")
		}
		d.welcome(func(w *protocol.Welcome) { w.Epoch, w.Lease, w.Rebase, w.MergedSeq = 2, 2, true, 0 })
		d.wantSends(1)
	})
	t.Run("merged beyond head", func(t *testing.T) {
		d := newDesk(t, 100)
		d.connect()
		d.welcome(func(w *protocol.Welcome) { w.MergedSeq = 300 })
		d.wantHello(100, true)
	})
	t.Run("fork never settled is spaced", func(t *testing.T) {
		d := newDesk(t, 100)
		d.connect()
		hellos := 0
		for range 600 { // ten minutes
			d.welcome(func(w *protocol.Welcome) { w.ChainMerged = protocol.Chain{0xff} })
			d.after(time.Second)
			if _, ok := d.has(SayHello); ok {
				hellos++
			}
		}
		if hellos < 10 || hellos > 20 {
			t.Fatalf("%d HELLOs in ten minutes, want 1 s growing to 60 s", hellos)
		}
	})
	t.Run("foreign boot", func(t *testing.T) {
		d := newDesk(t, 100)
		d.connect()
		d.welcome(func(w *protocol.Welcome) { w.BootID = "other" })
		d.wantSilence()
		if d.s.phase != greeting || d.s.n.WelcomesForeign != 1 {
			t.Fatalf("phase %s, %+v", d.s.phase, d.s.n)
		}
	})
	t.Run("refused", func(t *testing.T) {
		d := newDesk(t, 100)
		d.connect()
		d.welcome(func(w *protocol.Welcome) { w.Refused = "two clones" })
		d.after(59 * time.Second)
		d.wantSilence()
		d.after(time.Second)
		d.wantHello(0, false)
	})
	t.Run("unanswered", func(t *testing.T) {
		d := newDesk(t, 100)
		d.connect()
		d.after(10 * time.Second)
		d.wantHello(0, false)
		d.after(10 * time.Second)
		d.wantHello(0, false)
		d.after(10 * time.Second)
		if _, ok := d.has(Drop); !ok {
			t.Fatalf("want Drop, did %+v", d.did)
		}
		if d.s.deadline(100) != math.MaxInt64 {
			t.Fatal("a dropped session has a deadline")
		}
	})
	t.Run("start_after", func(t *testing.T) {
		d := newDesk(t, 100)
		d.connect()
		d.welcome(func(w *protocol.Welcome) { w.StartAfterMS = 5000 })
		d.wantSilence()
		d.after(4999 * time.Millisecond)
		d.wantSilence()
		d.after(time.Millisecond)
		d.wantSends(1)
	})
	t.Run("second welcome of a later lease", func(t *testing.T) {
		d := newDesk(t, 100)
		d.connect()
		d.welcome(nil)
		d.welcome(func(w *protocol.Welcome) { w.Lease = 2 })
		d.wantSends(1)
		d.welcome(func(w *protocol.Welcome) { w.Lease = 1 })
		d.wantSilence()
		if d.s.lease != 2 {
			t.Fatalf("lease %d", d.s.lease)
		}
	})
}

func TestWindow(t *testing.T) {
	d := newDesk(t, 10_000)
	d.connect()
	d.welcome(nil)
	d.wantSends(1) // credit 1
	d.ack(200, func(a *protocol.Ack) { a.Credit = 3 })
	d.wantSends(201, 401, 601)
	d.ack(400, func(a *protocol.Ack) { a.Credit = 100 })
	d.wantSends(801, 1001, 1201, 1401, 1601, 1801) // CreditMax in flight
	if n := len(d.s.flights); n != protocol.CreditMax {
		t.Fatalf("%d in flight", n)
	}
	d.ack(2000, func(a *protocol.Ack) { a.Credit = 1; a.PaceMS = 700 })
	d.wantSends(2001)
	d.ack(2200, func(a *protocol.Ack) { a.Credit = 1; a.PaceMS = 700 })
	d.wantSilence()
	d.after(700 * time.Millisecond)
	d.wantSends(2201)
}

func TestLinger(t *testing.T) {
	d := newDesk(t, 0)
	d.connect()
	d.welcome(nil)
	d.wantSilence()
	d.after(time.Minute) // ripe of the empty start is over
	d.j.Head = 1
	d.step(Input{Kind: onTick})
	d.wantSends(1) // the first event does not wait: nothing was sent before
	d.ack(1, nil)
	d.j.Head = 2
	d.after(0)
	d.wantSilence()
	if want := d.now + 100_000; d.s.deadline(2) != want {
		t.Fatalf("deadline %d, want %d", d.s.deadline(2), want)
	}
	d.j.Head = 5
	d.after(99 * time.Millisecond)
	d.wantSilence()
	d.after(time.Millisecond)
	d.wantSends(2)
	if d.s.next != 6 {
		t.Fatalf("next %d: company was not taken along", d.s.next)
	}
	d.j.Head = 205 // a full frame waits for nobody
	d.after(0)
	d.wantSends(6)
}

func TestAcksThatAreNotBelieved(t *testing.T) {
	start := func(t *testing.T) *desk {
		d := newDesk(t, 1000)
		d.connect()
		d.welcome(func(w *protocol.Welcome) { w.Lease, w.MergedSeq = 5, 100 })
		d.ack(300, nil)
		return d
	}
	tests := []struct {
		name   string
		merged uint64
		change func(*protocol.Ack)
		hello  bool
		count  func(Counts) uint64
	}{
		{"beyond head", 1001, nil, true, func(c Counts) uint64 { return c.AcksBeyondHead }},
		{"other epoch", 400, func(a *protocol.Ack) { a.Epoch = 2 }, false, func(c Counts) uint64 { return c.AcksForeign }},
		{"other lease", 400, func(a *protocol.Ack) { a.Lease = 4 }, false, func(c Counts) uint64 { return c.AcksForeign }},
		{"backwards", 200, nil, false, func(c Counts) uint64 { return c.AcksStale }},
		{"other chain", 400, func(a *protocol.Ack) { a.ChainMerged = protocol.Chain{1, 2, 3} }, true, func(c Counts) uint64 { return c.AcksWrongChain }},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			d := start(t)
			d.ack(tc.merged, tc.change)
			if e, ok := d.has(SetMark); ok {
				t.Fatalf("mark moved: %+v", e)
			}
			if _, ok := d.has(SayHello); ok != tc.hello {
				t.Fatalf("HELLO %v, want %v", ok, tc.hello)
			}
			if tc.count(d.s.n) != 1 || d.s.merged != 300 {
				t.Fatalf("merged %d, counts %+v", d.s.merged, d.s.n)
			}
		})
	}
}

func TestNacks(t *testing.T) {
	start := func(t *testing.T) *desk {
		d := newDesk(t, 2000)
		d.connect()
		d.welcome(func(w *protocol.Welcome) { w.Lease = 5 })
		d.ack(200, nil) // 201 … 1601 in flight
		if n := len(d.s.flights); n != 8 {
			t.Fatalf("%d in flight", n)
		}
		return d
	}
	nack := func(why protocol.NackReason, more ...func(*protocol.Ack)) func(*protocol.Ack) {
		return func(a *protocol.Ack) {
			a.Nack = why
			for _, m := range more {
				m(a)
			}
		}
	}
	expect := func(seq uint64) func(*protocol.Ack) { return func(a *protocol.Ack) { a.Expected = seq } }
	t.Run("gap rewinds once", func(t *testing.T) {
		d := start(t)
		d.ack(400, nack(protocol.NackGap, expect(401)))
		d.wantSends(401, 601, 801, 1001, 1201, 1401, 1601, 1801)
		d.ack(400, nack(protocol.NackGap, expect(401)))
		d.wantSilence()
		d.now += time.Second.Microseconds()
		d.ack(400, nack(protocol.NackGap, expect(401)))
		d.wantSends(401, 601, 801, 1001, 1201, 1401, 1601, 1801)
		if d.s.n.Gaps != 3 || d.s.n.Resent == 0 {
			t.Fatalf("%+v", d.s.n)
		}
	})
	t.Run("gap that contradicts merged", func(t *testing.T) {
		d := start(t)
		d.ack(400, nack(protocol.NackGap, expect(777)))
		d.wantHello(0, false)
	})
	for _, why := range []protocol.NackReason{protocol.NackChain, protocol.NackNoSession} {
		t.Run(string(why), func(t *testing.T) {
			d := start(t)
			d.ack(200, nack(why))
			d.wantHello(0, false)
			d.welcome(func(w *protocol.Welcome) { w.Lease, w.MergedSeq = 6, 200 })
			d.ack(200, nack(why)) // again, without progress: spaced
			d.wantSilence()
			d.after(time.Second)
			d.wantHello(0, false)
		})
	}
	t.Run("no_session of an aggregator that forgot us", func(t *testing.T) {
		d := start(t)
		d.ack(0, nack(protocol.NackNoSession, func(a *protocol.Ack) { a.Epoch, a.Lease = 0, 0 }))
		d.wantHello(0, false)
	})
	t.Run("superseded grows", func(t *testing.T) {
		d := start(t)
		newer := func(a *protocol.Ack) { a.Lease = 99 }
		for i, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			wait := time.Duration(seconds) * time.Second
			d.ack(200, nack(protocol.NackSuperseded, newer))
			d.after(wait - time.Millisecond)
			d.wantSilence()
			d.after(time.Millisecond)
			d.wantHello(0, false)
			lease := uint64(100 + i)
			d.welcome(func(w *protocol.Welcome) { w.Lease, w.MergedSeq = lease, 200 })
		}
		if d.s.n.Superseded != 8 {
			t.Fatalf("%+v", d.s.n)
		}
	})
	t.Run("superseded frame of our own past", func(t *testing.T) {
		d := start(t)
		d.ack(200, nack(protocol.NackSuperseded))
		d.wantSilence()
		if d.s.phase != sending || d.s.n.Superseded != 0 {
			t.Fatalf("phase %s", d.s.phase)
		}
	})
	t.Run("upgrade", func(t *testing.T) {
		d := start(t)
		d.ack(200, nack(protocol.NackUpgrade))
		d.after(59 * time.Second)
		d.wantSilence()
		d.after(time.Second)
		d.wantHello(0, false)
	})
	t.Run("malformed", func(t *testing.T) {
		d := start(t)
		for range 2 {
			d.ack(200, nack(protocol.NackMalformed))
			if got := d.sends(); len(got) != 8 || got[0] != 201 {
				t.Fatalf("sends %v", got)
			}
		}
		d.ack(200, nack(protocol.NackMalformed))
		d.wantSilence()
		d.after(time.Second)
		d.wantHello(0, false)
	})
	t.Run("busy", func(t *testing.T) {
		d := start(t)
		d.ack(200, nack(protocol.NackBusy))
		d.wantSilence()
		d.after(249 * time.Millisecond)
		d.wantSilence()
		d.after(time.Millisecond)
		if got := d.sends(); len(got) != 8 || got[0] != 201 {
			t.Fatalf("sends %v", got)
		}
	})
}

func TestTimeouts(t *testing.T) {
	d := newDesk(t, 1000)
	d.connect()
	d.welcome(nil)
	d.after(10*time.Second - time.Microsecond)
	d.wantSilence()
	d.after(time.Microsecond)
	d.wantSends(1)
	d.now += (10 * time.Second).Microseconds()
	dropped := false
	for _, e := range d.s.Step(d.now, Input{Kind: onTick, Journal: d.j}) {
		dropped = dropped || e.Do == Drop
	}
	if !dropped || d.s.n.Timeouts != 2 {
		t.Fatalf("a window that stays unanswered is not given up: %+v", d.s.n)
	}
}

func TestSalvagedJournalSaysHello(t *testing.T) {
	d := newDesk(t, 10)
	d.connect()
	d.welcome(nil)
	d.j.InstallID = "another"
	d.after(0)
	d.wantHello(0, false)
}

func TestUnreadableJournalRests(t *testing.T) {
	d := newDesk(t, 10)
	d.connect()
	d.s.Step(d.now, Input{Kind: onWelcome, Journal: d.j, Own: chainOf(0), Known: true, Welcome: &protocol.Welcome{V: 1, BootID: "boot", Epoch: 1, Lease: 1, ChainMerged: chainOf(0)}})
	d.step(Input{Kind: onUnsent})
	d.wantSilence()
	d.after(time.Second)
	d.wantHello(0, false)
}

// TestDeadlineNeverSpins walks a session through random inputs: when the
// deadline is reached, one onTick must move it or do something.
func TestDeadlineNeverSpins(t *testing.T) {
	d := newDesk(t, 5000)
	d.connect()
	d.welcome(nil)
	d.after(0)
	for i := range 2000 {
		at := d.s.deadline(d.j.Head)
		if at == math.MaxInt64 {
			d.connect()
			d.welcome(nil)
			continue
		}
		d.now = max(d.now, at)
		d.step(Input{Kind: onTick})
		if d.s.deadline(d.j.Head) <= d.now && len(d.did) == 0 {
			t.Fatalf("step %d: deadline %d is not behind %d in phase %s", i, at, d.now, d.s.phase)
		}
		if d.s.phase == greeting && i%3 == 0 {
			d.welcome(func(w *protocol.Welcome) { w.Lease = uint64(i + 2) })
		}
		if d.s.phase == sending && i%7 == 0 {
			d.ack(min(d.s.merged+50, d.j.Head), nil)
		}
	}
}

func TestClock(t *testing.T) {
	var c clock
	if _, _, ok := c.estimate(); ok {
		t.Fatal("an estimate without samples")
	}
	const offset = 5_000_000
	at := func(sent, out, held, back int64) {
		c.take(sent, sent+out+offset, sent+out+held+offset, sent+out+held+back)
	}
	at(1_000_000, 50_000, 10_000, 900_000) // slow way back
	at(2_000_000, 2_000, 10_000, 2_000)
	at(3_000_000, 400_000, 0, 10_000)
	c.take(1, 10, 5, 20)             // answered before received
	c.take(0, 10, 20, 30)            // no echo
	c.take(1e6, 2e6, 3e6, 200*1e6*2) // minutes old
	got, wrong, ok := c.estimate()
	if !ok || got != offset || wrong != 2001 || c.n != 3 {
		t.Fatalf("offset %d ± %d after %d samples", got, wrong, c.n)
	}
	for range 8 { // the good one grows old
		at(4_000_000, 10_000, 0, 30_000)
	}
	if got, wrong, _ = c.estimate(); got != offset-10_000 || wrong != 20_001 {
		t.Fatalf("offset %d ± %d", got, wrong)
	}
}

func TestBackoff(t *testing.T) {
	var tm Timing
	tm.setDefaults()
	b := backoff{t: tm}
	var got []time.Duration
	for range 9 {
		got = append(got, b.window(0)/time.Second)
		b.was(0)
	}
	if diff := cmp.Diff([]time.Duration{1, 2, 4, 8, 16, 32, 64, 120, 120}, got); diff != "" {
		t.Fatal(diff)
	}
	b.was(59 * time.Second)
	if b.window(0) != 2*time.Minute {
		t.Fatal("a short connection reset the backoff")
	}
	b.was(time.Minute)
	if b.window(0) != time.Second || b.window(61*time.Second) != 30*time.Second {
		t.Fatalf("windows %s and %s", b.window(0), b.window(61*time.Second))
	}
	for range 1000 {
		if d := b.next(0); d <= 0 || d > time.Second+1 {
			t.Fatalf("drew %s", d)
		}
	}
}

// TestForkIsToldAtOnceHoweverOftenTheConnectionWent: a clone took the
// connection many times, each time before the fork was told. The next
// connection tells it without delay.
func TestForkIsToldAtOnceHoweverOftenTheConnectionWent(t *testing.T) {
	d := newDesk(t, 200)
	other := func(w *protocol.Welcome) { w.MergedSeq, w.ChainMerged = 195, protocol.Chain{99} }
	for range 30 {
		d.connect()
		did := d.welcome(other)
		if n := len(did); n == 0 || did[n-1].Do != SayHello || !did[n-1].At || did[n-1].Seq != 195 {
			t.Fatalf("a fork was answered by %+v, not by a HELLO at 195", did)
		}
		d.step(Input{Kind: onLost})
	}
	d.connect()
	d.welcome(other)
	hellos := d.s.n.Hellos
	for range 10 {
		d.welcome(other)
		d.after(time.Second)
	}
	if got := d.s.n.Hellos - hellos; got < 3 || got > 8 {
		t.Fatalf("%d HELLOs in 10 s to an aggregator that does not mend a fork; wanted a few, ever slower", got)
	}
}
