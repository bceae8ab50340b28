package ingest

import (
	"slices"

	"tillwire/protocol"
)

// turns shares the door among journals. While the queue is short, everybody sends
// freely. When it fills, who is furthest behind goes first: the older half of those
// that drain keep a window, the younger wait between frames. Who is live sends one
// frame at a time and never waits: a frame of a few sales costs nothing, and a store
// that is current should stay so.
//
//	queue         live          older drains    younger drains
//	to half       8             8               8
//	to 3/4        1             4               1, 250 ms apart
//	beyond        1             2               1, 1 s apart
//
// Nobody's credit is ever 0, so that nobody starves; what does not fit into the
// queue is refused and sent again after its time-out.
type turns struct {
	level  int   // 0: short, 1: half full, 2: three quarters
	middle int64 // record time that divides the drains: older ones go first
	looked int64
}

// weigh takes how full the queue is, as a share of its bounds.
func (t *turns) weigh(items, itemsMax int, bytes, bytesMax int64) {
	full := max(float64(items)/float64(itemsMax), float64(bytes)/float64(bytesMax))
	switch {
	case full > 0.75:
		t.level = 2
	case full > 0.5:
		t.level = 1
	default:
		t.level = 0
	}
}

// due tells whether the middle is to be looked for again.
func (t *turns) due(nowUS int64) bool { return t.level > 0 && nowUS-t.looked >= turnsEveryUS }

// divide finds the middle of the drains' record times.
func (t *turns) divide(recordUS []int64, nowUS int64) {
	t.looked, t.middle = nowUS, 0
	if len(recordUS) > 0 {
		slices.Sort(recordUS)
		t.middle = recordUS[(len(recordUS)-1)/2]
	}
}

// drains tells whether a journal has more to send than its next frame.
func (s *session) drains() bool {
	return s.live && s.mark.HeadSeen > s.mark.Seq+protocol.FrameEventsMax
}

// share is a journal's credit and the pause between its frames in milliseconds.
func (t *turns) share(s *session) (credit int, paceMS int64) {
	switch {
	case t.level == 0:
		return protocol.CreditMax, 0
	case !s.drains():
		return 1, 0
	case s.mark.RecordUS <= t.middle:
		return protocol.CreditMax >> t.level, 0
	case t.level == 1:
		return 1, paceHalf
	}
	return 1, paceFull
}
