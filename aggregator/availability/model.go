package availability

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tillwire/protocol"
)

// Cell is what the writer tells of one (location, SKU).
type Cell struct {
	Location    protocol.StoreID
	SKU         protocol.SKU
	OnHand      protocol.Quantity
	Unavailable protocol.Quantity
	InTransit   protocol.Quantity
	Reserved    protocol.Quantity
	Allocated   protocol.Quantity
	SafetyStock protocol.Quantity
	LastUS      int64 // greatest event time folded in
}

// LocationState is how much is known of a location.
type LocationState struct {
	Type        string // store | dc
	WatermarkUS int64  // the last moment at which nothing is missing; 0 = not known
	Provisional bool   // more is known to be on its way
}

// location is a place; its state changes, its name does not.
type location struct {
	name        protocol.StoreID
	kind        atomic.Pointer[string]
	watermarkUS atomic.Int64
	provisional atomic.Bool
}

// Model is the read model. Apply belongs to one goroutine; everything else may
// be called by any.
type Model struct {
	now   func() time.Time
	table atomic.Pointer[table]
	locs  atomic.Pointer[[]*location]
	count atomic.Int64 // SKUs
	cells atomic.Int64

	byName sync.Map // protocol.StoreID → uint32, read-mostly

	grow    sync.Mutex // guards adding locations, by Apply and SetLocation
	changes changes
}

// New makes an empty model on a clock.
func New(now func() time.Time) *Model {
	m := &Model{now: now}
	m.table.Store(newTable(1024))
	m.locs.Store(&[]*location{})
	m.changes.init()
	return m
}

// SKUs is how many there are.
func (m *Model) SKUs() int { return int(m.count.Load()) }

// Cells is how many (location, SKU) pairs there are.
func (m *Model) Cells() int { return int(m.cells.Load()) }

// Apply publishes changed cells. Cells of one SKU that stand together are
// published together: no reader sees half of them.
func (m *Model) Apply(cells []Cell) {
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
		m.changes.note(e.sku)
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

func (m *Model) locationOf(name protocol.StoreID) uint32 {
	if i, ok := m.byName.Load(name); ok {
		return i.(uint32)
	}
	m.grow.Lock()
	defer m.grow.Unlock()
	if i, ok := m.byName.Load(name); ok {
		return i.(uint32)
	}
	l := &location{name: name}
	kind := "store"
	l.kind.Store(&kind)
	l.provisional.Store(true)
	locs := append(slices.Clip(*m.locs.Load()), l)
	m.locs.Store(&locs)
	i := uint32(len(locs) - 1)
	m.byName.Store(name, i)
	return i
}

// SetLocation tells how much is known of a location.
func (m *Model) SetLocation(name protocol.StoreID, s LocationState) {
	i := m.locationOf(name) // may publish a longer list
	l := (*m.locs.Load())[i]
	if s.Type != "" && *l.kind.Load() != s.Type {
		l.kind.Store(&s.Type)
	}
	l.watermarkUS.Store(s.WatermarkUS)
	l.provisional.Store(s.Provisional)
}

// find returns the entry of a SKU, or nil.
func (m *Model) find(sku protocol.SKU) *entry {
	return m.table.Load().find(sku, maphash.String(seed, string(sku)))
}

func (m *Model) rows(e *entry, at []protocol.StoreID, into []row) []row {
	if len(at) == 0 {
		return e.view(into, nil)
	}
	if len(at) == 1 {
		i, ok := m.byName.Load(at[0])
		if !ok {
			return into[:0]
		}
		if r, ok := e.viewOne(i.(uint32)); ok {
			return append(into[:0], r)
		}
		return into[:0]
	}
	want := make(map[uint32]bool, len(at))
	for _, name := range at {
		if i, ok := m.byName.Load(name); ok {
			want[i.(uint32)] = true
		}
	}
	return e.view(into, func(loc uint32) bool { return want[loc] })
}

// Get answers for one SKU, at the locations named or at all; false when no
// location ever had it.
func (m *Model) Get(sku protocol.SKU, at []protocol.StoreID) (protocol.Availability, bool) {
	e := m.find(sku)
	if e == nil {
		return protocol.Availability{}, false
	}
	rows := m.rows(e, at, nil)
	nowUS := m.now().UnixMicro()
	locs := *m.locs.Load()
	a := protocol.Availability{SKU: sku, AsOf: time.UnixMicro(nowUS).UTC(), Locations: make([]protocol.AvailabilityLocation, len(rows))}
	for i := range rows {
		a.Locations[i] = locs[rows[i].loc].answer(&rows[i], nowUS)
		add(&a.Totals, &a.Locations[i])
	}
	slices.SortFunc(a.Locations, func(x, y protocol.AvailabilityLocation) int {
		return strings.Compare(string(x.Location), string(y.Location))
	})
	return a, true
}

// answer computes what a channel may promise of one location.
func (l *location) answer(r *row, nowUS int64) protocol.AvailabilityLocation {
	asOf := l.watermarkUS.Load()
	provisional := l.provisional.Load()
	if asOf == 0 {
		asOf = r.lastUS
	}
	return protocol.AvailabilityLocation{
		Location: l.name, Type: *l.kind.Load(),
		Quantities: protocol.Quantities{
			OnHand: r.onHand, Reserved: r.reserved, Allocated: r.allocated, SafetyStock: r.safety,
			InTransit: r.inTransit, Unavailable: r.unavailable,
		},
		Available: max(0, r.onHand-r.unavailable-r.reserved-r.allocated-r.safety),
		AsOf:      time.UnixMicro(asOf).UTC(), LagS: float64(max(0, nowUS-asOf)/1000) / 1000, Provisional: provisional,
	}
}

func add(t *protocol.AvailabilityTotals, l *protocol.AvailabilityLocation) {
	t.OnHand += l.OnHand
	t.Reserved += l.Reserved
	t.Allocated += l.Allocated
	t.SafetyStock += l.SafetyStock
	t.InTransit += l.InTransit
	t.Unavailable += l.Unavailable
	t.Available += l.Available
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
