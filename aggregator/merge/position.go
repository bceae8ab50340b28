package merge

import (
	"fmt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// applyEffects folds a document's effects into its cells and threads the entry
// into their chains. behind says that the entry stands in the log after its
// seq's turn, so that chains are no longer in journal order.
func (e *Engine) applyEffects(en *ledger.Entry, at place, ev *protocol.Event, fx []Effect, behind bool) error {
	e.touched = e.touched[:0]
	anchored := false
	for i := range fx {
		f := &fx[i]
		id := e.cellOf(f.Location, f.SKU)
		e.thread(en, id)
		if f.Anchor {
			anchored = true
			e.putAnchor(id, anchorOf(en, at, ev, &ev.Lines[f.Line], f.OnHand))
			continue
		}
		e.move(id, at, f, behind)
	}
	if ev.Kind == protocol.KindCount && ev.Scope == protocol.ScopeFull || ev.Kind == protocol.KindSnapshot && ev.Complete {
		anchored = true
		e.zeroRest(en, at, ev)
	}
	if !anchored {
		return nil
	}
	for i, id := range e.touched {
		if err := e.refold(id, en.Links[i].Prev); err != nil {
			return err
		}
	}
	return nil
}

// thread links the entry into the cell's chain, once per entry.
func (e *Engine) thread(en *ledger.Entry, id ledger.CellID) {
	c := &e.cells[id]
	if c.head == en.Position {
		return
	}
	e.link(en, ledger.Link{Cell: id, Prev: c.head})
	e.touched = append(e.touched, id)
	c.head = en.Position
	e.touch(id)
}

// link appends to an entry's links. They are cut from one large piece, since
// most entries have a handful: the entry at work is always its end.
func (e *Engine) link(en *ledger.Entry, l ledger.Link) {
	if len(e.links) == cap(e.links) {
		bigger := make([]ledger.Link, 0, linksPiece+2*len(en.Links))
		e.links = append(bigger, en.Links...)
	}
	e.links = append(e.links, l)
	n := len(en.Links) + 1
	en.Links = e.links[len(e.links)-n : len(e.links) : len(e.links)]
}

func (e *Engine) move(id ledger.CellID, at place, f *Effect, behind bool) {
	c := &e.cells[id]
	c.unavailable += f.Unavailable
	c.inTransit += f.InTransit
	c.lastUS = max(c.lastUS, at.eventUS)
	if f.OnHand == 0 {
		return
	}
	switch {
	case behind || (c.mono != 0 && c.mono != at.origin):
		c.mono = mixed
	case c.mono == 0:
		c.mono = at.origin
	}
	if list := e.anchors[id]; len(list) > 0 {
		if in, _ := list[0].inside(at, e.forks[at.origin]); in {
			return
		}
	}
	c.onHand += f.OnHand
}

func anchorOf(en *ledger.Entry, at place, ev *protocol.Event, l *protocol.Line, qty protocol.Quantity) anchor {
	a := anchor{
		group: groupOf(ev), id: ev.ID, origin: at.origin, epoch: at.epoch, cut: cutUnknown,
		qty: qty, pos: en.Position, parts: 1, countedUS: at.eventUS,
	}
	if l != nil && !l.CountedAt.IsZero() {
		a.countedUS = l.CountedAt.US
	}
	if ev.Kind == protocol.KindCount && l != nil {
		a.cut = l.Cut
	}
	a.keyUS = min(a.countedUS, at.recordUS)
	return a
}

// zeroAnchor is what a full count says of what it does not name. It carries the
// greatest cut of its lines: by then the whole store had been seen.
func zeroAnchor(en *ledger.Entry, at place, ev *protocol.Event) anchor {
	var last *protocol.Line
	for i := range ev.Lines {
		if l := &ev.Lines[i]; last == nil || l.Cut > last.Cut {
			last = l
		}
	}
	return anchorOf(en, at, ev, last, 0)
}

func (e *Engine) putAnchor(id ledger.CellID, a anchor) {
	list, _ := addAnchor(e.anchors[id], a)
	e.anchors[id] = list
	e.cells[id].lastUS = max(e.cells[id].lastUS, a.countedUS)
}

// zeroRest applies a full count to what it does not name.
func (e *Engine) zeroRest(en *ledger.Entry, at place, ev *protocol.Event) {
	a := zeroAnchor(en, at, ev)
	li := e.internLoc(ev.Store)
	for _, id := range e.locCells[li] {
		if e.cells[id].head == en.Position {
			continue
		}
		e.thread(en, id)
		e.putAnchor(id, a)
	}
	fulls := e.fulls[li]
	for i := range fulls {
		if fulls[i].a.group == a.group {
			if fulls[i].a.less(&a) {
				fulls[i].a = a
			}
			e.meta = true
			return
		}
	}
	fulls = append(fulls, fullCount{loc: li, a: a})
	if len(fulls) > fullCountsMax {
		oldest := 0
		for i := range fulls {
			if fulls[i].a.less(&fulls[oldest].a) {
				oldest = i
			}
		}
		fulls = append(fulls[:oldest], fulls[oldest+1:]...)
	}
	e.fulls[li] = fulls
	e.meta = true
}

// refold computes on hand anew: the anchor plus every movement outside its
// cut. It walks the cell's chain from newest to oldest. Where one journal alone
// moves the cell, the chain is in that journal's order, and the walk ends at
// the first movement inside the cut: its cost is that of the events after the
// count. Elsewhere it walks the whole chain.
func (e *Engine) refold(id ledger.CellID, from ledger.Position) error {
	list := e.anchors[id]
	if len(list) == 0 {
		return nil
	}
	c, a := &e.cells[id], &list[0]
	sum := a.qty
	for p := from; p != 0; {
		en, err := e.read(p)
		if err != nil {
			return fmt.Errorf("refold cell %d: %w", id, err)
		}
		m, err := e.movement(&en, id)
		if err != nil {
			return fmt.Errorf("refold cell %d at %d: %w", id, p, err)
		}
		if m.onHand != 0 && !m.anchor {
			in, byTime := a.inside(m.at, e.forks[m.at.origin])
			if !in {
				sum += m.onHand
			} else if !byTime && c.mono != mixed {
				break
			}
		}
		p = m.prev
	}
	c.onHand = sum
	return nil
}

// moved is what one entry did to one cell.
type moved struct {
	at                             place
	prev                           ledger.Position
	anchor                         bool
	onHand, unavailable, inTransit protocol.Quantity
	quantity                       protocol.Quantity // as the document says it
}

// movement reads an entry's effect on a cell; e.other holds its document
// afterwards (for a void: the void's).
func (e *Engine) movement(en *ledger.Entry, id ledger.CellID) (moved, error) {
	c := &e.cells[id]
	return movementOf(e.read, en, id, e.locs[c.loc], e.skus[c.sku], &e.other)
}

// movementOf works an entry's effect on a cell out from the documents. doc
// holds the entry's document afterwards; for a void, the void.
func movementOf(read func(ledger.Position) (ledger.Entry, error), en *ledger.Entry, id ledger.CellID, loc protocol.StoreID, sku protocol.SKU, doc *protocol.Event) (moved, error) {
	m := moved{at: place{origin: en.Origin, epoch: en.Epoch, seq: en.Seq}}
	linked, originalAt := false, ledger.Position(0)
	for _, l := range en.Links {
		switch l.Cell {
		case 0:
			originalAt = l.Prev
		case id:
			m.prev, linked = l.Prev, true
		}
	}
	if !linked {
		return m, errNoLink
	}
	record := en.Record
	if en.Ref != 0 { // a void that came first: its original stands just before this entry
		v, err := read(en.Ref)
		if err != nil {
			return m, err
		}
		record, originalAt = v.Record, en.Position-1
	}
	us, err := protocol.DecodeRecord(record, doc)
	if err != nil {
		return m, err
	}
	m.at.recordUS, m.at.eventUS = us, doc.EventTime.US
	fx := doc
	if doc.Kind == protocol.KindVoid {
		o, err := read(originalAt)
		if err != nil {
			return m, err
		}
		fx = &protocol.Event{}
		if _, err := protocol.DecodeRecord(o.Record, fx); err != nil {
			return m, err
		}
	}
	m.add(EffectsOf(fx, nil), fx, loc, sku, doc.Kind == protocol.KindVoid)
	return m, nil
}

func (m *moved) add(fx []Effect, ev *protocol.Event, loc protocol.StoreID, sku protocol.SKU, negate bool) {
	if negate {
		Negate(fx)
	}
	m.anchor = ev.Kind == protocol.KindCount || ev.Kind == protocol.KindSnapshot
	for i := range fx {
		f := &fx[i]
		if f.Location != loc || f.SKU != sku {
			continue
		}
		m.onHand += f.OnHand
		m.unavailable += f.Unavailable
		m.inTransit += f.InTransit
		m.quantity += ev.Lines[f.Line].Quantity
	}
}
