package simulator

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tillwire/protocol"
)

// oracle is the simulator's own truth. It is told of every document that an
// agent acknowledged, and of nothing else, and adds up what that means for each
// shelf. It knows no epochs, frames or cuts: a count is simply what was on the
// shelf at a moment, and a movement happened before or after that moment.
type oracle struct {
	horizon time.Duration // how far back a late count may look

	mu     sync.Mutex
	stores map[protocol.StoreID]*truth
}

// truth is one store's.
type truth struct {
	mu       sync.Mutex
	seqs     seqSet // given to documents
	reused   int    // seqs given to two documents: never
	repeats  uint64 // answers marked as duplicates
	cells    map[protocol.SKU]*cell
	recent   []movement // newest last; kept for truthHorizon to judge late counts
	lastAt   time.Time
	byKind   map[string]uint64
	recorded uint64 // distinct documents
	sweepAt  int    // movements remembered, above which old ones are looked for
}

// cell is one (store, SKU).
type cell struct {
	sum     protocol.Quantity
	counted time.Time // last count; zero = never
}

type movement struct {
	at    time.Time
	sku   protocol.SKU
	delta protocol.Quantity
}

// recentMin movements are remembered whatever their age.
const recentMin = 512

func newOracle() *oracle {
	return &oracle{horizon: truthHorizon, stores: make(map[protocol.StoreID]*truth)}
}

func (o *oracle) store(s protocol.StoreID) *truth {
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.stores[s]
	if t == nil {
		t = &truth{
			cells:  make(map[protocol.SKU]*cell),
			byKind: make(map[string]uint64), sweepAt: recentMin,
		}
		o.stores[s] = t
	}
	return t
}

// recordRepeat notes that an agent answered "duplicate", which must move nothing.
func (o *oracle) recordRepeat(s protocol.StoreID) {
	t := o.store(s)
	t.mu.Lock()
	t.repeats++
	t.mu.Unlock()
}

// recordSeq notes a seq given by an agent to a document. A document whose
// effects are not known to the caller (POSLog) is recorded by its seq alone.
func (o *oracle) recordSeq(s protocol.StoreID, kind string, seq uint64) {
	t := o.store(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recorded++
	t.byKind[kind]++
	if !t.seqs.add(seq) {
		t.reused++
	}
}

// record notes an acknowledged document: its seq and what it did.
func (o *oracle) record(s protocol.StoreID, d *document, seq uint64) {
	o.recordSeq(s, d.kind, seq)
	t := o.store(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take(d)
	t.forget(o.horizon)
}

// recordFed notes a document that a feed took: it has effects, and no seq that a
// till was told of.
func (o *oracle) recordFed(s protocol.StoreID, d *document) {
	t := o.store(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recorded++
	t.byKind[d.kind]++
	t.take(d)
}

// onHand is one cell's truth now.
func (o *oracle) onHand(s protocol.StoreID, sku protocol.SKU) protocol.Quantity {
	t := o.store(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.cells[sku]; c != nil {
		return c.sum
	}
	return 0
}

func (t *truth) take(d *document) {
	for _, e := range d.effects {
		if e.Count {
			t.count(e.SKU, d.at, e.Delta)
		} else {
			t.move(e.SKU, d.at, e.Delta)
		}
	}
	if d.at.After(t.lastAt) {
		t.lastAt = d.at
	}
}

// move adds a movement, unless the shelf was counted after it: then the count
// has seen it already.
func (t *truth) move(sku protocol.SKU, at time.Time, delta protocol.Quantity) {
	c := t.cell(sku)
	t.recent = append(t.recent, movement{at: at, sku: sku, delta: delta})
	if at.After(c.counted) {
		c.sum += delta
	}
}

// count replaces the sum by what was seen at a moment, plus what is known to
// have moved since.
func (t *truth) count(sku protocol.SKU, at time.Time, seen protocol.Quantity) {
	c := t.cell(sku)
	if !at.After(c.counted) {
		return
	}
	c.counted, c.sum = at, seen
	for i := range t.recent {
		if m := &t.recent[i]; m.sku == sku && m.at.After(at) {
			c.sum += m.delta
		}
	}
}

func (t *truth) cell(sku protocol.SKU) *cell {
	c := t.cells[sku]
	if c == nil {
		c = &cell{}
		t.cells[sku] = c
	}
	return c
}

// forget drops movements that no count can still ask about.
func (t *truth) forget(horizon time.Duration) {
	if len(t.recent) < t.sweepAt {
		return
	}
	limit := t.lastAt.Add(-horizon)
	kept := slices.DeleteFunc(t.recent, func(m movement) bool { return m.at.Before(limit) })
	t.recent = kept
	t.sweepAt = max(recentMin, 2*len(kept))
}

// shelf is one row of the truth, for comparing.
type shelf struct {
	Store  protocol.StoreID
	SKU    protocol.SKU
	OnHand protocol.Quantity
	known  bool // by the chain; set when compared
}

// shelves lists every cell that a document ever named, in order.
func (o *oracle) shelves() []shelf {
	var out []shelf
	for _, s := range o.names() {
		t := o.store(s)
		t.mu.Lock()
		for sku, c := range t.cells {
			out = append(out, shelf{Store: s, SKU: sku, OnHand: c.sum})
		}
		t.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b shelf) int {
		return cmp.Or(cmp.Compare(a.Store, b.Store), cmp.Compare(a.SKU, b.SKU))
	})
	return out
}

func (o *oracle) names() []protocol.StoreID {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]protocol.StoreID, 0, len(o.stores))
	for s := range o.stores {
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// tally is one store's figures of acknowledged documents.
type tally struct {
	Documents uint64 // distinct, acknowledged
	Head      uint64 // highest seq given
	Missing   uint64 // seqs below Head that nobody was told of
	Reused    int
	Repeats   uint64
}

func (o *oracle) tally(s protocol.StoreID) tally {
	t := o.store(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	head, given := t.seqs.head()
	return tally{Documents: t.recorded, Head: head, Missing: head - given, Reused: t.reused, Repeats: t.repeats}
}

// total adds the tallies up; Head is meaningless in it.
func (o *oracle) total() tally {
	var sum tally
	for _, s := range o.names() {
		t := o.tally(s)
		sum.Documents += t.Documents
		sum.Missing += t.Missing
		sum.Reused += t.Reused
		sum.Repeats += t.Repeats
	}
	return sum
}

// kinds counts acknowledged documents by kind.
func (o *oracle) kinds() map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range o.names() {
		t := o.store(s)
		t.mu.Lock()
		for k, n := range t.byKind {
			out[k] += n
		}
		t.mu.Unlock()
	}
	return out
}
