package journal

import (
	"fmt"
	"testing"
	"time"

	"tillwire/protocol"
)

// TestCutsOfAClockThatWasSetBack: what a count has seen is told by the clock as it is
// now, also while record times run ahead of it, and however often the agent is restarted.
func TestCutsOfAClockThatWasSetBack(t *testing.T) {
	t.Run("running on", func(t *testing.T) { cutsOfAClockThatWasSetBack(t, false) })
	t.Run("restarted before each record", func(t *testing.T) { cutsOfAClockThatWasSetBack(t, true) })
}

func cutsOfAClockThatWasSetBack(t *testing.T, restarts bool) {
	const minute = int64(60_000_000)
	var now int64
	o := testOptions(t)
	o.Now = func() time.Time { return time.UnixMicro(now) }
	j := open(t, o)
	reopen := func() {
		t.Helper()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, o)
	}
	docs := 0
	put := func(at int64, kind protocol.Kind, countedAt int64) uint64 {
		t.Helper()
		if now = at; restarts {
			reopen()
		}
		docs++
		e := &protocol.Event{Kind: kind, Store: "S1", DocumentID: fmt.Sprint("D", docs), EventTime: protocol.StampOf(time.UnixMicro(at).UTC())}
		e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
		e.Lines = []protocol.Line{{Line: 1, SKU: "A", Quantity: 1000}}
		if countedAt != 0 {
			e.Lines[0].CountedAt = protocol.StampOf(time.UnixMicro(countedAt).UTC())
		}
		r, err := j.Append(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if kind != protocol.KindCount {
			return r.Seq
		}
		var cut uint64
		if err := j.Scan(r.Seq, func(_ uint64, _ int64, rec []byte) error {
			var got protocol.Event
			if _, err := protocol.DecodeRecord(rec, &got); err != nil {
				return err
			}
			cut = got.Lines[0].Cut
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return cut
	}
	const day = 24 * 60 * minute
	sell := func(at int64) uint64 { t.Helper(); return put(at, protocol.KindSale, 0) }
	sees := func(what string, want, got uint64) {
		t.Helper()
		if got != want {
			t.Errorf("%s: the cut is %d, want %d", what, got, want)
		}
	}
	first := sell(10*day + 1*minute) // two hours fast
	fast := sell(10*day + 5*minute)
	back := 10*day - 115*minute // set right at once
	sees("counted just now, nothing sold since the clock was set", fast, put(back, protocol.KindCount, 0))
	counted := fast + 1
	a := sell(back + 2*minute)
	b := sell(back + 6*minute)
	sees("between two sales behind the set clock", a, put(back+7*minute, protocol.KindCount, back+3*minute))
	sees("after both", b+1, put(back+8*minute, protocol.KindCount, back+8*minute-1))
	sees("before the clock was set, by a handheld that was right", first, put(back+9*minute, protocol.KindCount, back-2*minute))
	sees("before the clock was set, by the fast clock", first, put(back+10*minute, protocol.KindCount, 10*day+2*minute))
	again := back - 30*minute // once more
	c := sell(again)
	sees("set back once more", c, put(again+minute, protocol.KindCount, again+minute/2))
	sees("just now, by a till whose clock was not set back with it", c+1, put(again+2*minute, protocol.KindCount, back+13*minute))
	sees("before it was set back once more, by the clock of then", b+1, put(again+3*minute, protocol.KindCount, back+7*minute+1))
	sees("by a till that goes a day before", c+3, put(again+4*minute, protocol.KindCount, 11*day))
	d := sell(10*day + 20*minute) // the clock is past the fast time
	sees("past the fast time", d, put(10*day+21*minute, protocol.KindCount, 10*day+20*minute+1))
	sees("counted while record times ran ahead, told after", counted, put(10*day+22*minute, protocol.KindCount, again-9*minute))
	for us, want := range map[int64]bool{
		back - 1: true, back + minute: true, 10*day + 5*minute: true, 10*day + 5*minute + 1: false,
		again - 1: false, again: true, back + 10*minute + 1: true, 10*day + 21*minute: false,
	} {
		if got := j.Twice(us); got != want {
			t.Errorf("the clock went through %d min before its set-back twice: %t", (back-us)/minute, got)
		}
	}
	reopen()
	if !j.Twice(back+minute) || j.Twice(10*day+21*minute) {
		t.Error("a restart forgets what the clock went through twice")
	}
	e := sell(back) // after a restart the clock is wrong again
	sees("set back while nobody looked", e, put(back+minute, protocol.KindCount, 0))
}
