package reserve

import (
	"cmp"
	"fmt"
	"slices"

	"tillwire/protocol"
)

// ResolveOrder finds the reservation that an order at a location is, so that a
// sale which names the order only consumes its hold.
func (b *Book) ResolveOrder(order string) (holdID string, ok bool) {
	id, ok := b.orders[order]
	return id, ok
}

// Observe takes a merged event that speaks of a reservation: a sale with its
// hold_id or order_id, or a store's answer to its task. What follows for the book
// follows from the two alone, so it is not journaled again. It returns the
// reservation's id where a store rejected and others should be asked.
func (b *Book) Observe(ev *protocol.Event, nowUS int64) (rejected string) {
	b.Advance(nowUS)
	id := ev.HoldID
	if id == "" && ev.OrderID != "" {
		id = b.orders[ev.OrderID]
	}
	e := b.all[id]
	if id == "" || e == nil {
		return ""
	}
	r := e.copy(b.nowUS)
	changed := false
	switch {
	case ev.Kind == protocol.KindSale:
		changed = r.collect(ev)
	case ev.Kind == protocol.KindHold && ev.Action == protocol.HoldCollected:
		changed = r.collect(ev)
	case ev.Kind == protocol.KindHold:
		changed = r.answered(ev)
	}
	if !changed {
		return ""
	}
	if !r.reserving() {
		r.ExpiresUS = 0
	}
	b.put(r)
	if ev.Kind == protocol.KindHold && ev.Action == protocol.HoldReject {
		return r.ID
	}
	return ""
}

func (r *Record) reserving() bool {
	return slices.ContainsFunc(r.Lines, func(l Line) bool { return l.reserves() })
}

// collect ends the lines of the location where the goods went over the counter,
// whatever became of the hold before: the sale is physical. What was held beyond
// what was taken is free again; so are the lines of a pickup that was collected
// at another counter.
func (r *Record) collect(ev *protocol.Event) bool {
	here := slices.ContainsFunc(r.Lines, func(l Line) bool { return l.Location == ev.Store })
	changed := false
	for i := range r.Lines {
		l := &r.Lines[i]
		over := l.State == protocol.ReservationExpired || l.State == protocol.ReservationReleased
		switch {
		case l.Location == ev.Store && (l.live() || over):
			if over {
				l.Reason = fmt.Sprintf("collected though it was %s", l.State)
			}
			l.State = protocol.ReservationCollected
			if r.Fulfilment == protocol.FulfilmentShip {
				l.State = protocol.ReservationShipped
			}
			if got := quantityOf(ev, l); got < l.Quantity && len(l.Parts) == 0 {
				l.Reason = fmt.Sprintf("%s of %s taken", got, l.Quantity)
			}
		case !here && l.live():
			l.State, l.Reason = protocol.ReservationReleased, "collected at "+string(ev.Store)
		default:
			continue
		}
		l.Risk, changed = false, true
	}
	return changed
}

func quantityOf(ev *protocol.Event, l *Line) (q protocol.Quantity) {
	for i := range ev.Lines {
		if ev.Lines[i].SKU == l.SKU {
			q += ev.Lines[i].Quantity
		}
	}
	return q
}

// next is the state that an answer leads to, and how far along a state is: an
// answer that comes after a later one changes nothing.
var next = map[string]protocol.ReservationState{
	protocol.HoldAccept: protocol.ReservationAccepted,
	protocol.HoldPicked: protocol.ReservationPicked,
	protocol.HoldReject: protocol.ReservationRejected,
}

var rank = map[protocol.ReservationState]int{
	protocol.ReservationHeld: 1, protocol.ReservationConfirmed: 2, protocol.ReservationPending: 3,
	protocol.ReservationAccepted: 4, protocol.ReservationPicked: 5,
}

func (r *Record) answered(ev *protocol.Event) bool {
	to, known := next[ev.Action]
	changed := false
	for i := range r.Lines {
		l := &r.Lines[i]
		if !known || l.Location != ev.Store || !l.live() || (to != protocol.ReservationRejected && rank[l.State] >= rank[to]) {
			continue
		}
		l.State, changed = to, true
		if to == protocol.ReservationRejected {
			l.Risk, l.Reason = false, or(ev.Reason, "the store rejected it")
		}
	}
	return changed
}

// Resource looks for other locations for what a store rejected. nil: there are
// none, or nothing was rejected.
func (b *Book) Resource(id string, s Stock, nowUS int64) *Change {
	b.Advance(nowUS)
	e := b.all[id]
	if e == nil {
		return nil
	}
	r := e.copy(b.nowUS)
	moved := false
	for i := range e.Lines {
		if l := &r.Lines[i]; l.State == protocol.ReservationRejected && !l.Replaced && l.Location != "" && l.Quantity > 0 {
			moved = b.reseat(&r, i, s) || moved
		}
	}
	if !moved {
		return nil
	}
	return &Change{"resourced", r}
}

// reseat finds another location for a line that its own cannot serve. Locations
// that already failed this reservation are not asked again.
func (b *Book) reseat(r *Record, i int, s Stock) bool {
	t := b.table(s, r)
	t.excluded = map[protocol.StoreID]bool{r.Lines[i].Location: true}
	for _, l := range r.Lines {
		if l.State == protocol.ReservationRejected {
			t.excluded[l.Location] = true
		}
	}
	l := r.Lines[i]
	if r.Fulfilment == protocol.FulfilmentPickup {
		return false // a customer who goes to this counter is not sent to another
	}
	for _, c := range t.candidates(l.SKU) {
		if t.units(c.Location, l.SKU, l.Parts) < l.Quantity {
			continue
		}
		from := l.Location
		l.Location, l.State, l.Risk = c.Location, protocol.ReservationConfirmed, false
		if r.ExpiresUS != 0 {
			l.State = protocol.ReservationHeld
		}
		l.Reason = "sourced again: " + string(from) + " could not serve it"
		r.Lines[i].Replaced, r.Lines[i].Risk = true, false
		r.Lines = append(r.Lines, l)
		return true
	}
	return false
}

// Conflicts looks at positions whose stock or holds changed. Where more is
// promised than is there, the newest promises are at risk: by policy they are
// sourced again elsewhere, else marked; picked goods are in a box and safe. Marks
// go when stock is back. The changes are to be journaled and applied in order.
func (b *Book) Conflicts(keys []Key, s Stock, nowUS int64) []*Change {
	b.Advance(nowUS)
	var out []*Change
	for _, k := range keys {
		p := b.positions[k]
		if p == nil {
			continue
		}
		over := p.reserved + p.allocated - s.OnHand(k)
		for _, e := range b.newest(k) {
			c, freed := b.risk(e, k, over > 0, s)
			if over > 0 {
				over -= freed
			}
			if c != nil {
				b.Apply(c)
				out = append(out, c)
			}
		}
	}
	return out
}

// newest lists the reservations at a position, the last made first.
func (b *Book) newest(k Key) []*entry {
	p := b.positions[k]
	list := make([]*entry, 0, len(p.by))
	for id := range p.by {
		list = append(list, b.all[id])
	}
	slices.SortFunc(list, func(x, y *entry) int {
		return cmp.Or(cmp.Compare(y.CreatedUS, x.CreatedUS), cmp.Compare(y.ID, x.ID))
	})
	return list
}

// risk judges one reservation at a position, and tells how much of the position
// it accounts for.
func (b *Book) risk(e *entry, k Key, at bool, s Stock) (c *Change, freed protocol.Quantity) {
	r := e.copy(b.nowUS)
	why := ""
	for i := range e.Lines {
		l := &r.Lines[i]
		if !l.live() || l.State == protocol.ReservationPicked {
			continue
		}
		var q protocol.Quantity
		l.each(func(x Key, n protocol.Quantity) {
			if x == k {
				q += n
			}
		})
		if q == 0 {
			continue
		}
		freed += q
		switch {
		case at && s.Resource(k) && b.reseat(&r, i, s):
			r.Lines[i].State, r.Lines[i].Reason = protocol.ReservationRejected, "stock fell below what was promised"
			why = "resourced"
		case at && !l.Risk:
			r.Lines[i].Risk = true
			why = or(why, "at_risk")
		case !at && l.Risk:
			r.Lines[i].Risk = false
			why = or(why, "safe")
		}
	}
	if why == "" {
		return nil, freed
	}
	return &Change{why, r}, freed
}
