package availability

import (
	"hash/maphash"
	"runtime"
	"sync/atomic"

	"tillwire/protocol"
)

// cell is one location's numbers of a SKU: 32 bytes. Most cells have an on
// hand and nothing else; the rest stands aside.
type cell struct {
	loc    atomic.Uint32
	onHand atomic.Int64
	lastUS atomic.Int64
	more   atomic.Pointer[more]
}

// more are the rarer numbers; immutable once published.
type more struct{ unavailable, inTransit, reserved, allocated, safety protocol.Quantity }

// entry is a SKU. ver is odd while the writer changes its cells; readers copy
// and look again (a sequence lock).
type entry struct {
	sku   protocol.SKU
	hash  uint64
	ver   atomic.Uint64
	cells atomic.Pointer[[]cell] // sorted by loc
}

// table is an open-addressing hash table of SKUs: readers probe it without
// locks, the one writer inserts, and growing publishes a new one.
type table struct {
	mask  uint64
	slots []atomic.Pointer[entry]
}

var seed = maphash.MakeSeed()

func newTable(size int) *table {
	return &table{mask: uint64(size - 1), slots: make([]atomic.Pointer[entry], size)}
}

func (t *table) find(sku protocol.SKU, hash uint64) *entry {
	for i := hash & t.mask; ; i = (i + 1) & t.mask {
		e := t.slots[i].Load()
		if e == nil || (e.hash == hash && e.sku == sku) {
			return e
		}
	}
}

func (t *table) insert(e *entry) {
	i := e.hash & t.mask
	for t.slots[i].Load() != nil {
		i = (i + 1) & t.mask
	}
	t.slots[i].Store(e)
}

// view copies what match selects of the entry's cells at one moment.
func (e *entry) view(into []row, match func(loc uint32) bool) []row {
	for {
		v := e.ver.Load()
		if v&1 == 0 {
			into = e.copyCells(into[:0], match)
			if e.ver.Load() == v {
				return into
			}
		}
		runtime.Gosched()
	}
}

// viewOne copies the cell of one location.
func (e *entry) viewOne(loc uint32) (row, bool) {
	for {
		v := e.ver.Load()
		if v&1 == 0 {
			cells := *e.cells.Load()
			i := search(cells, loc)
			ok := i < len(cells) && cells[i].loc.Load() == loc
			var r row
			if ok {
				r = cells[i].row()
			}
			if e.ver.Load() == v {
				return r, ok
			}
		}
		runtime.Gosched()
	}
}

func (e *entry) copyCells(into []row, match func(uint32) bool) []row {
	cells := *e.cells.Load()
	for i := range cells {
		if match == nil || match(cells[i].loc.Load()) {
			into = append(into, cells[i].row())
		}
	}
	return into
}

// row is a cell's copy.
type row struct {
	loc    uint32
	onHand protocol.Quantity
	lastUS int64
	more
}

func (c *cell) row() row {
	r := row{loc: c.loc.Load(), onHand: protocol.Quantity(c.onHand.Load()), lastUS: c.lastUS.Load()}
	if m := c.more.Load(); m != nil {
		r.more = *m
	}
	return r
}

func search(cells []cell, loc uint32) int {
	lo, hi := 0, len(cells)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if cells[mid].loc.Load() < loc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// put changes one location's numbers; the caller holds ver odd.
func (e *entry) put(loc uint32, u *Cell) {
	cells := *e.cells.Load()
	i := search(cells, loc)
	if i == len(cells) || cells[i].loc.Load() != loc {
		cells = e.widen(cells, i, loc)
	}
	c := &cells[i]
	c.onHand.Store(int64(u.OnHand))
	c.lastUS.Store(u.LastUS)
	m := more{u.Unavailable, u.InTransit, u.Reserved, u.Allocated, u.SafetyStock}
	switch old := c.more.Load(); {
	case m == more{}:
		if old != nil {
			c.more.Store(nil)
		}
	case old == nil || *old != m:
		c.more.Store(&m)
	}
}

// widen makes room for loc at i: in place while there is spare capacity (the
// caller holds ver odd, so readers look again), else in a copy a quarter larger.
func (e *entry) widen(old []cell, i int, loc uint32) []cell {
	n := len(old)
	cells := old
	if n < cap(old) {
		cells = old[:n+1]
	} else {
		cells = make([]cell, n+1, n+1+n/4)
		for k := range i {
			cells[k].set(&old[k])
		}
	}
	for k := n; k > i; k-- {
		cells[k].set(&old[k-1])
	}
	cells[i].set(&cell{})
	cells[i].loc.Store(loc)
	e.cells.Store(&cells)
	return cells
}

func (c *cell) set(o *cell) {
	c.loc.Store(o.loc.Load())
	c.onHand.Store(o.onHand.Load())
	c.lastUS.Store(o.lastUS.Load())
	c.more.Store(o.more.Load())
}
