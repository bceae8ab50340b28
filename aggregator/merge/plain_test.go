package merge

import (
	"bytes"
	"slices"
	"sort"

	"tillwire/protocol"
)

// pos is a position's numbers.
type pos struct{ OnHand, Damaged, Quarantine, Unknown, InTransit, Incoming protocol.Quantity }

// fact is one record with the document whose lines apply (a void's original).
type fact struct {
	r    rec
	doc  *protocol.Event
	sign protocol.Quantity
}

// claim is what somebody said a shelf held.
type claim struct {
	qty          protocol.Quantity
	key, counted int64
	id           protocol.EventID
	r            rec
	line         *protocol.Line
	offset       int64
	clock        bool
	stated       bool
}

// plain computes every position the slow way, from the whole set of records at
// once, following the inventory model's text. It shares nothing with the engine
// but the events.
func plain(js []*journal, w *world) map[string]pos {
	facts := factsOf(js)
	out := map[string]pos{}
	for _, c := range w.cells {
		best := bestClaim(js, facts, c.Location, c.SKU)
		var v pos
		if best != nil {
			v.OnHand = best.qty
		}
		flows := map[string]protocol.Quantity{}
		for _, f := range facts {
			q := plainEffect(&f, c.Location, c.SKU, &v, flows)
			if q != 0 && (best == nil || !plainInside(js, best, &f)) {
				v.OnHand += q
			}
		}
		for name, q := range flows {
			if q > 0 && name[0] == 't' {
				v.InTransit += q
			} else if q > 0 {
				v.Incoming += q
			}
		}
		out[string(c.Location)+"/"+string(c.SKU)] = v
	}
	return out
}

func factsOf(js []*journal) (facts []fact) {
	byDoc := map[string]*protocol.Event{}
	sold := map[string]bool{}
	for _, j := range js {
		for i := range j.recs {
			ev := &j.recs[i].ev
			byDoc[string(ev.Store)+"/"+ev.DocumentID] = ev
			if ev.Kind == protocol.KindSale && ev.HoldID != "" {
				sold[string(ev.Store)+"/"+ev.HoldID] = true
			}
		}
	}
	for _, j := range js {
		for _, r := range j.recs {
			ev := r.ev
			f := fact{r: r, doc: &ev, sign: 1}
			if ev.Kind == protocol.KindVoid {
				f.doc, f.sign = byDoc[string(ev.Store)+"/"+ev.Voids], -1
			}
			if ev.Kind == protocol.KindHold && sold[string(ev.Store)+"/"+ev.HoldID] {
				continue // the sale tells it
			}
			facts = append(facts, f)
		}
	}
	return facts
}

// plainEffect adds what a fact does besides on hand, and returns that.
func plainEffect(f *fact, loc protocol.StoreID, sku protocol.SKU, v *pos, flows map[string]protocol.Quantity) (onHand protocol.Quantity) {
	ev, here := f.doc, f.doc.Store == loc
	bad := func(d protocol.Disposition, q protocol.Quantity) {
		switch d { //nolint:exhaustive // what is sellable is on hand only
		case protocol.DispositionDamaged:
			v.Damaged += f.sign * q
		case protocol.DispositionQuarantine:
			v.Quarantine += f.sign * q
		case protocol.DispositionUnknown:
			v.Unknown += f.sign * q
		}
	}
	for i := range ev.Lines {
		l := &ev.Lines[i]
		q := l.Quantity
		if l.SKU != sku {
			continue
		}
		switch {
		case ev.Kind == protocol.KindTransfer && ev.Direction == protocol.DirectionOut:
			if here {
				onHand -= q
			}
			if ev.Counterparty == loc {
				flows["t"+ev.TransferID] += f.sign * q
			}
		case !here:
		case ev.Kind == protocol.KindTransfer:
			onHand += q
			flows["t"+ev.TransferID] -= f.sign * q
		case ev.Kind == protocol.KindAdvice:
			flows["a"+ev.DocumentID] += f.sign * q
		case ev.Kind == protocol.KindSale, ev.Kind == protocol.KindHold:
			onHand -= q
		case ev.Kind == protocol.KindReturn:
			onHand += q
			if l.Disposition != 0 {
				bad(l.Disposition, q)
			} else if ev.OriginalDocument == "" {
				bad(protocol.DispositionUnknown, q)
			}
		case ev.Kind == protocol.KindReceipt:
			onHand += q
			bad(l.Disposition, q)
			if ev.AdviceID != "" {
				flows["a"+ev.AdviceID] -= f.sign * q
			}
		case ev.Kind == protocol.KindStatusChange:
			bad(l.From, -q)
			bad(l.To, q)
		}
	}
	return f.sign * onHand
}

func bestClaim(js []*journal, facts []fact, loc protocol.StoreID, sku protocol.SKU) *claim {
	groups := map[string]*claim{}
	for _, f := range facts {
		ev := f.r.ev
		if ev.Store != loc || (ev.Kind != protocol.KindCount && ev.Kind != protocol.KindSnapshot) {
			continue
		}
		n := claim{counted: ev.EventTime.US, id: ev.ID, r: f.r, stated: ev.Kind == protocol.KindSnapshot}
		named := false
		for i := range ev.Lines {
			l := &ev.Lines[i]
			if l.SKU == sku && l.Stance == protocol.StanceAnchor {
				n.qty, named = n.qty+l.Quantity, true
			}
			n.line = l // one document's lines share their cuts here
		}
		if !named && ev.Scope != protocol.ScopeFull && !ev.Complete {
			continue
		}
		n.key = min(n.counted, f.r.recordUS)
		if !n.stated {
			n.offset, n.clock = plainClock(js, f.r)
			n.key += n.offset
		}
		name := "s:" + ev.Session
		if ev.Session == "" {
			name = "d:" + ev.ID.String()
		}
		g := groups[name]
		if g == nil {
			groups[name] = &n
			continue
		}
		sum := g.qty + n.qty
		if g.key < n.key || g.key == n.key && bytes.Compare(g.id[:], n.id[:]) < 0 {
			*g = n
		}
		g.qty = sum
	}
	var list []*claim
	for _, g := range groups {
		list = append(list, g)
	}
	list = slices.DeleteFunc(list, func(c *claim) bool {
		return slices.ContainsFunc(list, func(later *claim) bool { return plainAfter(later, c) })
	})
	sort.Slice(list, func(a, b int) bool {
		if list[a].key != list[b].key {
			return list[a].key > list[b].key
		}
		return bytes.Compare(list[a].id[:], list[b].id[:]) > 0
	})
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// plainAfter tells that of one journal more had happened when a was counted.
func plainAfter(a, b *claim) bool {
	if a.stated || b.stated || a.r.origin != b.r.origin {
		return false
	}
	cut := func(c *claim) uint64 {
		if c.line == nil {
			return 0
		}
		return c.line.Cut
	}
	if cut(a) != cut(b) {
		return cut(a) > cut(b)
	}
	return a.key-a.offset > b.key-b.offset
}

// plainClock is the newest estimate in the record's own journal before it.
func plainClock(js []*journal, r rec) (offset int64, ok bool) {
	for _, j := range js {
		if j.origin != r.origin {
			continue
		}
		for _, x := range j.recs {
			if x.seq <= r.seq && x.ev.Kind == protocol.KindClock {
				offset, ok = x.ev.ClockOffsetUS, true
			}
		}
	}
	return offset, ok
}

func plainInside(js []*journal, c *claim, f *fact) bool {
	ev, r := &f.r.ev, &f.r
	event := ev.EventTime.US
	if ev.ClockErrorUS > 0 {
		event += ev.ClockOffsetUS
	}
	late := r.recordUS-event > 60*sec && ev.Flags&protocol.FlagClockSetBack == 0
	if c.stated {
		for _, k := range c.r.ev.Acks {
			if k.Origin == r.origin {
				return r.seq <= k.Seq
			}
		}
		if r.origin == c.r.origin {
			return event <= c.counted
		}
	}
	if r.origin == c.r.origin {
		return c.line != nil && r.seq <= c.line.Cut || late && event <= c.counted
	}
	if !c.stated && c.line != nil {
		for _, k := range c.line.Cuts {
			if k.Agent == r.origin.Agent && (r.seq <= k.Seq || !late) {
				return r.seq <= k.Seq
			}
		}
	}
	offset, known := plainClock(js, *r)
	if late || !known || !c.clock {
		return event+offset <= c.counted+c.offset
	}
	if ev.Flags&protocol.FlagClockSetBack != 0 {
		return event+offset <= c.counted+c.offset
	}
	return r.recordUS+offset <= c.counted+c.offset
}
