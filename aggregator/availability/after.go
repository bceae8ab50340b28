package availability

import (
	"slices"

	"tillwire/protocol"
)

// After lists the SKUs behind one in order of name, at most limit: who wants to read
// all of them asks again behind the last. One that is new meanwhile is among the
// changes.
func (m *Model) After(sku protocol.SKU, limit int) []protocol.SKU {
	var out []protocol.SKU
	most, bounded := protocol.SKU(""), false // once limit were found: what is larger is not among the first
	t := m.table.Load()
	for i := range t.slots {
		e := t.slots[i].Load()
		if e == nil || e.sku <= sku || bounded && e.sku >= most {
			continue
		}
		if out = append(out, e.sku); len(out) >= 2*limit {
			slices.Sort(out)
			out = out[:limit]
			most, bounded = out[limit-1], true
		}
	}
	slices.Sort(out)
	return out[:min(limit, len(out))]
}
