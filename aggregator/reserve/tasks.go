package reserve

import (
	"cmp"
	"maps"
	"slices"

	"tillwire/protocol"
)

// taskBoard is what a location is told: its tasks, and what is held there.
type taskBoard struct {
	rev  uint64
	ids  map[string]int // live lines per reservation
	held map[protocol.SKU]protocol.Quantity
}

// board keeps the boards of a reservation's locations in step.
func (b *Book) board(r *Record, add bool) {
	for i := range r.Lines {
		l := &r.Lines[i]
		if !l.live() {
			continue
		}
		t := b.tasks[l.Location]
		if t == nil {
			t = &taskBoard{ids: map[string]int{}, held: map[protocol.SKU]protocol.Quantity{}}
			b.tasks[l.Location] = t
		}
		t.rev = max(t.rev+1, uint64(max(r.UpdatedUS, b.nowUS, 0)))
		sign := protocol.Quantity(1)
		if !add {
			sign = -1
		}
		if t.ids[r.ID] += int(sign); t.ids[r.ID] == 0 {
			delete(t.ids, r.ID)
		}
		l.each(func(k Key, q protocol.Quantity) {
			if t.held[k.SKU] += sign * q; t.held[k.SKU] == 0 {
				delete(t.held, k.SKU)
			}
		})
	}
}

// Rev is the revision of what a location is told. It is never 0 after Settle: a
// store whose last task has gone must hear that, too.
func (b *Book) Rev(loc protocol.StoreID) uint64 {
	if t := b.tasks[loc]; t != nil {
		return max(t.rev, b.baseRev)
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
	t := b.tasks[loc]
	if t == nil {
		return nil, nil, b.baseRev
	}
	for id := range t.ids {
		e := b.all[id]
		x := protocol.HoldTask{HoldID: id, Fulfilment: e.Fulfilment, Channel: e.Channel, OrderID: e.Order, CreatedUS: e.CreatedUS}
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
		if x.State != "" {
			tasks = append(tasks, x)
		}
	}
	slices.SortFunc(tasks, func(x, y protocol.HoldTask) int {
		return cmp.Or(cmp.Compare(x.CreatedUS, y.CreatedUS), cmp.Compare(x.HoldID, y.HoldID))
	})
	for _, sku := range slices.Sorted(maps.Keys(t.held)) {
		held = append(held, protocol.HoldLine{SKU: sku, Quantity: t.held[sku]})
	}
	return tasks, held, b.Rev(loc)
}

// Delivered notes that a store's agent has stored its tasks up to a revision:
// those that are confirmed are now pending, waiting for the store's answer.
// Delivery is never taken for acceptance.
func (b *Book) Delivered(loc protocol.StoreID, rev uint64, nowUS int64) []*Change {
	b.Advance(nowUS)
	t := b.tasks[loc]
	if t == nil || rev < b.Rev(loc) {
		return nil
	}
	var out []*Change
	for _, id := range slices.Sorted(maps.Keys(t.ids)) {
		r := b.all[id].copy(b.nowUS)
		changed := false
		for i := range r.Lines {
			if l := &r.Lines[i]; l.Location == loc && l.State == protocol.ReservationConfirmed && r.task(l) {
				l.State, changed = protocol.ReservationPending, true
			}
		}
		if changed {
			out = append(out, &Change{"delivered", r})
		}
	}
	return out
}
