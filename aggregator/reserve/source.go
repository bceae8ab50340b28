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
	tried    []Line // scratch of serves
}

// table begins a decision. One is at work at a time: they share a map.
func (b *Book) table(s Stock, rec *Record) *table {
	clear(b.taken)
	return &table{b: b, s: s, rec: rec, taken: b.taken}
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
		if p.Quantity > protocol.QuantityMax { // added up over a kit of kits: more than a record may say
			return 0
		}
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
	if loc, ok := t.together(asked, open); ok {
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

// together looks for one location that serves all open lines whole; one line is
// sourced by itself. A pickup is at one counter, whole or not: else the one that
// serves the most lines, then the most goods.
func (t *table) together(asked []protocol.ReservationRequestLine, open []int) (protocol.StoreID, bool) {
	if len(open) == 1 {
		return "", false
	}
	for _, c := range t.candidates(asked[open[0]].SKU) { // who serves all has the first
		if t.serves(c.Location, asked, open, true) == len(open) {
			return c.Location, true
		}
	}
	if t.rec.Fulfilment != protocol.FulfilmentPickup {
		return "", false
	}
	var best protocol.StoreID
	var goods protocol.Quantity
	lines, looked := -1, 0
	for _, c := range t.everywhere(asked, open) {
		n := t.serves(c.Location, asked, open, false)
		var sum protocol.Quantity
		for _, i := range open {
			sum += min(asked[i].Quantity, t.units(c.Location, asked[i].SKU, merged(t.s.Explode(asked[i].SKU))))
		}
		if n > lines || n == lines && sum > goods {
			best, lines, goods = c.Location, n, sum
		}
		if looked += len(open); looked > greedyCellsMax {
			break
		}
	}
	return best, best != ""
}

// serves counts the lines that a location can serve whole, one after the other,
// up to the first that it cannot, or of all of them. What it takes to see that it
// puts back.
func (t *table) serves(loc protocol.StoreID, asked []protocol.ReservationRequestLine, open []int, all bool) int {
	t.tried = t.tried[:0]
	for _, i := range open {
		l := t.line(i, &asked[i], loc)
		if l.Quantity = asked[i].Quantity; t.units(loc, l.SKU, l.Parts) >= l.Quantity {
			t.take(&l)
			t.tried = append(t.tried, l)
		} else if all {
			break
		}
	}
	for i := range t.tried {
		t.tried[i].each(func(k Key, q protocol.Quantity) {
			if t.taken[k] -= q; t.taken[k] == 0 {
				delete(t.taken, k)
			}
		})
	}
	return len(t.tried)
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
	var best protocol.StoreID
	for _, c := range list {
		can := t.units(c.Location, a.SKU, parts)
		if can >= a.Quantity {
			return t.give(lines, t.line(i, a, c.Location), a.Quantity, short)
		}
		if can > most {
			best, most = c.Location, can
		}
	}
	if t.rec.Fulfilment == protocol.FulfilmentPickup && best != "" {
		return t.give(lines, t.line(i, a, best), a.Quantity, short)
	}
	left := a.Quantity
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
	*short = append(*short, protocol.Shortfall{Line: i, SKU: a.SKU, Requested: a.Quantity, Available: a.Quantity - left})
	if left == a.Quantity {
		l := t.line(i, a, "")
		l.State, l.Short, l.Reason, l.Parts = protocol.ReservationRejected, left, "no location can serve it", nil
		return append(lines, l)
	}
	lines[len(lines)-1].Short = left
	return lines
}

// candidates orders the locations that have any of an article by the request's or
// the policy's sourcing. The name breaks ties, so that a decision does not depend
// on the order in which they are named.
func (t *table) candidates(sku protocol.SKU) []Candidate {
	how := t.how(sku)
	group := t.rec.Group
	if how == protocol.SourcingNearest {
		group = "" // its own group first, then the others
	}
	parts := merged(t.s.Explode(sku))
	all := t.s.Candidates(sku, group)
	type choice struct {
		Candidate
		units protocol.Quantity
	}
	list := make([]choice, 0, len(all))
	for _, c := range all {
		if u := t.units(c.Location, sku, parts); u > 0 && !t.excluded[c.Location] {
			list = append(list, choice{c, u})
		}
	}
	slices.SortFunc(list, func(x, y choice) int {
		first := 0
		switch how {
		case protocol.SourcingFreshest:
			first = cmp.Compare(x.AgeUS, y.AgeUS)
		case protocol.SourcingNearest:
			first = cmp.Compare(away(x.Candidate, t.rec.Group), away(y.Candidate, t.rec.Group))
		}
		return cmp.Or(first, cmp.Compare(y.units, x.units), cmp.Compare(x.Location, y.Location))
	})
	out := make([]Candidate, len(list))
	for i := range list {
		out[i] = list[i].Candidate
	}
	return out
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
