package protocol

import "time"

// ClockSet is by how much a clock was set forward between two of its readings; below
// zero: back. It is told by the monotonic readings; 0 where a time has none, or is zero.
func ClockSet(before, now time.Time) time.Duration {
	if before.IsZero() {
		return 0
	}
	return now.Round(0).Sub(before.Round(0)) - now.Sub(before)
}

// OccurredUS is when it happened by the agent's clock: event time, corrected by what
// the agent had learnt of the register's clock where the document looked late.
func (e *Event) OccurredUS() int64 {
	if e.ClockErrorUS > 0 && e.Kind != KindClock {
		return e.EventTime.US + e.ClockOffsetUS
	}
	return e.EventTime.US
}

// PostedLate tells a document that its register could not post in time (it was cut off
// from its agent, or a file came in): that its seq is beyond a count's cut says nothing
// of when the goods left the shelf. Of one that was recorded behind a clock that was set
// back, or that says a time which that clock went through twice, nobody can say; its seq
// is all there is, and what was sold since the clock was set is likelier to come late.
func (e *Event) PostedLate(recordUS int64) bool {
	return e.Flags&FlagClockSetBack == 0 && recordUS-e.OccurredUS() > LateToleranceUS
}

// Counted tells whether a movement was off the shelf when a count over its own journal
// was taken: it was recorded by then, or it was posted late and happened by then.
func (e *Event) Counted(seq uint64, recordUS int64, cut uint64, countedUS int64) bool {
	return seq <= cut || e.PostedLate(recordUS) && e.OccurredUS() <= countedUS
}
