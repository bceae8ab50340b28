package reserve

import (
	"slices"

	"tillwire/protocol"
)

// Resource looks for other locations for what a store has just rejected. nil:
// there are none, or nothing was rejected. What was rejected before and found
// nobody stays rejected: its channel was told.
func (b *Book) Resource(id string, s Stock, nowUS int64) *Change {
	b.Advance(nowUS)
	e := b.all[id]
	if e == nil {
		return nil
	}
	r := e.copy(b.nowUS)
	t := b.table(s, &r)
	moved := false
	for i := range e.Lines {
		l := &r.Lines[i]
		if l.State == protocol.ReservationRejected && l.over() && l.RejectedUS > 0 && l.RejectedUS >= b.nowUS-resourceWithinUS {
			moved = t.reseat(i, protocol.ReservationRejected, "") || moved
		}
	}
	if !moved || r.exceeds(recordBytesMax) {
		return nil
	}
	return change("resourced", r)
}

// reseat finds other locations for a line that its own cannot serve: one that can
// serve it whole, else several. Locations that already failed this reservation are
// not asked again, and a customer who comes to a counter is not sent to another.
func (t *table) reseat(i int, state protocol.ReservationState, reason string) bool {
	l := t.rec.Lines[i]
	if t.rec.Fulfilment == protocol.FulfilmentPickup {
		return false
	}
	t.excluded = map[protocol.StoreID]bool{l.Location: true}
	for j := range t.rec.Lines {
		if t.rec.Lines[j].State == protocol.ReservationRejected {
			t.excluded[t.rec.Lines[j].Location] = true
		}
	}
	seats := t.seats(&l)
	if seats == nil {
		return false
	}
	to := protocol.ReservationConfirmed
	if l.reserves() {
		to = protocol.ReservationHeld
	}
	for _, c := range seats {
		n := Line{
			Request: l.Request, SKU: l.SKU, Quantity: c.quantity, Location: c.loc, State: to, Parts: l.Parts,
			Reason: "sourced again: " + string(l.Location) + " could not serve it",
		}
		t.take(&n)
		t.rec.Lines = append(t.rec.Lines, n)
	}
	was := &t.rec.Lines[i]
	was.State, was.Replaced, was.Risk, was.Reason = state, true, false, or(reason, was.Reason)
	return true
}

type share struct {
	loc      protocol.StoreID
	quantity protocol.Quantity
}

// seats lists who serves a line; nil: nobody serves it whole.
func (t *table) seats(l *Line) (out []share) {
	list := t.candidates(l.SKU)
	left := l.Quantity
	for _, c := range list {
		can := t.units(c.Location, l.SKU, l.Parts)
		if can >= l.Quantity {
			return []share{{c.Location, l.Quantity}}
		}
		if can = min(can, left); can > 0 {
			out = append(out, share{c.Location, can})
			left -= can
		}
	}
	if left > 0 {
		return nil
	}
	return out
}

// Conflicts looks at positions whose stock or holds changed. Where more is
// promised than is there, the newest promises are at risk: by policy they are
// sourced again elsewhere, else marked; picked goods are in a box and safe. Marks
// go when stock is back. It applies the changes; they are to be journaled in this
// order, within the same commit. A look is bounded: the rest follows with the
// next.
func (b *Book) Conflicts(keys []Key, s Stock, nowUS int64) []*Change {
	b.Advance(nowUS)
	if len(b.later) > 0 {
		keys = append(slices.Clone(b.later), keys...)
		b.later = b.later[:0]
	}
	var out []*Change
	for i, k := range keys {
		if out = b.conflict(out, k, s); len(out) >= conflictsMax {
			b.later = append(b.later, keys[i:]...)
			slices.SortFunc(b.later, Key.compare)
			b.later = slices.Compact(b.later)
			break
		}
	}
	return out
}

// conflict judges the reservations at one position, the newest first. Where all is
// well and was, it looks at none of them.
func (b *Book) conflict(out []*Change, k Key, s Stock) []*Change {
	p := b.position(k)
	if p == nil {
		return out
	}
	over := p.reserved + p.allocated - s.OnHand(k)
	if over <= 0 && p.risk == 0 {
		return out
	}
	marked := p.risk
	var list []*entry
	left := over
	p.by.newest(func(e *entry) bool {
		list = append(list, e)
		free, marks := e.exposed(k)
		left -= free
		marked -= marks
		return left > 0 || marked > 0
	})
	for _, e := range list {
		if len(out) >= conflictsMax {
			return out
		}
		free, _ := e.exposed(k)
		if c := b.risk(e, k, over > 0, s, true); c != nil {
			b.Apply(c)
			out = append(out, c)
		}
		over -= free
	}
	return out
}

// exposed is how much of a position a reservation holds that is not picked yet,
// and how many of these lines are marked.
func (e *entry) exposed(k Key) (q protocol.Quantity, marks int) {
	for i := range e.Lines {
		l := &e.Lines[i]
		if !l.live() || l.State == protocol.ReservationPicked {
			continue
		}
		if n := l.of(k); n > 0 {
			q += n
			if l.Risk {
				marks++
			}
		}
	}
	return q, marks
}

// risk judges one reservation at a position. nil: nothing changed. Where moving
// lines would make it larger than a journal's record, it is marked instead.
func (b *Book) risk(e *entry, k Key, at bool, s Stock, mayMove bool) *Change {
	r := e.copy(b.nowUS)
	t := b.table(s, &r)
	why := ""
	for i := range e.Lines {
		l := &r.Lines[i]
		if !l.live() || l.State == protocol.ReservationPicked || l.of(k) == 0 {
			continue
		}
		switch {
		case at && mayMove && s.Resource(k) && t.reseat(i, protocol.ReservationRejected, "stock fell below what was promised"):
			why = "resourced"
		case at && !l.Risk:
			l.Risk = true
			why = or(why, "at_risk")
		case !at && l.Risk && !b.threatened(e, l, k, s):
			l.Risk = false
			why = or(why, "safe")
		}
	}
	switch {
	case why == "":
		return nil
	case why == "resourced" && r.exceeds(recordBytesMax):
		return b.risk(e, k, at, s, false)
	}
	return change(why, r)
}

// threatened tells whether a kit's line lacks another part than the one at k.
func (b *Book) threatened(e *entry, l *Line, k Key, s Stock) (lacks bool) {
	if len(l.Parts) == 0 {
		return false
	}
	l.each(func(x Key, _ protocol.Quantity) {
		p := b.position(x)
		if x == k || p == nil || lacks {
			return
		}
		over := p.reserved + p.allocated - s.OnHand(x)
		p.by.newest(func(o *entry) bool {
			if o == e {
				lacks = over > 0
				return false
			}
			q, _ := o.exposed(x)
			over -= q
			return over > 0
		})
	})
	return lacks
}
