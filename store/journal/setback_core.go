package journal

import (
	"fmt"
	"slices"

	"tillwire/protocol"
)

// setBackMax bounds how many commits are remembered with what the clock said, and
// setBackSpans how many times that it was set back; setBackPart are the commits of one
// value in the file. setBackMax/2 is a multiple of it.
const (
	setBackMax   = 4096
	setBackSpans = 16
	setBackPart  = 64
)

// setBackReadUS is how long before a clock is set back a shelf may have been counted
// whose document comes after, and how long after the last record it is set: a night.
const setBackReadUS = 12 * 3600 * 1_000_000

// span is a stretch of the clock that it went through twice.
type span struct {
	FromUS int64 `json:"from_us"`
	ToUS   int64 `json:"to_us"`
}

// setBack remembers what the clock said while record times ran ahead of it. They never
// fall: where the clock was fast and was set right, they go on from the fast time by a
// microsecond each, and tell nothing of when a shelf was looked at.
//
// It is in the file too (FORMAT.md), written by the commits that change it: those
// behind a clock that was set back. All others write nothing of it. A value is not
// changed once a successor was made of it, but its slices' free ends are the successor's.
type setBack struct {
	byUS   int64    // by how much the clock was set back, at least; from its first record
	wasUS  int64    // the same before it was set back the last time
	seqs   []uint64 // last of each commit behind it, rising
	fast   []int64  // what the clock said then, + byUS: the same however often it is set back
	first  uint64   // number of seqs[0] among all that ever were; a multiple of setBackPart
	spans  []span   // newest last; replaced whole, since others read it
	update uint64   // rises with each change of the others, but for what is put behind seqs and fast
}

// took is what is known behind a commit of rows; ok is false where that is no more than
// before, since no record time was ahead of the clock. measuredUS is by how much the
// clock was seen to be set back since the record before; 0 where nobody could see it. It
// begins anew with the next time that a clock is set back; where that happens once more
// meanwhile, what is known is told by the new clock.
func (s setBack) took(nowUS, measuredUS int64, rows []planned) (next setBack, ok bool) {
	i := slices.IndexFunc(rows, func(r planned) bool {
		return r.before.seq != 0 && r.before.us-nowUS > protocol.ClockSetBackUS
	})
	if i < 0 {
		return s, false
	}
	before := rows[i].before
	n := len(s.seqs)
	switch {
	case n == 0 || s.seqs[n-1] != before.seq:
		s = setBack{byUS: max(before.us-nowUS, measuredUS), first: s.end(), spans: s.spans, update: s.update}
		s.twice(nowUS, before.us)
	case s.fast[n-1]-s.byUS-nowUS > protocol.ClockSetBackUS:
		last := s.fast[n-1] - s.byUS
		s.twice(nowUS, last)
		s.wasUS = s.byUS
		s.byUS += max(last-nowUS, measuredUS)
	}
	if n := len(s.seqs); n == setBackMax {
		s.seqs, s.fast = slices.Clone(s.seqs[n/2:]), slices.Clone(s.fast[n/2:])
		s.first += uint64(n / 2)
		s.update++
	}
	s.seqs, s.fast = append(s.seqs, rows[len(rows)-1].after.seq), append(s.fast, nowUS+s.byUS)
	return s, true
}

func (s *setBack) twice(fromUS, toUS int64) {
	old := s.spans[max(0, len(s.spans)-setBackSpans+1):]
	s.spans = append(append(make([]span, 0, len(old)+1), old...), span{fromUS, toUS})
	s.update++
}

// end is the first number that no value in the file has seen.
func (s *setBack) end() uint64 {
	return (s.first + uint64(len(s.seqs)) + setBackPart - 1) / setBackPart * setBackPart
}

// cut is the highest seq that was recorded by a moment of the clock as it is now: by
// what the clock said, and before it was set back by record times, as far ahead as they
// were then. A moment to come is another clock's: of the one before it was set back the
// last time, where that was about then, and else of one that goes before, to which all has
// happened.
func (s *setBack) cut(us, nowUS, measuredUS int64, head tip, byTime func(us int64) uint64) uint64 {
	seq, ahead := byTime(us), head.us-nowUS
	by, before, setUS := max(ahead, measuredUS), int64(0), head.us
	n := len(s.seqs)
	known := n > 0 && (s.seqs[n-1] == head.seq || ahead <= protocol.ClockSetBackUS)
	if known {
		last := s.fast[n-1] - s.byUS
		again := max(0, last-nowUS, measuredUS)
		by, before, setUS = s.byUS+again, s.wasUS, s.spans[len(s.spans)-1].ToUS
		if again > protocol.ClockSetBackUS {
			before, setUS = s.byUS, last
		}
	}
	toCome := us-nowUS > protocol.LateToleranceUS
	if toCome && (us < setUS-setBackReadUS || us > setUS+setBackReadUS) {
		return head.seq
	}
	if toCome {
		by = before
	}
	for i := n - 1; known && i >= 0; i-- {
		if s.fast[i] <= us+by {
			return max(seq, s.seqs[i])
		}
	}
	if toCome || by <= protocol.ClockSetBackUS {
		return seq
	}
	return max(seq, byTime(us+by))
}

// What stands in the meta bucket: under "setback" what changes when a clock is set back,
// and under "setback-00" to "setback-63" the commits behind it, by their numbers, as in a
// ring. A part that is no part of the row that begins with first is left from before.
type (
	setBackHead struct {
		Update uint64 `json:"update"` // rises; a salvage takes the highest
		ByUS   int64  `json:"by_us"`
		WasUS  int64  `json:"was_us"`
		First  uint64 `json:"first"`
		Spans  []span `json:"spans"`
	}
	setBackRow struct {
		Update uint64   `json:"update"` // the number behind its last; a salvage takes the highest
		Seqs   []uint64 `json:"seqs"`
		FastUS []int64  `json:"fast_us"`
	}
)

var keySetBack = []byte("setback")

func keySetBackRow(number uint64) []byte {
	return fmt.Appendf(nil, "%s-%02d", keySetBack, number/setBackPart%(setBackMax/setBackPart))
}

// write puts what took has changed.
func (s *setBack) write(before *setBack, put func(key []byte, v any) error) error {
	if s.update != before.update {
		if err := put(keySetBack, setBackHead{s.update, s.byUS, s.wasUS, s.first, s.spans}); err != nil {
			return err
		}
	}
	from := (len(s.seqs) - 1) / setBackPart * setBackPart
	behind := s.first + uint64(len(s.seqs))
	return put(keySetBackRow(behind-1), setBackRow{behind, s.seqs[from:], s.fast[from:]})
}

// readSetBack reads it; nothing where an earlier build made the file. Of commits beyond
// head, which a salvage did not find, no seq can be told: then none counts.
func readSetBack(head uint64, get func(key []byte) []byte) (setBack, error) {
	raw := get(keySetBack)
	if raw == nil {
		return setBack{}, nil
	}
	var h setBackHead
	if err := decodeMeta("set-back", raw, &h); err != nil {
		return setBack{}, err
	}
	s := setBack{byUS: h.ByUS, wasUS: h.WasUS, first: h.First, spans: h.Spans, update: h.Update}
	for more := len(s.spans) > 0; more; {
		number := s.first + uint64(len(s.seqs))
		raw := get(keySetBackRow(number))
		if raw == nil {
			break
		}
		var r setBackRow
		if err := decodeMeta("commits behind a set-back", raw, &r); err != nil {
			return setBack{}, err
		}
		if len(r.Seqs) != len(r.FastUS) || r.Update-uint64(len(r.Seqs)) != number {
			break
		}
		s.seqs, s.fast = append(s.seqs, r.Seqs...), append(s.fast, r.FastUS...)
		more = len(r.Seqs) == setBackPart
	}
	if n := len(s.seqs); n > 0 && s.seqs[n-1] > head {
		s.first, s.seqs, s.fast = s.end(), nil, nil
	}
	return s, nil
}
