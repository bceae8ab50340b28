package availability

import (
	"slices"
	"sync/atomic"

	"tillwire/protocol"
)

// LocationState is how much is known of a location.
type LocationState struct {
	Type        string        // store | dc; "" leaves it as it was
	WatermarkUS int64         // the last moment at which nothing is missing; 0 = not known
	Provisional bool          // more is known to be on its way
	Feed        bool          // told by a feed: silence is not darkness
	Profile     *[168]float32 // demand by hour of the local week, never changed; nil = even
	OffsetMin   int           // of local time from UTC, minutes
	Group       string        // which sourcing and ?group= name; "" = none

	head string // of its JSON: name and type, which do not change with what is asked
}

// location is a place; its state changes, its name does not.
type location struct {
	name  protocol.StoreID
	state atomic.Pointer[LocationState] // immutable
}

// places are the locations by number, in order of coming, and the rank of each
// among their names. Immutable.
type places struct {
	list []*location
	rank []uint32
}

// with is p and one more.
func (p *places) with(l *location) *places {
	n := len(p.list)
	q := &places{list: append(slices.Clip(p.list), l), rank: append(slices.Clip(p.rank), 0)}
	below := uint32(0)
	for i := range n {
		if p.list[i].name < l.name {
			below++
		} else {
			q.rank[i]++
		}
	}
	q.rank[n] = below
	return q
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
	l, s := &location{name: name}, unknownLocation
	s.head = headOf(name, s.Type)
	l.state.Store(&s)
	p := m.locs.Load().with(l)
	m.locs.Store(p)
	i := uint32(len(p.list) - 1)
	m.byName.Store(name, i)
	return i
}

var unknownLocation = LocationState{Type: "store", Provisional: true}

// SetLocation tells how much is known of a location, whole.
func (m *Model) SetLocation(name protocol.StoreID, s LocationState) {
	i := m.locationOf(name) // may publish a longer list
	l := m.locs.Load().list[i]
	old := l.state.Load()
	if s.Type == "" {
		s.Type = old.Type
	}
	if s.head = old.head; s.Type != old.Type {
		s.head = headOf(name, s.Type)
	}
	if *old != s {
		l.state.Store(&s)
	}
}

// stateOf is a location's state by name.
func (m *Model) stateOf(name protocol.StoreID) *LocationState {
	if i, ok := m.byName.Load(name); ok {
		return m.locs.Load().list[i.(uint32)].state.Load()
	}
	return &unknownLocation
}

// InGroup lists the locations of a group, in order of name.
func (m *Model) InGroup(group string) []protocol.StoreID {
	var out []protocol.StoreID
	for _, l := range m.locs.Load().list {
		if l.state.Load().Group == group {
			out = append(out, l.name)
		}
	}
	slices.Sort(out)
	return out
}
