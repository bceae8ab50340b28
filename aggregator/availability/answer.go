package availability

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"tillwire/protocol"
)

// share is one location's part of an answer.
type share struct {
	name protocol.StoreID
	kind string
	head string // of its JSON
	Promise
}

// look is one reading of a SKU: its locations in order of name. Looks are used
// again and again, so that a reading allocates nothing.
type look struct {
	nowUS  int64
	rows   []row
	shares []share
	parts  []protocol.KitComponent // of a kit; nil otherwise
	kit    []kitShare              // scratch

	where   []protocol.StoreID // asked for; none: all
	channel string
	one     uint32 // the location, where there is one such
	isOne   bool

	alpha     float64 // the service level last written, and its text
	alphaText []byte
	now, asOf moment // last written
	lagS      float64
	lagText   []byte
}

// moment is a time and its text.
type moment struct {
	us   int64
	text []byte
}

var lookPool = sync.Pool{New: func() any { return new(look) }}

// look begins a reading at the locations named or at all, as a channel sees them: all
// of it is of one moment.
func (m *Model) look(at []protocol.StoreID, channel string) *look {
	v := lookPool.Get().(*look)
	m.begin(v, at, channel)
	return v
}

func (m *Model) begin(v *look, at []protocol.StoreID, channel string) {
	v.nowUS, v.where, v.channel, v.isOne = m.now().UnixMicro(), at, channel, false
	if len(at) == 1 {
		if i, ok := m.byName.Load(at[0]); ok {
			v.one, v.isOne = i.(uint32), true
		}
	}
}

// read fills v with a SKU, as v was begun. False when nobody ever had it.
func (m *Model) read(v *look, sku protocol.SKU) bool {
	v.shares, v.parts = v.shares[:0], nil
	s := m.set.Load()
	if s.kits != nil {
		if v.parts = s.kits(sku); len(v.parts) > 0 {
			m.readKit(v, s)
			return true
		}
		v.parts = nil
	}
	e := m.find(sku)
	if e == nil || len(*e.cells.Load()) == 0 { // what was a kit once leaves an entry behind
		return false
	}
	m.readEntry(v, s, e)
	return true
}

func (m *Model) readEntry(v *look, s *settings, e *entry) {
	v.rows = m.rows(v, e)
	p := m.locs.Load() // after the rows: it knows all their locations
	if len(v.rows) > 1 {
		slices.SortFunc(v.rows, func(x, y row) int { return cmp.Compare(p.rank[x.loc], p.rank[y.loc]) })
	}
	v.shares = slices.Grow(v.shares[:0], len(v.rows))[:len(v.rows)]
	h := s.holdbacks(e, e.sku, v.nowUS)
	for i := range v.rows {
		r, x := &v.rows[i], &v.shares[i]
		l := p.list[r.loc]
		state, held := l.state.Load(), &h.Default
		if len(h.At) > 0 {
			held = h.For(l.name)
		}
		x.name, x.kind, x.head = l.name, state.Type, state.head
		s.promise(&x.Promise, r, state, held, v.channel, v.nowUS)
	}
}

func (m *Model) rows(v *look, e *entry) []row {
	switch {
	case len(v.where) == 0:
		return e.view(v.rows, nil)
	case v.isOne:
		if r, ok := e.viewOne(v.one); ok {
			return append(v.rows[:0], r)
		}
		return v.rows[:0]
	}
	want := make(map[uint32]bool, len(v.where))
	for _, name := range v.where {
		if i, ok := m.byName.Load(name); ok {
			want[i.(uint32)] = true
		}
	}
	return e.view(v.rows, func(loc uint32) bool { return want[loc] })
}

// Get answers for one SKU, at the locations named or at all, to nobody in
// particular: nothing is fenced off. False when no location ever had it.
func (m *Model) Get(sku protocol.SKU, at []protocol.StoreID) (protocol.Availability, bool) {
	return m.GetFor(sku, at, "")
}

// GetFor is Get as a channel sees it.
func (m *Model) GetFor(sku protocol.SKU, at []protocol.StoreID, channel string) (protocol.Availability, bool) {
	v := m.look(at, channel)
	defer v.done()
	if !m.read(v, sku) {
		return protocol.Availability{}, false
	}
	a := protocol.Availability{
		SKU: sku, AsOf: time.UnixMicro(v.nowUS).UTC(), Locations: make([]protocol.AvailabilityLocation, len(v.shares)),
		Channel: channel, Kit: v.parts != nil, Components: v.parts,
	}
	for i := range v.shares {
		a.Locations[i] = v.shares[i].answer()
		add(&a.Totals, &v.shares[i].Promise)
	}
	return a, true
}

func (v *look) done() {
	v.where = nil // the caller's
	lookPool.Put(v)
}

// Share is one location's part, for callers in the process.
type Share struct {
	Location protocol.StoreID
	Group    string
	Promise
}

// Each gives a SKU's locations in order of name, as a channel sees them; false
// when nobody ever had it.
func (m *Model) Each(sku protocol.SKU, channel string, f func(s *Share)) bool {
	v := m.look(nil, channel)
	defer v.done()
	if !m.read(v, sku) {
		return false
	}
	for i := range v.shares {
		x := &v.shares[i]
		f(&Share{Location: x.name, Group: m.stateOf(x.name).Group, Promise: x.Promise})
	}
	return true
}

func (p *Promise) quantities() protocol.Quantities {
	return protocol.Quantities{
		OnHand: p.OnHand, Reserved: p.Reserved, Allocated: p.Allocated, SafetyStock: p.Safety,
		InTransit: p.InTransit, Unavailable: p.Unavailable,
	}
}

func (x *share) answer() protocol.AvailabilityLocation {
	return protocol.AvailabilityLocation{
		Location: x.name, Type: x.kind, Quantities: x.quantities(), RiskBuffer: x.RiskBuffer, Available: x.Available,
		AsOf: time.UnixMicro(x.AsOfUS).UTC(), LagS: x.LagS, Provisional: x.Provisional,
		Fenced: x.FencedForOthers, Incoming: x.Incoming, Dark: x.Dark,
		UnavailableBy: protocol.UnavailableOf(x.UnavailableBy), ServiceLevel: x.Alpha,
	}
}

func add(t *protocol.AvailabilityTotals, p *Promise) {
	t.OnHand += p.OnHand
	t.Reserved += p.Reserved
	t.Allocated += p.Allocated
	t.SafetyStock += p.Safety
	t.InTransit += p.InTransit
	t.Unavailable += p.Unavailable
	t.Available += p.Available
	t.RiskBuffer += p.RiskBuffer
	t.Fenced += p.FencedForOthers
	t.Incoming += p.Incoming
}
