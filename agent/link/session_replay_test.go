package link

import (
	"testing"

	"tillwire/protocol"
)

// TestReplayAskedForWhileGreeting: the command and the WELCOME of a HELLO that knew
// nothing of it cross on the line. The replay is asked for all the same, at once, and
// once only, whatever the aggregator makes of it.
func TestReplayAskedForWhileGreeting(t *testing.T) {
	d := newDesk(t, 20)
	d.connect()
	d.step(Input{Kind: onReplay, First: 5})
	d.wantSilence()

	d.welcome(func(w *protocol.Welcome) { w.MergedSeq = 20 })
	d.wantHello(4, true)
	if e, _ := d.has(SayHello); !e.Replay {
		t.Fatalf("HELLO asks for no replay: %+v", e)
	}
	if _, ok := d.has(Announce); ok {
		t.Error("a backlog was announced that is about to be another one")
	}

	d.welcome(func(w *protocol.Welcome) { w.Epoch, w.Lease, w.MergedSeq, w.Rebase = 2, 2, 4, true })
	d.wantSends(5)
	if d.s.n.Replays != 1 {
		t.Errorf("%d replays, want 1", d.s.n.Replays)
	}

	d.step(Input{Kind: onReplay, First: 7})
	d.wantHello(6, true)
	d.welcome(func(w *protocol.Welcome) { w.Epoch, w.Lease, w.MergedSeq = 2, 3, 20 })
	d.wantSilence() // refused: asked again on the next connection, not in a loop
	d.step(Input{Kind: onLost})
	d.connect()
	d.wantHello(6, true)
}
