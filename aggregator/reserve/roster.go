package reserve

import (
	"cmp"
	"slices"
	"strings"
)

// roster lists reservations by when they were made, then id. New ones come at the
// end, and one that goes leaves its slot until half of the slots are empty: a
// position that a million hold costs a search, not a move of the list.
type roster struct {
	slots []slot
	dead  int
}

type slot struct {
	createdUS int64
	e         *entry
	dead      bool
}

func (s *slot) compare(e *entry) int {
	return cmp.Or(cmp.Compare(s.createdUS, e.CreatedUS), strings.Compare(s.e.ID, e.ID))
}

func (r *roster) len() int { return len(r.slots) - r.dead }

func (r *roster) find(e *entry) (int, bool) {
	n := len(r.slots)
	if n == 0 {
		return 0, false
	}
	switch c := r.slots[n-1].compare(e); { // the newest, most often
	case c < 0:
		return n, false
	case c == 0:
		return n - 1, true
	}
	return slices.BinarySearchFunc(r.slots, e, func(s slot, e *entry) int { return s.compare(e) })
}

// add lists a reservation, once.
func (r *roster) add(e *entry) {
	i, ok := r.find(e)
	switch {
	case !ok:
		r.slots = slices.Insert(r.slots, i, slot{e.CreatedUS, e, false})
	case r.slots[i].dead:
		r.slots[i] = slot{e.CreatedUS, e, false}
		r.dead--
	}
}

// drop takes one off the list.
func (r *roster) drop(e *entry) {
	i, ok := r.find(e)
	if !ok || r.slots[i].dead {
		return
	}
	r.slots[i].dead = true
	r.dead++
	if r.dead >= deadSlotsMin && r.dead*2 > len(r.slots) {
		r.slots = slices.Clip(slices.DeleteFunc(r.slots, func(s slot) bool { return s.dead }))
		r.dead = 0
	}
}

// oldest lists them, the first made first.
func (r *roster) oldest() []*entry {
	out := make([]*entry, 0, r.len())
	for i := range r.slots {
		if !r.slots[i].dead {
			out = append(out, r.slots[i].e)
		}
	}
	return out
}

// newest calls fn from the last made on until it has enough.
func (r *roster) newest(fn func(*entry) bool) {
	for i := len(r.slots) - 1; i >= 0; i-- {
		if !r.slots[i].dead && !fn(r.slots[i].e) {
			return
		}
	}
}
