package simulator

import (
	"testing"
	"time"
)

func TestRunClockNeverGoesBack(t *testing.T) {
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	c := newRunClock(start, 60, false)
	last := c.story()
	for i := range 2000 {
		if i%7 == 0 {
			c.setRate(float64(1 + i%900))
		}
		now := c.stamp()
		if now.Before(last) {
			t.Fatalf("went back from %s to %s", last, now)
		}
		last = now
	}
	later := start.Add(100 * time.Hour)
	c.skipTo(later)
	c.skipTo(start) // no way back
	if got := c.story(); got.Before(later) {
		t.Errorf("story stands at %s after a jump to %s", got, later)
	}
	if m := newRunClock(start, 60, true); time.Since(m.stamp()) > time.Minute || m.story().Before(start) {
		t.Error("a clock for processes does not tell the machine's time")
	}
	c.setRate(120)
	if d := c.real(time.Hour); d != 30*time.Second {
		t.Errorf("an hour at 120 takes %s", d)
	}
}

func TestPacerFindsTheLimit(t *testing.T) {
	c := newRunClock(time.Unix(0, 0), 100, false)
	p := pacer{clock: c, most: 1000, cruise: 100}
	for range 60 {
		p.step(0, 0)
	}
	if c.rate() != 1000 {
		t.Errorf("a bored machine runs at %g", c.rate())
	}
	p.step(500*time.Second, 0) // half a real second
	if p.cruise != 800 || c.rate() != 16 {
		t.Errorf("late tills: cruises at %g, runs at %g", p.cruise, c.rate())
	}
	p.step(200*time.Second, 0)
	if c.rate() != 16 {
		t.Errorf("not caught up yet: %g", c.rate())
	}
	p.step(10*time.Second, 0)
	if c.rate() != 800 {
		t.Errorf("caught up: %g", c.rate())
	}
	p.step(200*time.Second, 1.5)
	if c.rate() != 800 {
		t.Errorf("neither late nor bored: %g", c.rate())
	}
	p.step(0, 10)
	if c.rate() != 640*paceHold {
		t.Errorf("a backlog on lines that are up: %g", c.rate())
	}
}

func TestCompletenessIsWhatIsMerged(t *testing.T) {
	at := func(minute int) time.Time { return time.Unix(int64(60*minute), 0) }
	var c completeness
	for _, x := range []struct {
		min          int
		head, merged uint64
		behindMin    int
	}{
		{0, 10, 5, 0},    // the first look knows nothing
		{1, 20, 10, 1},   // what was there at 0 is merged: complete until then
		{2, 30, 15, 2},   // what was there at 1 is not
		{3, 40, 20, 2},   // complete until 1
		{60, 90, 20, 59}, // nothing came for an hour
		{61, 95, 95, 0},  // all of it
		{62, 99, 97, 1},
	} {
		if got := c.look(at(x.min), x.head, x.merged); got != time.Duration(x.behindMin)*time.Minute {
			t.Errorf("minute %d: %s behind, want %d min", x.min, got, x.behindMin)
		}
	}
}
