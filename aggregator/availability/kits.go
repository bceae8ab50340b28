package availability

import "tillwire/protocol"

// UseKits names who knows the bills of materials: for a kit, the parts down to
// what has stock of its own; nil for anything else. Any goroutine may ask, at
// each reading. What is returned is never changed.
func (m *Model) UseKits(parts func(sku protocol.SKU) []protocol.KitComponent) {
	m.change(func(s *settings) { s.kits = parts })
}

// UseKitsOf names who knows which kits a SKU is part of, so that they count as
// changed when it does. The writer asks, at each change.
func (m *Model) UseKitsOf(kits func(part protocol.SKU) []protocol.SKU) {
	m.change(func(s *settings) { s.kitsOf = kits })
}

// kitShare gathers what one location's parts make.
type kitShare struct {
	parts int   // of the bill, found here
	kits  int64 // that the scarcest of them makes
	Promise
}

// readKit fills v with a kit. It is available where every part of it ever was:
// as many whole kits as the scarcest part makes. Each part is read at one moment,
// the parts one after another. Policies of the parts count, the kit's own do not:
// what is held back of a part is held back once.
func (m *Model) readKit(v *look, s *settings) {
	clear(v.kit)
	bill := 0
	for i := range v.parts {
		per := perKit(v.parts, i)
		if per <= 0 {
			continue
		}
		bill++
		e := m.find(v.parts[i].SKU)
		if e == nil {
			v.shares = v.shares[:0]
			return
		}
		m.readEntry(v, s, e)
		if n := len(m.locs.Load().list); n > len(v.kit) {
			v.kit = append(v.kit, make([]kitShare, n-len(v.kit))...)
		}
		for k := range v.shares {
			v.kit[v.rows[k].loc].take(&v.shares[k].Promise, per)
		}
	}
	n := 0
	for k := range v.shares { // the last part's locations: a kit is nowhere else
		if g := &v.kit[v.rows[k].loc]; g.parts == bill {
			v.shares[n] = v.shares[k]
			v.shares[n].Promise = g.Promise
			n++
		}
	}
	v.shares = v.shares[:n]
}

// perKit is how much of part i a kit takes: all lines of its SKU together, for
// the first of them; 0 for the others.
func perKit(parts []protocol.KitComponent, i int) (sum protocol.Quantity) {
	for k := range parts {
		if parts[k].SKU == parts[i].SKU {
			if k < i {
				return 0
			}
			sum += parts[k].Quantity
		}
	}
	return sum
}

// take adds a part. What is oldest and worst of the parts is the kit's.
func (g *kitShare) take(p *Promise, per protocol.Quantity) {
	n := int64(p.Available / per)
	if g.parts == 0 {
		*g = kitShare{kits: n, Promise: Promise{AsOfUS: p.AsOfUS, LagS: p.LagS}}
	}
	g.parts++
	g.kits = min(g.kits, n)
	g.Available = protocol.Units(g.kits)
	g.Free = g.Available
	g.AsOfUS, g.LagS = min(g.AsOfUS, p.AsOfUS), max(g.LagS, p.LagS)
	g.Dark, g.Provisional = g.Dark || p.Dark, g.Provisional || p.Provisional
}
