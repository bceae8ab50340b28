package reserve

import "testing"

// Bugs that this book had, or that its peers have. Each is named for what went
// wrong.

// A start-up replays the log behind the checkpoint, and then settles. What the
// replay changed is not in any checkpoint yet.
func TestSettleDoesNotForgetWhatTheReplayChanged(t *testing.T) {
	d := newDesk(t)
	res, _ := d.b.Reserve(ask("r1", want("X", 5, "S1")), d.s, d.now)
	second := New() // an empty checkpoint, and the log
	second.Apply(res.Change)
	second.Advance(d.now)
	second.Settle(d.now)
	third := New() // the second's checkpoint
	if err := second.Chunks(func(no uint32, data []byte) {
		if err := third.Restore(no, data); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if r, _ := third.Held(at("S1", "X"), d.now); r != 5000 {
		t.Fatalf("after two restarts %s are held of 5: they can be sold twice", r)
	}
}
