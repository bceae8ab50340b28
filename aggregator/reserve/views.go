package reserve

import (
	"slices"
	"time"

	"tillwire/protocol"
)

// state of the whole follows from the lines: the least far of those that live;
// when none does, the best that came of them. A line that never held anything
// counts only where no other did.
func (r *Record) state() protocol.ReservationState {
	var live, over, never protocol.ReservationState
	for i := range r.Lines {
		l := &r.Lines[i]
		switch {
		case l.Replaced:
		case l.live():
			if live == "" || rank[l.State] < rank[live] {
				live = l.State
			}
		case l.Quantity == 0:
			never = l.State
		case over == "" || ended[l.State] > ended[over]:
			over = l.State
		}
	}
	switch {
	case live != "":
		return live
	case r.Elsewhere != "" && ended[over] < ended[protocol.ReservationShipped]:
		return protocol.ReservationCollected
	case over != "":
		return over
	}
	return or(never, protocol.ReservationRejected)
}

// ended orders what can become of a line by what the customer has of it.
var ended = map[protocol.ReservationState]int{
	protocol.ReservationExpired: 1, protocol.ReservationReleased: 2, protocol.ReservationRejected: 3,
	protocol.ReservationShipped: 4, protocol.ReservationCollected: 5,
}

func stamp(us int64) time.Time { return time.UnixMicro(us).UTC() }

func (r *Record) answer() protocol.Reservation {
	a := protocol.Reservation{
		ReservationID: r.ID, Channel: r.Channel, OrderID: r.Order, Mode: r.Mode, Fulfilment: r.Fulfilment, State: r.state(),
		CreatedAt: stamp(r.CreatedUS), UpdatedAt: stamp(r.UpdatedUS), Lines: make([]protocol.ReservationLine, 0, len(r.Lines)),
	}
	if r.ExpiresUS != 0 {
		t := stamp(r.ExpiresUS)
		a.ExpiresAt = &t
	}
	for i := range r.Lines {
		l := &r.Lines[i]
		a.AtRisk = a.AtRisk || l.Risk
		a.Lines = append(a.Lines, protocol.ReservationLine{
			SKU: l.SKU, Quantity: l.Quantity, Location: l.Location, State: l.State, Components: l.Parts, Shortfall: l.Short, Reason: l.Reason,
		})
	}
	return a
}

// Get returns a reservation as it stands now.
func (b *Book) Get(id string, nowUS int64) (protocol.Reservation, bool) {
	b.Advance(nowUS)
	if e := b.all[id]; e != nil {
		return e.answer(), true
	}
	return protocol.Reservation{}, false
}

// Filter selects reservations; empty fields match all.
type Filter struct {
	State    protocol.ReservationState
	Location protocol.StoreID
	AtRisk   bool
	After    string // id to continue behind
	Limit    int
}

// List returns reservations in order of id. It looks at all that are remembered:
// for people, not for machines.
func (b *Book) List(f Filter, nowUS int64) []protocol.Reservation {
	b.Advance(nowUS)
	if f.Limit <= 0 || f.Limit > listMax {
		f.Limit = listMax
	}
	var ids []string
	cut := func() {
		slices.Sort(ids)
		ids = ids[:min(len(ids), f.Limit)]
	}
	last := ""
	for id, e := range b.all {
		if id <= f.After || last != "" && id > last || !f.match(e) {
			continue
		}
		if ids = append(ids, id); len(ids) >= 4*f.Limit {
			cut()
			last = ids[len(ids)-1]
		}
	}
	cut()
	out := make([]protocol.Reservation, 0, len(ids))
	for _, id := range ids {
		out = append(out, b.all[id].answer())
	}
	return out
}

func (f *Filter) match(e *entry) bool {
	return (f.State == "" || e.state() == f.State) &&
		(f.Location == "" || slices.ContainsFunc(e.Lines, func(l Line) bool { return l.Location == f.Location })) &&
		(!f.AtRisk || slices.ContainsFunc(e.Lines, func(l Line) bool { return l.Risk }))
}

// Held is what the book takes from a position now.
func (b *Book) Held(k Key, nowUS int64) (reserved, allocated protocol.Quantity) {
	b.Advance(nowUS)
	if p := b.position(k); p != nil {
		return p.reserved, p.allocated
	}
	return 0, 0
}

// HoldsAt lists who holds a position, the oldest first, line by line; the sums are
// Held's.
func (b *Book) HoldsAt(k Key, nowUS int64) []protocol.ExplainHold {
	b.Advance(nowUS)
	p := b.position(k)
	if p == nil {
		return nil
	}
	var out []protocol.ExplainHold
	for _, e := range p.by.oldest() {
		for i := range e.Lines {
			l := &e.Lines[i]
			q := l.of(k)
			if !l.live() || q == 0 {
				continue
			}
			x := protocol.ExplainHold{ReservationID: e.ID, Channel: e.Channel, State: l.State}
			if l.reserves() {
				x.Reserved = q
				t := stamp(e.ExpiresUS)
				x.ExpiresAt = &t
			} else {
				x.Allocated = q
			}
			out = append(out, x)
		}
	}
	return out
}

// Len is how many reservations are remembered, Live how many of them hold stock.
func (b *Book) Len() int { return len(b.all) }

// Live is how many reservations hold stock.
func (b *Book) Live() int { return len(b.all) - b.closed.Len() }
