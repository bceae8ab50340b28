package reserve

import (
	"cmp"
	"container/heap"
	"slices"

	"tillwire/protocol"
)

// Key is a position.
type Key struct {
	Location protocol.StoreID
	SKU      protocol.SKU
}

// Stock is what a decision must know at its moment. The caller answers on the
// writer's goroutine: between an answer and the decision nothing changes.
type Stock interface {
	// Free is what a channel may be promised at a position, before the book takes
	// off what it holds itself: on hand − unavailable − safety stock − risk buffer
	// − what is fenced for other channels.
	Free(k Key, channel string) protocol.Quantity
	// OnHand is what is there to hand over: on hand − unavailable.
	OnHand(k Key) protocol.Quantity
	// Explode lists a kit's parts; nil for what is no kit.
	Explode(sku protocol.SKU) []protocol.KitComponent
	// Candidates lists where an article could come from; group "" is anywhere.
	Candidates(sku protocol.SKU, group string) []Candidate
	// Sourcing and Resource are the policies' words: how to choose among
	// candidates, and whether a promise that stock no longer covers is sourced
	// again elsewhere.
	Sourcing(sku protocol.SKU) string
	Resource(k Key) bool
}

// Candidate is a location that has an article.
type Candidate struct {
	Location protocol.StoreID
	Group    string
	AgeUS    int64 // of what is known of it
}

// Record is a reservation as it is journaled: whole, after a change.
type Record struct {
	ID         string `json:"id"`
	Hash       string `json:"hash"` // of the request: the same body again is answered, another refused
	Channel    string `json:"channel"`
	Order      string `json:"order,omitempty"`
	Mode       string `json:"mode"`
	Fulfilment string `json:"fulfilment"`
	Group      string `json:"group,omitempty"`
	Sourcing   string `json:"sourcing,omitempty"`
	CreatedUS  int64  `json:"created"`
	UpdatedUS  int64  `json:"updated"`
	ExpiresUS  int64  `json:"expires,omitempty"` // while held
	Lines      []Line `json:"lines"`
}

// Line is one requested article at one location.
type Line struct {
	Request  int                       `json:"req"` // index of the request's line
	SKU      protocol.SKU              `json:"sku"`
	Quantity protocol.Quantity         `json:"qty"`
	Location protocol.StoreID          `json:"loc,omitempty"`
	State    protocol.ReservationState `json:"state"`
	Parts    []protocol.KitComponent   `json:"parts,omitempty"`
	Short    protocol.Quantity         `json:"short,omitempty"`
	Reason   string                    `json:"reason,omitempty"`
	Risk     bool                      `json:"risk,omitempty"`     // stock no longer covers it
	Replaced bool                      `json:"replaced,omitempty"` // sourced again: another line stands for it
}

// Change is one journaled step of the book.
type Change struct {
	Why    string `json:"why"` // reserve, confirm, extend, release, fulfil, delivered, at_risk, resourced, …
	Record Record `json:"record"`
}

// reserves and allocates tell what a line takes from its position.
func (l *Line) reserves() bool { return l.State == protocol.ReservationHeld }

func (l *Line) allocates() bool {
	switch l.State { //nolint:exhaustive // the others are over or only reserved
	case protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked:
		return true
	}
	return false
}

func (l *Line) live() bool { return l.reserves() || l.allocates() }

// each calls fn with every position that the line takes from, and how much.
func (l *Line) each(fn func(Key, protocol.Quantity)) {
	if len(l.Parts) == 0 {
		fn(Key{l.Location, l.SKU}, l.Quantity)
		return
	}
	for _, p := range l.Parts {
		fn(Key{l.Location, p.SKU}, times(l.Quantity, p.Quantity))
	}
}

// times multiplies a number of kits by a part's quantity, both in thousandths.
func times(kits, part protocol.Quantity) protocol.Quantity {
	whole, rest := kits/1000, kits%1000
	return whole*part + (rest*part+999)/1000 // a broken kit takes whole thousandths
}

// position is what the book holds at a key, and who.
type position struct {
	reserved, allocated protocol.Quantity
	by                  map[string]struct{}
}

// entry is a reservation in memory.
type entry struct {
	Record
	closedUS int64 // 0 while anything is live
}

// Book holds reservations. One goroutine uses it.
type Book struct {
	all       map[string]*entry
	positions map[Key]*position
	orders    map[string]string               // order id → reservation
	tasks     map[protocol.StoreID]*taskBoard // per location
	expiries  expiries
	closed    []closing // oldest first, from closedFrom on
	dirty     map[uint16]bool
	touched   []Key // since TakeTouched
	nowUS     int64
	baseRev   uint64 // of boards since this process began
}

type closing struct {
	us int64
	id string
}

// New makes an empty book.
func New() *Book {
	return &Book{
		all: map[string]*entry{}, positions: map[Key]*position{}, orders: map[string]string{},
		tasks: map[protocol.StoreID]*taskBoard{}, dirty: map[uint16]bool{},
	}
}

// Apply puts a change into effect, live or on replay.
func (b *Book) Apply(c *Change) {
	b.Advance(c.Record.UpdatedUS)
	b.put(c.Record)
}

// put replaces a reservation and moves what is held accordingly.
func (b *Book) put(r Record) {
	old := b.all[r.ID]
	if old != nil {
		b.weigh(&old.Record, -1)
		if old.Order != "" && b.orders[old.Order] == r.ID {
			delete(b.orders, old.Order)
		}
	}
	e := &entry{Record: r}
	b.all[r.ID] = e
	b.weigh(&e.Record, 1)
	if r.Order != "" {
		b.orders[r.Order] = r.ID
	}
	if r.ExpiresUS != 0 {
		heap.Push(&b.expiries, closing{r.ExpiresUS, r.ID})
	}
	if !e.live() {
		e.closedUS = r.UpdatedUS
		if old == nil || old.closedUS != e.closedUS {
			b.closed = append(b.closed, closing{r.UpdatedUS, r.ID})
		}
	}
	b.dirty[shardOf(r.ID)] = true
}

func (r *Record) live() bool {
	return slices.ContainsFunc(r.Lines, func(l Line) bool { return l.live() })
}

// weigh adds a reservation's live lines to the positions, or takes them off.
func (b *Book) weigh(r *Record, sign protocol.Quantity) {
	for i := range r.Lines {
		l := &r.Lines[i]
		if !l.live() {
			continue
		}
		l.each(func(k Key, q protocol.Quantity) {
			p := b.positions[k]
			if p == nil {
				p = &position{by: map[string]struct{}{}}
				b.positions[k] = p
			}
			if l.reserves() {
				p.reserved += sign * q
			} else {
				p.allocated += sign * q
			}
			if sign > 0 {
				p.by[r.ID] = struct{}{}
			} else {
				delete(p.by, r.ID)
			}
			if len(p.by) == 0 && p.reserved == 0 && p.allocated == 0 {
				delete(b.positions, k)
			}
			b.touched = append(b.touched, k)
		})
	}
	b.board(r, sign > 0)
}

// TakeTouched returns the positions whose holds changed since the last call, each
// once, in order.
func (b *Book) TakeTouched() []Key {
	slices.SortFunc(b.touched, func(x, y Key) int {
		return cmp.Or(cmp.Compare(x.Location, y.Location), cmp.Compare(x.SKU, y.SKU))
	})
	out := slices.Clone(slices.Compact(b.touched))
	b.touched = b.touched[:0]
	return out
}

// Advance drops what has expired by now. Decisions and reads do it themselves;
// nothing depends on its being called in time.
func (b *Book) Advance(nowUS int64) {
	b.nowUS = max(b.nowUS, nowUS)
	for len(b.expiries) > 0 && b.expiries[0].us <= b.nowUS {
		x := heap.Pop(&b.expiries).(closing) //nolint:errcheck // a heap of closings
		if e := b.all[x.id]; e != nil && e.ExpiresUS == x.us {
			b.expire(e)
		}
	}
	for len(b.closed) > 0 && (b.closed[0].us < b.nowUS-rememberUS || len(b.closed) > closedMax) {
		if e := b.all[b.closed[0].id]; e != nil && e.closedUS == b.closed[0].us {
			delete(b.all, e.ID)
			if b.orders[e.Order] == e.ID {
				delete(b.orders, e.Order)
			}
			b.dirty[shardOf(e.ID)] = true
		}
		b.closed = b.closed[1:]
	}
}

func (b *Book) expire(e *entry) {
	r := e.copy(e.ExpiresUS)
	for i := range r.Lines {
		if r.Lines[i].reserves() {
			r.Lines[i].State = protocol.ReservationExpired
		}
	}
	r.ExpiresUS = 0
	b.put(r)
}

// NextExpiry is when something expires next.
func (b *Book) NextExpiry() (us int64, ok bool) {
	for len(b.expiries) > 0 {
		x := b.expiries[0]
		if e := b.all[x.id]; e != nil && e.ExpiresUS == x.us {
			return x.us, true
		}
		heap.Pop(&b.expiries)
	}
	return 0, false
}

// copy is the reservation with lines of its own, to be changed at us.
func (r *Record) copy(us int64) Record {
	c := *r
	c.UpdatedUS = max(us, r.UpdatedUS)
	c.Lines = slices.Clone(r.Lines)
	return c
}

// expiries is a heap by time, then id.
type expiries []closing

func (x expiries) Len() int { return len(x) }
func (x expiries) Less(i, j int) bool {
	return x[i].us < x[j].us || x[i].us == x[j].us && x[i].id < x[j].id
}
func (x expiries) Swap(i, j int) { x[i], x[j] = x[j], x[i] }
func (x *expiries) Push(v any)   { *x = append(*x, v.(closing)) } //nolint:errcheck // a heap of closings
func (x *expiries) Pop() any {
	old := *x
	v := old[len(old)-1]
	*x = old[:len(old)-1]
	return v
}
