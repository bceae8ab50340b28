package journal

import "tillwire/protocol"

// setBackMax bounds how many records are remembered with what the clock said, and
// setBackSpans how many times that it was set back.
const (
	setBackMax   = 4096
	setBackSpans = 16
)

// span is a stretch of the clock that it went through twice.
type span struct{ fromUS, toUS int64 }

// setBack remembers what the clock said while record times ran ahead of it. They never
// fall: where the clock was fast and was set right, they go on from the fast time by a
// microsecond each, and tell nothing of when a shelf was looked at. It lives in memory:
// after a restart it begins with what is journaled then.
type setBack struct {
	byUS   int64    // by how much the clock was set back, at least; from its first record
	seqs   []uint64 // of records behind it, rising
	clocks []int64
	spans  []span // newest last; replaced whole, since others read it
}

// took notes a committed record. measuredUS is by how much the clock was seen to be set
// back since the record before; 0 where nobody could see it. It begins anew with the next
// time that a clock is set back; where that happens once more meanwhile, what is known is
// told by the new clock. It tells whether it was set back with this record.
func (s *setBack) took(nowUS, measuredUS int64, r *planned) (set bool) {
	ahead := r.before.us - nowUS
	if r.before.seq == 0 || ahead <= protocol.ClockSetBackUS {
		return false
	}
	n := len(s.seqs)
	switch {
	case n == 0 || s.seqs[n-1] != r.before.seq:
		*s = setBack{byUS: max(ahead, measuredUS), seqs: s.seqs[:0], clocks: s.clocks[:0], spans: s.spans}
		s.twice(nowUS, r.before.us)
		set = true
	case s.clocks[n-1]-nowUS > protocol.ClockSetBackUS:
		again := max(s.clocks[n-1]-nowUS, measuredUS)
		s.twice(nowUS, s.clocks[n-1])
		set = true
		s.byUS += again
		for i := range s.clocks {
			s.clocks[i] -= again
		}
	}
	if n := len(s.seqs); n == setBackMax {
		s.seqs = append(s.seqs[:0], s.seqs[n/2:]...)
		s.clocks = append(s.clocks[:0], s.clocks[n/2:]...)
	}
	s.seqs, s.clocks = append(s.seqs, r.after.seq), append(s.clocks, nowUS)
	return set
}

func (s *setBack) twice(fromUS, toUS int64) {
	old := s.spans[max(0, len(s.spans)-setBackSpans+1):]
	s.spans = append(append(make([]span, 0, len(old)+1), old...), span{fromUS, toUS})
}

// cut is the highest seq that was recorded by a moment of the clock as it is now: by
// what the clock said, and before it was set back by record times, as far ahead as they
// were then. A moment to come was read from the clock before it was set back.
func (s *setBack) cut(us, nowUS, measuredUS int64, head tip, byTime func(us int64) uint64) uint64 {
	seq, ahead := byTime(us), head.us-nowUS
	by := max(ahead, measuredUS)
	if us-nowUS > protocol.LateToleranceUS {
		return seq
	}
	if n := len(s.seqs); n > 0 && (s.seqs[n-1] == head.seq || ahead <= protocol.ClockSetBackUS) {
		again := max(0, s.clocks[n-1]-nowUS, measuredUS)
		for i := n - 1; i >= 0; i-- {
			if s.clocks[i]-again <= us {
				return max(seq, s.seqs[i])
			}
		}
		by = s.byUS + again
	}
	if by <= protocol.ClockSetBackUS {
		return seq
	}
	return max(seq, byTime(us+by))
}
