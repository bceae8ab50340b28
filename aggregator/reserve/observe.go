package reserve

import (
	"fmt"
	"strings"

	"tillwire/protocol"
)

// HoldOf names the reservation that a document speaks of: the one that it names,
// or the one that its order is. An order may be several reservations; the one at
// the document's own location comes first, live before over. The merge must use
// this same answer to know a sale and a store's own word of it as one.
func (b *Book) HoldOf(ev *protocol.Event, nowUS int64) (id string, ok bool) {
	b.Advance(nowUS)
	if ev.HoldID != "" {
		return ev.HoldID, true
	}
	if e := b.ofOrder(ev.OrderID, ev.Store); e != nil {
		return e.ID, true
	}
	return "", false
}

// ResolveOrder finds the reservation that an order is. Where it can be several,
// HoldOf knows better.
func (b *Book) ResolveOrder(order string) (holdID string, ok bool) {
	if e := b.ofOrder(order, ""); e != nil {
		return e.ID, true
	}
	return "", false
}

// ofOrder chooses among an order's reservations: live at the location, at it,
// live, any; of equals the newest.
func (b *Book) ofOrder(order string, loc protocol.StoreID) (best *entry) {
	if order == "" {
		return nil
	}
	most := -1
	for e := b.orders[order]; e != nil; e = e.sibling {
		score := 0
		for i := range e.Lines {
			l := &e.Lines[i]
			here := l.Location == loc && l.Quantity > 0 && !l.Replaced
			switch {
			case here && l.live():
				score = 3
			case here:
				score = max(score, 2)
			case l.live():
				score = max(score, 1)
			}
		}
		newer := best != nil && (e.CreatedUS > best.CreatedUS || e.CreatedUS == best.CreatedUS && e.ID > best.ID)
		if score > most || score == most && newer {
			best, most = e, score
		}
	}
	return best
}

// Observe takes a merged event that speaks of a reservation: a sale with its
// hold_id or order_id, or a store's answer to its task. What follows for the book
// follows from the two alone, so it is not journaled again. It returns the
// reservation's id where a store rejected and others should be asked.
func (b *Book) Observe(ev *protocol.Event, nowUS int64) (rejected string) {
	id, _ := b.HoldOf(ev, nowUS)
	if ev.Kind == protocol.KindHold && ev.Action == protocol.HoldRecalled {
		b.recall(ev)
		return ""
	}
	e := b.all[id]
	if e == nil {
		return ""
	}
	r := e.copy(b.nowUS)
	changed := false
	switch {
	case ev.Kind == protocol.KindSale, ev.Kind == protocol.KindHold && ev.Action == protocol.HoldCollected:
		changed = r.collect(ev)
	case ev.Kind == protocol.KindHold:
		changed = r.answered(ev, b.nowUS)
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

// collect ends the lines of the location where the goods went over the counter,
// whatever became of the hold before: the sale is physical. What was held there
// beyond what was taken is free again. Where nothing was held at that location,
// the goods came off its free stock: what is held elsewhere is released, and the
// reservation counts as collected, so that nothing leaves on its account twice.
func (r *Record) collect(ev *protocol.Event) bool {
	here, done := false, r.Elsewhere == ev.Store
	for i := range r.Lines {
		l := &r.Lines[i]
		here = here || l.Location == ev.Store && (l.live() || l.over())
		done = done || l.Location == ev.Store && l.gone()
	}
	b := basketOf(ev)
	switch {
	case here:
		changed := r.collectHere(ev.Store, b, done)
		return !b.whole && r.freeReplacements(ev.Store, b) || changed
	case done: // a second receipt of the same order, or the store's own word of it
		return false
	}
	r.Elsewhere = protocol.StoreID(strings.Clone(string(ev.Store)))
	if r.freeReplacements(ev.Store, b) {
		return true
	}
	for i := range r.Lines {
		if l := &r.Lines[i]; l.live() {
			l.leave("collected at " + string(ev.Store))
		}
	}
	return true
}

// leave releases a line because of what was collected.
func (l *Line) leave(reason string) {
	l.State, l.Risk, l.Reason = protocol.ReservationReleased, false, reason
}

// collectHere consumes the location's lines: the live ones, then, unless it was
// collected there before, those that were over.
func (r *Record) collectHere(loc protocol.StoreID, b *basket, done bool) (changed bool) {
	took := false
	var rest []*Line
	for i := range r.Lines {
		l := &r.Lines[i]
		if l.Location != loc || !l.live() {
			continue
		}
		if got := b.take(l); got == 0 && !b.whole {
			rest = append(rest, l)
		} else {
			r.gone(l, got, b.exact)
			took = true
		}
	}
	for _, l := range rest {
		if took {
			l.leave("not taken when the rest was collected")
		} else { // an order handed out as other articles is handed out
			r.gone(l, 0, b.exact)
		}
	}
	changed = took || len(rest) > 0
	for i := range r.Lines {
		l := &r.Lines[i]
		if l.Location != loc || !l.over() || done || changed && b.whole {
			continue
		}
		was := l.State
		if got := b.take(l); got > 0 || b.whole {
			r.gone(l, got, b.exact)
			l.Reason = "collected though it was " + string(was)
			changed = true
		}
	}
	return changed
}

// freeReplacements releases what was sourced elsewhere because this location could
// not serve it, where it did after all.
func (r *Record) freeReplacements(loc protocol.StoreID, b *basket) (changed bool) {
	for i := range r.Lines {
		was := &r.Lines[i]
		if !was.Replaced || was.Location != loc {
			continue
		}
		left := b.take(was)
		for j := range r.Lines {
			if l := &r.Lines[j]; left > 0 && l.live() && l.Request == was.Request && l.SKU == was.SKU {
				l.leave("collected at " + string(loc))
				left -= l.Quantity
				changed = true
			}
		}
	}
	return changed
}

// gone marks a line's goods as handed out.
func (r *Record) gone(l *Line, got protocol.Quantity, exact bool) {
	l.State, l.Risk = protocol.ReservationCollected, false
	if r.Fulfilment == protocol.FulfilmentShip {
		l.State = protocol.ReservationShipped
	}
	if exact && got < l.Quantity {
		l.Reason = fmt.Sprintf("%s of %s taken", got, l.Quantity)
	}
}

// basket is what a document hands out, line by line used up.
type basket struct {
	left  map[protocol.SKU]protocol.Quantity
	whole bool // a store's word without lines: everything
	exact bool // quantities are in the units of the hold, as far as can be seen
}

func basketOf(ev *protocol.Event) *basket {
	b := &basket{left: map[protocol.SKU]protocol.Quantity{}, whole: ev.Kind == protocol.KindHold && len(ev.Lines) == 0, exact: true}
	for i := range ev.Lines {
		l := &ev.Lines[i]
		b.left[l.SKU] += l.Quantity
		b.exact = b.exact && (l.UOM == "" || l.UOM == "EA")
	}
	b.exact = b.exact && !b.whole
	return b
}

// take uses up to a line's quantity: the article itself, or a kit's whole sets of
// parts where they were sold as such.
func (b *basket) take(l *Line) (got protocol.Quantity) {
	if b.whole {
		return l.Quantity
	}
	got = max(0, min(b.left[l.SKU], l.Quantity))
	b.left[l.SKU] -= got
	if len(l.Parts) == 0 || got == l.Quantity {
		return got
	}
	sets := l.Quantity - got
	for _, p := range l.Parts {
		sets = min(sets, max(0, b.left[p.SKU])/p.Quantity*1000)
	}
	for _, p := range l.Parts {
		b.left[p.SKU] -= times(sets, p.Quantity)
	}
	return got + sets
}

// next is the state that an answer leads to, and rank how far along a state is:
// an answer that comes after a later one changes nothing.
var next = map[string]protocol.ReservationState{
	protocol.HoldAccept: protocol.ReservationAccepted,
	protocol.HoldPicked: protocol.ReservationPicked,
	protocol.HoldReject: protocol.ReservationRejected,
}

var rank = map[protocol.ReservationState]int{
	protocol.ReservationHeld: 1, protocol.ReservationConfirmed: 2, protocol.ReservationPending: 3,
	protocol.ReservationAccepted: 4, protocol.ReservationPicked: 5,
}

// answered takes a store's word on its task. A hold that was never confirmed is
// no task: a word on it would make it firm, and nothing would ever end it.
func (r *Record) answered(ev *protocol.Event, nowUS int64) bool {
	to, known := next[ev.Action]
	changed := false
	for i := range r.Lines {
		l := &r.Lines[i]
		if !known || l.Location != ev.Store || !l.allocates() || (to != protocol.ReservationRejected && rank[l.State] >= rank[to]) {
			continue
		}
		l.State, changed = to, true
		switch to { //nolint:exhaustive // accepted: stock may still lack
		case protocol.ReservationRejected:
			l.Risk, l.RejectedUS, l.Reason = false, nowUS, or(brief(ev.Reason), "the store rejected it")
		case protocol.ReservationPicked:
			l.Risk = false // the goods are in a box
		}
	}
	return changed
}

// brief bounds a store's own words.
func brief(s string) string {
	if len(s) > reasonBytesMax {
		s = s[:reasonBytesMax]
	}
	return strings.Clone(strings.ToValidUTF8(s, "")) // kept: not the whole frame with it
}
