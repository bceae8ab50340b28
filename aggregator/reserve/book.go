package reserve

import (
	"cmp"
	"slices"

	"tillwire/protocol"
)

// Key is a position.
type Key struct {
	Location protocol.StoreID
	SKU      protocol.SKU
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Location, o.Location), cmp.Compare(k.SKU, o.SKU))
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

// position is what the book holds at a key, and who.
type position struct {
	key                 Key
	reserved, allocated protocol.Quantity
	risk                int // live lines whose mark says that stock does not cover them
	by                  roster
}

// place is a location: what is held there, and its work.
type place struct {
	name  protocol.StoreID
	rev   uint64 // of what its store is told
	skus  map[protocol.SKU]*position
	tasks roster // reservations with lines that are work for the store
}

// entry is a reservation in memory.
type entry struct {
	Record
	dueUS   int64  // of its queue: when it expires, or when it ended
	queue   *queue // expiries, closed, or nil: allocated, until somebody says otherwise
	at      int32  // in the queue
	next    *entry // in its shard
	sibling *entry // another reservation of the same order
}

// Book holds reservations. One goroutine uses it, and times never fall from call
// to call.
type Book struct {
	all      map[string]*entry
	places   map[protocol.StoreID]*place
	orders   map[string]*entry // order id → its reservations, as a chain
	names    map[string]string // channels and groups, each once
	expiries queue
	closed   queue // what is over, the oldest first
	shards   [shards]*entry
	dirty    map[uint16]struct{}
	touched  []Key // since TakeTouched
	unique   int   // length of touched at which it is made unique
	later    []Key // positions in conflict that did not fit into one look
	taken    map[Key]protocol.Quantity
	scratch  []byte
	ends     []End    // since TakeEnds
	calm     []string // since TakeCalm
	nowUS    int64
	baseRev  uint64 // of places since this process began
}

// New makes an empty book.
func New() *Book {
	return &Book{
		all: map[string]*entry{}, places: map[protocol.StoreID]*place{}, orders: map[string]*entry{}, names: map[string]string{},
		dirty: map[uint16]struct{}{}, unique: touchedMin, taken: map[Key]protocol.Quantity{},
	}
}

// Apply puts a change into effect, live or on replay.
func (b *Book) Apply(c *Change) {
	b.Advance(c.Record.UpdatedUS)
	b.put(c.Record)
}

// put replaces a reservation and moves what is held accordingly.
func (b *Book) put(r Record) {
	e := b.all[r.ID]
	var was []Line
	same := false
	if e == nil {
		shard := shardOf(r.ID)
		e = &entry{next: b.shards[shard]}
		b.all[r.ID], b.shards[shard] = e, e
	} else {
		b.unorder(e)
		if e.CreatedUS == r.CreatedUS && e.Fulfilment == r.Fulfilment && slices.EqualFunc(e.Lines, r.Lines, alike) {
			same = true // extended: nobody's stock and no store's work has changed
		} else {
			was = e.Lines
			b.ended(was, &r)
			b.weigh(e, -1)
		}
	}
	r.Channel, r.Group = b.name(r.Channel), b.name(r.Group)
	e.Record = r
	if e.Order != "" {
		e.sibling = b.orders[e.Order]
		b.orders[e.Order] = e
	}
	if !same {
		b.weigh(e, 1)
		b.tidy(was)
	}
	switch {
	case r.ExpiresUS != 0:
		e.enqueue(&b.expiries, r.ExpiresUS)
	case r.live():
		e.enqueue(nil, 0)
	default:
		e.enqueue(&b.closed, r.UpdatedUS)
	}
	b.dirty[shardOf(r.ID)] = struct{}{}
}

// alike tells whether two lines take the same from the same positions.
func alike(x, y Line) bool {
	return x.Location == y.Location && x.SKU == y.SKU && x.Quantity == y.Quantity && x.State == y.State && x.Risk == y.Risk && slices.Equal(x.Parts, y.Parts)
}

// name keeps one copy of a name that many reservations share.
func (b *Book) name(s string) string {
	if n, ok := b.names[s]; ok {
		return n
	}
	if len(b.names) < namesMax {
		b.names[s] = s
	}
	return s
}

// unorder takes a reservation off its order's chain.
func (b *Book) unorder(e *entry) {
	if e.Order == "" {
		return
	}
	head := b.orders[e.Order]
	if head == e {
		head = e.sibling
	}
	for x := head; x != nil; x = x.sibling {
		if x.sibling == e {
			x.sibling = e.sibling
		}
	}
	if e.sibling = nil; head == nil {
		delete(b.orders, e.Order)
	} else {
		b.orders[e.Order] = head
	}
}

// forget drops a reservation that is over.
func (b *Book) forget(e *entry) {
	b.unorder(e)
	delete(b.all, e.ID)
	shard := shardOf(e.ID)
	for at := &b.shards[shard]; *at != nil; at = &(*at).next {
		if *at == e {
			*at = e.next
			break
		}
	}
	b.dirty[shard] = struct{}{}
}

func (b *Book) place(loc protocol.StoreID) *place {
	p := b.places[loc]
	if p == nil {
		p = &place{name: loc, skus: map[protocol.SKU]*position{}}
		b.places[loc] = p
	}
	return p
}

func (b *Book) position(k Key) *position {
	if p := b.places[k.Location]; p != nil {
		return p.skus[k.SKU]
	}
	return nil
}

// weigh adds a reservation's live lines to their positions, or takes them off.
func (b *Book) weigh(e *entry, sign protocol.Quantity) {
	for i := range e.Lines {
		l := &e.Lines[i]
		if !l.live() {
			continue
		}
		pl := b.place(l.Location)
		pl.rev = max(pl.rev+1, uint64(max(e.UpdatedUS, b.nowUS, 0)))
		switch {
		case !e.task(l):
		case sign > 0:
			pl.tasks.add(e)
		default:
			pl.tasks.drop(e)
		}
		l.each(func(k Key, q protocol.Quantity) {
			p := pl.skus[k.SKU]
			if p == nil {
				p = &position{key: Key{pl.name, k.SKU}}
				pl.skus[k.SKU] = p
			}
			p.weigh(e, l, sign*q, sign)
			b.touch(p.key)
		})
		if len(l.Parts) == 0 { // one copy of the names
			l.Location, l.SKU = pl.name, pl.skus[l.SKU].key.SKU
		}
	}
}

func (p *position) weigh(e *entry, l *Line, q, sign protocol.Quantity) {
	if l.reserves() {
		p.reserved += q
	} else {
		p.allocated += q
	}
	if l.Risk {
		p.risk += int(sign)
	}
	if sign > 0 {
		p.by.add(e)
	} else {
		p.by.drop(e)
	}
}

// tidy drops the positions that nobody holds any more.
func (b *Book) tidy(was []Line) {
	for i := range was {
		l := &was[i]
		if !l.live() {
			continue
		}
		l.each(func(k Key, _ protocol.Quantity) {
			if p := b.position(k); p != nil && p.by.len() == 0 {
				delete(b.places[k.Location].skus, k.SKU)
			}
		})
	}
}

func (b *Book) touch(k Key) {
	if b.touched = append(b.touched, k); len(b.touched) >= b.unique {
		b.compact()
		b.unique = max(touchedMin, 2*len(b.touched))
	}
}

func (b *Book) compact() {
	slices.SortFunc(b.touched, Key.compare)
	b.touched = slices.Compact(b.touched)
}

// TakeTouched returns the positions whose holds changed since the last call, each
// once, in order; and those in conflict that the last look did not come to.
func (b *Book) TakeTouched() []Key {
	b.touched = append(b.touched, b.later...)
	b.compact()
	out := slices.Clone(b.touched)
	if b.touched = b.touched[:0]; cap(b.touched) > touchedMin {
		b.touched = nil
	}
	b.unique = touchedMin
	return out
}

// Advance drops what has expired by now. Decisions and reads do it themselves;
// nothing depends on its being called in time.
func (b *Book) Advance(nowUS int64) {
	b.nowUS = max(b.nowUS, nowUS)
	for b.expiries.due(b.nowUS) {
		b.expire(b.expiries.list[0])
	}
	for b.closed.due(b.nowUS-rememberUS-1) || b.closed.Len() > closedMax {
		e := b.closed.list[0]
		e.enqueue(nil, 0)
		b.forget(e)
	}
}

func (b *Book) expire(e *entry) {
	r := e.copy(e.ExpiresUS)
	for i := range r.Lines {
		if l := &r.Lines[i]; l.reserves() {
			l.State, l.Risk = protocol.ReservationExpired, false
		}
	}
	r.ExpiresUS = 0
	b.put(r)
}

// NextExpiry is when something expires next.
func (b *Book) NextExpiry() (us int64, ok bool) {
	if b.expiries.Len() == 0 {
		return 0, false
	}
	return b.expiries.list[0].dueUS, true
}

// Settle ends a start-up: locations are told anew from nowUS on. What the replay
// of the log changed stays to be written: no checkpoint has it yet.
func (b *Book) Settle(nowUS int64) {
	b.baseRev = uint64(max(nowUS, 1))
	b.touched = b.touched[:0]
}
