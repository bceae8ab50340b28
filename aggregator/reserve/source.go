package reserve

import (
	"cmp"
	"slices"

	"tillwire/protocol"
)

// table is one decision at work: what it has taken so far counts against what
// it takes next, so that two lines of one bundle cannot both have the last unit.
type table struct {
	b        *Book
	s        Stock
	rec      *Record
	taken    map[Key]protocol.Quantity
	excluded map[protocol.StoreID]bool
}

func (b *Book) table(s Stock, rec *Record) *table {
	return &table{b: b, s: s, rec: rec, taken: map[Key]protocol.Quantity{}}
}

// free is what is left of a position for this decision.
func (t *table) free(k Key) protocol.Quantity {
	q := t.s.Free(k, t.rec.Channel) - t.taken[k]
	if p := t.b.positions[k]; p != nil {
		q -= p.reserved + p.allocated
	}
	return q
}

// units is how much of a line's article a location can give: of a kit, as many
// whole ones as its scarcest part allows.
func (t *table) units(loc protocol.StoreID, sku protocol.SKU, parts []protocol.KitComponent) protocol.Quantity {
	if len(parts) == 0 {
		return max(0, t.free(Key{loc, sku}))
	}
	most := protocol.QuantityMax
	for _, p := range parts {
		most = min(most, max(0, t.free(Key{loc, p.SKU}))/p.Quantity*1000)
	}
	return most
}

func (t *table) take(l *Line) {
	l.each(func(k Key, q protocol.Quantity) { t.taken[k] += q })
}

// seat finds stock for the lines of a request: those with a location there, the
// others by policy. It tells what each line lacks.
func (t *table) seat(asked []protocol.ReservationRequestLine) (lines []Line, short []protocol.Shortfall) {
	var open []int
	for i := range asked {
		if asked[i].Location == "" {
			open = append(open, i)
			continue
		}
		l := t.line(i, &asked[i], asked[i].Location)
		lines = t.give(lines, l, asked[i].Quantity, &short)
	}
	if len(open) == 0 {
		return lines, short
	}
	if at, ok := t.together(asked, open); ok {
		for _, i := range open {
			lines = t.give(lines, t.line(i, &asked[i], at), asked[i].Quantity, &short)
		}
		return lines, short
	}
	for _, i := range open {
		lines = t.source(lines, i, &asked[i], &short)
	}
	return lines, short
}

func (t *table) line(i int, a *protocol.ReservationRequestLine, at protocol.StoreID) Line {
	return Line{Request: i, SKU: a.SKU, Location: at, State: protocol.ReservationHeld, Parts: merged(t.s.Explode(a.SKU))}
}

// merged adds up a part that a kit has twice: the check is per position.
func merged(parts []protocol.KitComponent) []protocol.KitComponent {
	out := parts[:0:0]
	for _, p := range parts {
		i := slices.IndexFunc(out, func(o protocol.KitComponent) bool { return o.SKU == p.SKU })
		if i >= 0 {
			out[i].Quantity += p.Quantity
		} else if p.Quantity > 0 {
			out = append(out, p)
		}
	}
	return out
}

// give takes up to want at the line's location, and notes what lacks.
func (t *table) give(lines []Line, l Line, want protocol.Quantity, short *[]protocol.Shortfall) []Line {
	got := min(want, t.units(l.Location, l.SKU, l.Parts))
	l.Quantity = got
	if got < want {
		l.Short = want - got
		*short = append(*short, protocol.Shortfall{Line: l.Request, SKU: l.SKU, Location: l.Location, Requested: want, Available: got})
	}
	if got == 0 {
		l.State, l.Reason = protocol.ReservationRejected, "no stock"
	} else {
		t.take(&l)
	}
	return append(lines, l)
}

// together looks for one location that serves all open lines whole: always for a
// pickup, which is at one counter, and wherever it spares a split.
func (t *table) together(asked []protocol.ReservationRequestLine, open []int) (protocol.StoreID, bool) {
	var best []Candidate
	for n, i := range open {
		var can []Candidate
		for _, c := range t.candidates(asked[i].SKU) {
			if n == 0 || slices.ContainsFunc(best, func(o Candidate) bool { return o.Location == c.Location }) {
				can = append(can, c)
			}
		}
		best = can
	}
	for _, c := range best {
		trial := &table{b: t.b, s: t.s, rec: t.rec, taken: clone(t.taken)}
		var lines []Line
		var short []protocol.Shortfall
		for _, i := range open {
			lines = trial.give(lines, trial.line(i, &asked[i], c.Location), asked[i].Quantity, &short)
		}
		if len(short) == 0 {
			return c.Location, true
		}
	}
	return "", false
}

func clone(m map[Key]protocol.Quantity) map[Key]protocol.Quantity {
	out := make(map[Key]protocol.Quantity, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// source serves one line: whole from the first candidate that can, else split in
// the candidates' order. A pickup is never split.
func (t *table) source(lines []Line, i int, a *protocol.ReservationRequestLine, short *[]protocol.Shortfall) []Line {
	list := t.candidates(a.SKU)
	parts := merged(t.s.Explode(a.SKU))
	var most protocol.Quantity
	for _, c := range list {
		can := t.units(c.Location, a.SKU, parts)
		if can >= a.Quantity {
			return t.give(lines, t.line(i, a, c.Location), a.Quantity, short)
		}
		most = max(most, can)
	}
	left := a.Quantity
	if t.rec.Fulfilment != protocol.FulfilmentPickup {
		for _, c := range list {
			if can := min(left, t.units(c.Location, a.SKU, parts)); can > 0 {
				l := t.line(i, a, c.Location)
				l.Quantity = can
				t.take(&l)
				lines = append(lines, l)
				if left -= can; left == 0 {
					return lines
				}
			}
		}
		most = a.Quantity - left
	}
	*short = append(*short, protocol.Shortfall{Line: i, SKU: a.SKU, Requested: a.Quantity, Available: most})
	if left == a.Quantity {
		l := t.line(i, a, "")
		l.State, l.Short, l.Reason, l.Parts = protocol.ReservationRejected, left, "no location can serve it", nil
		return append(lines, l)
	}
	lines[len(lines)-1].Short = left
	return lines
}

// candidates orders the locations by the request's or the policy's sourcing. The
// name breaks ties, so that a decision does not depend on a map.
func (t *table) candidates(sku protocol.SKU) []Candidate {
	how := or(t.rec.Sourcing, or(t.s.Sourcing(sku), protocol.SourcingMostStock))
	group := t.rec.Group
	if how == protocol.SourcingNearest {
		group = "" // its own group first, then the others
	}
	list := slices.Clone(t.s.Candidates(sku, group))
	list = slices.DeleteFunc(list, func(c Candidate) bool { return t.excluded[c.Location] })
	parts := merged(t.s.Explode(sku))
	units := make(map[protocol.StoreID]protocol.Quantity, len(list))
	for _, c := range list {
		units[c.Location] = t.units(c.Location, sku, parts)
	}
	slices.SortFunc(list, func(x, y Candidate) int {
		byStock := cmp.Or(cmp.Compare(units[y.Location], units[x.Location]), cmp.Compare(x.Location, y.Location))
		switch how {
		case protocol.SourcingFreshest:
			return cmp.Or(cmp.Compare(x.AgeUS, y.AgeUS), byStock)
		case protocol.SourcingNearest:
			return cmp.Or(cmp.Compare(away(x, t.rec.Group), away(y, t.rec.Group)), byStock)
		}
		return byStock
	})
	return list
}

// away is 0 for a candidate of the group that is asked for.
func away(c Candidate, group string) int {
	if c.Group == group {
		return 0
	}
	return 1
}

// again checks whether a reservation that is over could be had once more.
func (t *table) again(r *Record) (short []protocol.Shortfall) {
	for i := range r.Lines {
		l := r.Lines[i]
		if l.State != protocol.ReservationExpired && l.State != protocol.ReservationReleased {
			continue
		}
		if can := t.units(l.Location, l.SKU, l.Parts); can < l.Quantity {
			short = append(short, protocol.Shortfall{Line: l.Request, SKU: l.SKU, Location: l.Location, Requested: l.Quantity, Available: can})
		}
		t.take(&l)
	}
	return short
}
