package reserve

import (
	"slices"

	"tillwire/protocol"
)

// End is what became of a line of a reservation that was a firm promise, or that
// stock stopped covering.
type End struct {
	US       int64 // of the change
	Location protocol.StoreID
	Channel  string
	How      Ending
}

// Ending says how.
type Ending byte

// Endings.
const (
	Kept      Ending = iota // collected or shipped where it was promised, whole
	Short                   // … but not all of it
	Rejected                // its store could not serve it
	Moved                   // stock fell below it: sourced again elsewhere
	Cancelled               // released
	AtRisk                  // it stands, but stock no longer covers it
)

// ended compares a reservation's lines with what they become. Lines keep their
// places; new ones stand behind. What is read back from a checkpoint replaces
// nothing and ends nothing.
func (b *Book) ended(was []Line, now *Record) {
	risk := func(l Line) bool { return l.Risk }
	if slices.ContainsFunc(was, risk) && !slices.ContainsFunc(now.Lines, risk) {
		b.calm = append(b.calm, now.ID)
	}
	for i := range min(len(was), len(now.Lines)) {
		x, y := &was[i], &now.Lines[i]
		if x.State == y.State && x.Risk == y.Risk {
			continue
		}
		how, over := x.became(y)
		if over {
			b.ends = append(b.ends, End{now.UpdatedUS, y.Location, b.name(now.Channel), how})
		}
		if !over && y.live() && y.Risk && !x.Risk {
			b.ends = append(b.ends, End{now.UpdatedUS, y.Location, b.name(now.Channel), AtRisk})
		}
	}
}

// became tells how a firm line ended. One that was only held promised nothing.
func (l *Line) became(now *Line) (how Ending, over bool) {
	if !l.allocates() || now.allocates() {
		return 0, false
	}
	switch {
	case now.Replaced:
		return Moved, true
	case now.gone() && now.Reason == l.Reason:
		return Kept, true
	case now.gone():
		return Short, true
	case now.State == protocol.ReservationRejected:
		return Rejected, true
	case now.State == protocol.ReservationReleased && now.Quantity > 0: // nothing is left of one that was split off whole
		return Cancelled, true
	}
	return 0, false
}

// TakeCalm lists the reservations that had a line at risk, and have none since the last
// call: covered again, released, moved, expired or handed out.
func (b *Book) TakeCalm() []string {
	calm := b.calm
	b.calm = nil
	return calm
}

// TakeEnds hands fn what ended since the last call. Whoever folds calls it after
// each step, and before a checkpoint.
func (b *Book) TakeEnds(fn func(End)) {
	for _, e := range b.ends {
		fn(e)
	}
	b.ends = b.ends[:0]
}
