package availability

import (
	"hash/maphash"
	"math"
	"runtime"
	"sync/atomic"

	"tillwire/protocol"
)

// cell is one location's numbers of a SKU in 32 bytes:
//
//	key    location (32 bits) ‖ rate as the bits of a float32
//	onHand
//	times  last event (s since 1970) ‖ last count (s since 1970; 0 = never)
//	more   nil for most
//
// Seconds in 32 bits reach 2106, and events end with 2099. Most cells have an on
// hand and nothing else; the rest stands aside.
type cell struct {
	key    atomic.Uint64
	onHand atomic.Int64
	times  atomic.Uint64
	more   atomic.Pointer[more]
}

// more are the rarer numbers: 64 bytes, immutable once published.
type more struct {
	unavailable, inTransit, incoming, reserved, allocated protocol.Quantity
	by                                                    [protocol.DispositionsUnsellable]protocol.Quantity
}

// row is a cell's copy.
type row struct {
	loc            uint32
	rate           float32
	lastS, counted uint32
	onHand         protocol.Quantity
	more
}

// entry is a SKU. ver is odd while the writer changes its cells; readers copy
// and look again (a sequence lock).
type entry struct {
	sku    protocol.SKU
	hash   uint64
	ver    atomic.Uint64
	cells  atomic.Pointer[[]cell] // sorted by location
	rules  atomic.Pointer[resolved]
	noted  uint64  // cursor of its last change; the writer's alone
	states []State // per watch; the follower's alone
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
			ok := i < len(cells) && cells[i].loc() == loc
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
		if match == nil || match(cells[i].loc()) {
			into = append(into, cells[i].row())
		}
	}
	return into
}

func (c *cell) loc() uint32 { return uint32(c.key.Load()) }

func (c *cell) row() row {
	key, times := c.key.Load(), c.times.Load()
	r := row{
		loc: uint32(key), rate: math.Float32frombits(uint32(key >> 32)), lastS: uint32(times), counted: uint32(times >> 32),
		onHand: protocol.Quantity(c.onHand.Load()),
	}
	if m := c.more.Load(); m != nil {
		r.more = *m
	}
	return r
}

// rowOf is what a reader sees of a cell once it is applied.
func rowOf(loc uint32, u *Cell) row {
	return row{
		loc: loc, rate: u.Rate, lastS: seconds(u.LastUS), counted: seconds(u.CountedUS), onHand: u.OnHand,
		more: more{
			unavailable: u.Unavailable, inTransit: u.InTransit, incoming: u.Incoming, reserved: u.Reserved, allocated: u.Allocated,
			by: u.UnavailableBy,
		},
	}
}

// seconds cuts a time to the second: knowledge is never shown newer than it is.
func seconds(us int64) uint32 { return uint32(min(max(us, 0)/usPerS, math.MaxUint32)) }

func search(cells []cell, loc uint32) int {
	lo, hi := 0, len(cells)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if cells[mid].loc() < loc {
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
	if i == len(cells) || cells[i].loc() != loc {
		cells = e.widen(cells, i, loc)
	}
	c, r := &cells[i], rowOf(loc, u)
	c.key.Store(uint64(loc) | uint64(math.Float32bits(r.rate))<<32)
	c.onHand.Store(int64(r.onHand))
	c.times.Store(uint64(r.lastS) | uint64(r.counted)<<32)
	switch old := c.more.Load(); {
	case r.more == more{}:
		if old != nil {
			c.more.Store(nil)
		}
	case old == nil || *old != r.more:
		m := r.more
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
	cells[i].key.Store(uint64(loc))
	e.cells.Store(&cells)
	return cells
}

func (c *cell) set(o *cell) {
	c.key.Store(o.key.Load())
	c.onHand.Store(o.onHand.Load())
	c.times.Store(o.times.Load())
	c.more.Store(o.more.Load())
}
