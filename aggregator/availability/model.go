package availability

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tillwire/aggregator/demand"
	"tillwire/protocol"
)

// Cell is what the writer tells of one (location, SKU).
type Cell struct {
	Location      protocol.StoreID
	SKU           protocol.SKU
	OnHand        protocol.Quantity
	Unavailable   protocol.Quantity                                  // the sum, which counts
	UnavailableBy [protocol.DispositionsUnsellable]protocol.Quantity // damaged, quarantine, unknown
	InTransit     protocol.Quantity
	Incoming      protocol.Quantity
	Reserved      protocol.Quantity
	Allocated     protocol.Quantity
	Rate          float32 // demand, base units per hour; 0 = none known
	LastUS        int64   // greatest event time folded in; kept to the second
	CountedUS     int64   // of the last count; 0 = never; kept to the second
}

// Model is the read model. Apply, Applied and AppliedMark belong to one
// goroutine; everything else may be called by any.
type Model struct {
	now   func() time.Time
	table atomic.Pointer[table]
	locs  atomic.Pointer[places]
	set   atomic.Pointer[settings]
	count atomic.Int64 // SKUs
	cells atomic.Int64

	byName sync.Map // protocol.StoreID → uint32, read-mostly

	grow    sync.Mutex // guards adding locations and changing settings
	changes changes
	feed    feed
	arrived arrived
}

// New makes an empty model on a clock.
func New(now func() time.Time) *Model {
	m := &Model{now: now}
	m.table.Store(newTable(1024))
	m.locs.Store(&places{})
	m.set.Store(&settings{buffer: demand.Buffer})
	nowUS := now().UnixMicro()
	m.changes.init(nowUS)
	m.feed.init(nowUS)
	return m
}

// SKUs is how many there are.
func (m *Model) SKUs() int { return int(m.count.Load()) }

// Cells is how many (location, SKU) pairs there are.
func (m *Model) Cells() int { return int(m.cells.Load()) }

// Apply publishes changed cells. Cells of one SKU that stand together are
// published together: no reader sees half of them.
func (m *Model) Apply(cells []Cell) {
	s := m.set.Load()
	for i := 0; i < len(cells); {
		e := m.entryOf(cells[i].SKU)
		e.ver.Add(1)
		before := len(*e.cells.Load())
		k := i
		for ; k < len(cells) && cells[k].SKU == e.sku; k++ {
			e.put(m.locationOf(cells[k].Location), &cells[k])
		}
		m.cells.Add(int64(len(*e.cells.Load()) - before))
		e.ver.Add(1)
		m.note(s, e)
		i = k
	}
	if len(cells) > 0 {
		m.changes.wake()
	}
}

func (m *Model) entryOf(sku protocol.SKU) *entry {
	t, h := m.table.Load(), maphash.String(seed, string(sku))
	if e := t.find(sku, h); e != nil {
		return e
	}
	if n := m.count.Add(1); uint64(n)*4 > uint64(len(t.slots))*3 {
		bigger := newTable(len(t.slots) * 2)
		for i := range t.slots {
			if e := t.slots[i].Load(); e != nil {
				bigger.insert(e)
			}
		}
		m.table.Store(bigger)
		t = bigger
	}
	e := &entry{sku: sku, hash: h}
	e.cells.Store(&[]cell{})
	t.insert(e)
	return e
}

// find returns the entry of a SKU, or nil.
func (m *Model) find(sku protocol.SKU) *entry {
	return m.table.Load().find(sku, maphash.String(seed, string(sku)))
}

// Search lists SKUs that start with prefix, sorted, at most limit.
func (m *Model) Search(prefix string, limit int) []protocol.SKU {
	limit = min(limit, searchMax)
	var out []protocol.SKU
	t := m.table.Load()
	for i := range t.slots {
		if e := t.slots[i].Load(); e != nil && strings.HasPrefix(string(e.sku), prefix) {
			if out = append(out, e.sku); len(out) >= searchMax {
				break
			}
		}
	}
	slices.Sort(out)
	return out[:min(limit, len(out))]
}
