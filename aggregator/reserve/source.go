package reserve

import (
	"cmp"
	"maps"
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

// table begins a decision. One is at work at a time: they share a map.
func (b *Book) table(s Stock, rec *Record) *table {
	clear(b.taken)
	return &table{b: b, s: s, rec: rec, taken: b.taken}
}

// trial is a table on which may be taken what is put back.
func (t *table) trial() *table {
	return &table{b: t.b, s: t.s, rec: t.rec, taken: maps.Clone(t.taken), excluded: t.excluded}
}

// free is what is left of a position for this decision.
func (t *table) free(k Key) protocol.Quantity {
	q := t.s.Free(k, t.rec.Channel) - t.taken[k]
	if p := t.b.position(k); p != nil {
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
	if len(open) > 0 {
		lines = t.place(lines, asked, open, &short)
	}
	return lines, short
}

// place serves the lines that name no location: all from one where one can, a
// pickup never from more; else from few, or each as the policy says.
func (t *table) place(lines []Line, asked []protocol.ReservationRequestLine, open []int, short *[]protocol.Shortfall) []Line {
	if loc, whole := t.together(asked, open); whole || loc != "" {
		for _, i := range open {
			lines = t.give(lines, t.line(i, &asked[i], loc), asked[i].Quantity, short)
		}
		return lines
	}
	if t.how(asked[open[0]].SKU) == protocol.SourcingLeastSplits {
		lines, open = t.few(lines, asked, open)
	}
	for _, i := range open {
		lines = t.source(lines, i, &asked[i], short)
	}
	slices.SortStableFunc(lines, func(x, y Line) int { return cmp.Compare(x.Request, y.Request) })
	return lines
}

// how to choose among an article's candidates: the request's word, the policy's,
// or the usual one.
func (t *table) how(sku protocol.SKU) string {
	return or(t.rec.Sourcing, or(t.s.Sourcing(sku), protocol.SourcingMostStock))
}

func (t *table) line(i int, a *protocol.ReservationRequestLine, at protocol.StoreID) Line {
	return Line{Request: int32(i), SKU: a.SKU, Location: at, State: protocol.ReservationHeld, Parts: merged(t.s.Explode(a.SKU))}
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
		*short = append(*short, protocol.Shortfall{Line: int(l.Request), SKU: l.SKU, Location: l.Location, Requested: want, Available: got})
	}
	if got == 0 {
		l.State, l.Reason = protocol.ReservationRejected, "no stock"
	} else {
		t.take(&l)
	}
	return append(lines, l)
}

// together looks for one location that serves all open lines whole. For a pickup,
// which is at one counter, it otherwise names the one that serves the most lines.
func (t *table) together(asked []protocol.ReservationRequestLine, open []int) (best protocol.StoreID, whole bool) {
	list := t.candidates(asked[open[0]].SKU) // who serves all has the first
	for _, c := range list {
		if t.serves(c.Location, asked, open, true) == len(open) {
			return c.Location, true
		}
	}
	if t.rec.Fulfilment != protocol.FulfilmentPickup || len(open) == 1 {
		return "", false
	}
	most, looked := 0, 0
	for _, c := range t.everywhere(asked, open) {
		if n := t.serves(c.Location, asked, open, false); n > most {
			best, most = c.Location, n
		}
		if looked += len(open); looked > greedyCellsMax {
			break
		}
	}
	return best, false
}

// serves counts the lines that a location can serve whole, one after the other,
// up to the first that it cannot, or of all of them.
func (t *table) serves(loc protocol.StoreID, asked []protocol.ReservationRequestLine, open []int, all bool) (n int) {
	trial := t
	if len(open) > 1 {
		trial = t.trial()
	}
	for _, i := range open {
		l := t.line(i, &asked[i], loc)
		if l.Quantity = asked[i].Quantity; trial.units(loc, l.SKU, l.Parts) < l.Quantity {
			if all {
				return n
			}
			continue
		}
		if n++; trial != t {
			trial.take(&l)
		}
	}
	return n
}

// few serves lines whole from as few locations as a greedy choice finds: first
// the one that serves most of them, then the one that serves most of the rest. It
// returns the lines that no location can serve whole. The fewest in truth may be
// fewer still: that is set cover, which nobody waits for.
func (t *table) few(lines []Line, asked []protocol.ReservationRequestLine, open []int) ([]Line, []int) {
	list := t.everywhere(asked, open)
	for looked := 0; len(open) > 0 && looked < greedyCellsMax; looked += len(list) * len(open) {
		var best protocol.StoreID
		most := 0
		for _, c := range list {
			if n := t.serves(c.Location, asked, open, false); n > most {
				best, most = c.Location, n
			}
		}
		if most == 0 {
			break
		}
		var rest []int
		for _, i := range open {
			l := t.line(i, &asked[i], best)
			if l.Quantity = asked[i].Quantity; t.units(best, l.SKU, l.Parts) < l.Quantity {
				rest = append(rest, i)
				continue
			}
			t.take(&l)
			lines = append(lines, l)
		}
		open = rest
	}
	return lines, open
}

// everywhere lists the candidates of all open lines, each once, in order of name.
func (t *table) everywhere(asked []protocol.ReservationRequestLine, open []int) []Candidate {
	var list []Candidate
	for _, i := range open {
		list = append(list, t.candidates(asked[i].SKU)...)
	}
	slices.SortFunc(list, func(x, y Candidate) int { return cmp.Compare(x.Location, y.Location) })
	return slices.CompactFunc(list, func(x, y Candidate) bool { return x.Location == y.Location })
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
	how := t.how(sku)
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
		if l.State != protocol.ReservationExpired && l.State != protocol.ReservationReleased || l.Quantity == 0 {
			continue
		}
		if can := t.units(l.Location, l.SKU, l.Parts); can < l.Quantity {
			short = append(short, protocol.Shortfall{Line: int(l.Request), SKU: l.SKU, Location: l.Location, Requested: l.Quantity, Available: can})
		}
		t.take(&l)
	}
	return short
}
