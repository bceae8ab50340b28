package reserve

import (
	"maps"
	"slices"

	"tillwire/protocol"
)

// Rev is the revision of what a location is told. It is never 0 after Settle: a
// store whose last task has gone must hear that, too.
func (b *Book) Rev(loc protocol.StoreID) uint64 {
	if p := b.places[loc]; p != nil {
		return max(p.rev, b.baseRev)
	}
	return b.baseRev
}

// task tells whether a line is work for its store.
func (r *Record) task(l *Line) bool {
	return l.allocates() && (r.Fulfilment == protocol.FulfilmentPickup || r.Fulfilment == protocol.FulfilmentShip)
}

// Tasks lists a store's work, oldest first, and what is held there per SKU.
func (b *Book) Tasks(loc protocol.StoreID, nowUS int64) (tasks []protocol.HoldTask, held []protocol.HoldLine, rev uint64) {
	b.Advance(nowUS)
	p := b.places[loc]
	if p == nil {
		return nil, nil, b.baseRev
	}
	for _, e := range p.tasks.oldest() {
		x := protocol.HoldTask{HoldID: e.ID, Fulfilment: e.Fulfilment, Channel: e.Channel, OrderID: e.Order, CreatedUS: e.CreatedUS}
		for i := range e.Lines {
			l := &e.Lines[i]
			if l.Location != loc || !e.task(l) {
				continue
			}
			if x.State == "" || rank[l.State] < rank[x.State] {
				x.State = l.State
			}
			l.each(func(k Key, q protocol.Quantity) {
				x.Lines = append(x.Lines, protocol.HoldLine{SKU: k.SKU, Quantity: q})
			})
		}
		tasks = append(tasks, x)
	}
	for _, sku := range slices.Sorted(maps.Keys(p.skus)) {
		held = append(held, protocol.HoldLine{SKU: sku, Quantity: p.skus[sku].reserved + p.skus[sku].allocated})
	}
	return tasks, held, b.Rev(loc)
}

// Delivered notes that a store's agent has stored its tasks up to a revision:
// those that are confirmed are now pending, waiting for the store's answer.
// Delivery is never taken for acceptance.
func (b *Book) Delivered(loc protocol.StoreID, rev uint64, nowUS int64) []*Change {
	b.Advance(nowUS)
	p := b.places[loc]
	if p == nil || rev < b.Rev(loc) {
		return nil
	}
	var out []*Change
	for i := range p.tasks.slots {
		e := p.tasks.slots[i].e
		sent := func(l Line) bool {
			return l.Location == loc && l.State == protocol.ReservationConfirmed && e.task(&l)
		}
		if p.tasks.slots[i].dead || !slices.ContainsFunc(e.Lines, sent) {
			continue
		}
		r := e.copy(b.nowUS)
		for j := range r.Lines {
			if sent(r.Lines[j]) {
				r.Lines[j].State = protocol.ReservationPending
			}
		}
		out = append(out, change("delivered", r))
	}
	return out
}
