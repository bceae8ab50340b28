package merge

import (
	"bytes"
	"sort"

	"tillwire/protocol"
)

// plain computes every position the slow way, from the whole set of records at
// once, following the inventory model's text. It shares nothing with the engine
// but the events.
func plain(js []*journal, w *world) map[string][3]protocol.Quantity {
	type fact struct {
		r    rec
		doc  *protocol.Event // whose lines apply (a void's original)
		sign protocol.Quantity
	}
	var facts []fact
	byDoc := map[string]*protocol.Event{}
	for _, j := range js {
		for i := range j.recs {
			r := &j.recs[i]
			byDoc[string(r.ev.Store)+"/"+r.ev.DocumentID] = &r.ev
		}
	}
	for _, j := range js {
		for _, r := range j.recs {
			f := fact{r: r, sign: 1}
			ev := r.ev
			f.doc = &ev
			if ev.Kind == protocol.KindVoid {
				f.doc, f.sign = byDoc[string(ev.Store)+"/"+ev.Voids], -1
			}
			facts = append(facts, f)
		}
	}
	out := map[string][3]protocol.Quantity{}
	for _, c := range w.cells {
		type group struct {
			qty          protocol.Quantity
			key, counted int64
			id           protocol.EventID
			cut          uint64
			origin       protocol.Origin
			cutless      bool
		}
		groups := map[string]*group{}
		for _, f := range facts {
			ev := &f.r.ev
			if ev.Store != c.Location || (ev.Kind != protocol.KindCount && ev.Kind != protocol.KindSnapshot) {
				continue
			}
			var qty protocol.Quantity
			named := false
			var cut uint64
			for _, l := range ev.Lines {
				cut = max(cut, l.Cut)
				if l.SKU == c.SKU {
					qty, named = qty+l.Quantity, true
				}
			}
			if !named && ev.Scope != protocol.ScopeFull && !ev.Complete {
				continue
			}
			name := "s:" + ev.Session
			if ev.Session == "" {
				name = "d:" + ev.ID.String()
			}
			g := groups[name]
			n := group{key: min(ev.EventTime.US, f.r.recordUS), counted: ev.EventTime.US, id: ev.ID, cut: cut, origin: f.r.origin, cutless: ev.Kind == protocol.KindSnapshot}
			if g == nil {
				groups[name] = &n
				n.qty = qty
				continue
			}
			if g.key < n.key || g.key == n.key && bytes.Compare(g.id[:], n.id[:]) < 0 {
				n.qty = g.qty
				*g = n
			}
			g.qty += qty
		}
		var list []*group
		for _, g := range groups {
			list = append(list, g)
		}
		sort.Slice(list, func(a, b int) bool {
			if list[a].key != list[b].key {
				return list[a].key > list[b].key
			}
			return bytes.Compare(list[a].id[:], list[b].id[:]) > 0
		})
		var v [3]protocol.Quantity
		if len(list) > 0 {
			v[0] = list[0].qty
		}
		for _, f := range facts {
			var q, un, tr protocol.Quantity
			for _, x := range EffectsOf(f.doc, nil) {
				if x.Location == c.Location && x.SKU == c.SKU && !x.Anchor {
					q, un, tr = q+f.sign*x.OnHand, un+f.sign*x.Unavailable, tr+f.sign*x.InTransit
				}
			}
			v[1], v[2] = v[1]+un, v[2]+tr
			if len(list) > 0 {
				g := list[0]
				late := f.r.recordUS-f.r.ev.EventTime.US > 60*sec
				if g.cutless || late || f.r.origin != g.origin {
					if f.r.ev.EventTime.US <= g.counted {
						continue
					}
				} else if f.r.seq <= g.cut {
					continue
				}
			}
			v[0] += q
		}
		out[string(c.Location)+"/"+string(c.SKU)] = v
	}
	return out
}
