package merge

import (
	"fmt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// applyEffects folds effects into their cells and threads the entry into the
// cells' chains. doc is the document that the effects come from; for a void its
// original. behind says that the entry stands in the log after its seq's turn,
// so that chains are no longer in journal order.
func (e *Engine) applyEffects(en *ledger.Entry, at *place, doc *protocol.Event, fx []Effect, behind bool) error {
	e.touched = e.touched[:0]
	anchored, watched := false, len(e.deltas)
	for i := range fx {
		f := &fx[i]
		id := e.cellOf(f.Location, f.SKU)
		if e.watching {
			e.noteDelta(watched, e.cells[id].head != en.Position, id, doc, f)
		}
		e.thread(en, id)
		if f.Anchor {
			anchored = true
			e.putAnchor(id, e.anchorOf(en, at, doc, &doc.Lines[f.Line], f.OnHand))
			continue
		}
		e.move(id, at, doc, f, en.MergedUS, behind)
	}
	if full(doc) {
		anchored = true
		e.zeroRest(en, at, doc)
	}
	for i, id := range e.touched {
		if !anchored {
			break
		}
		before := e.cells[id].onHand
		if err := e.refold(id, en.Links[i].Prev); err != nil {
			return err
		}
		e.counted(id, doc, before)
	}
	e.closeDeltas(watched, doc)
	return nil
}

// full tells a document that zeroes what it does not name.
func full(doc *protocol.Event) bool {
	return doc.Kind == protocol.KindCount && doc.Scope == protocol.ScopeFull || doc.Kind == protocol.KindSnapshot && doc.Complete
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
		bigger := make([]ledger.Link, 0, min(linksPiece, linksFirst*(1+len(e.staged)))+2*len(en.Links))
		e.links = append(bigger, en.Links...)
	}
	e.links = append(e.links, l)
	n := len(en.Links) + 1
	en.Links = e.links[len(e.links)-n : len(e.links) : len(e.links)]
}

// linksPiece is how many links are allocated at once in a large batch, linksFirst
// in one of a single entry.
const (
	linksPiece = 4096
	linksFirst = 32
)

func (e *Engine) move(id ledger.CellID, at *place, doc *protocol.Event, f *Effect, mergedUS int64, behind bool) {
	if f.Unavailable != 0 {
		e.extraOf(id).unavailable[f.Of-protocol.DispositionDamaged] += f.Unavailable
	}
	if f.Flow != 0 {
		e.advance(id, doc, f.Flow)
	}
	c := &e.cells[id]
	c.lastUS = max(c.lastUS, at.eventUS)
	if f.OnHand == 0 {
		return
	}
	if doc.Kind == protocol.KindSale && f.OnHand < 0 { // taken back by a void it is above zero
		e.sold = append(e.sold, Sold{id, -f.OnHand})
	}
	switch {
	case behind || (c.mono != 0 && c.mono != at.origin):
		c.mono = mixed
	case c.mono == 0:
		c.mono = at.origin
	}
	if !c.wild && e.lineage.ahead(at, mergedUS) {
		c.wild = true
	}
	if list := e.anchorsOf(id); len(list) > 0 {
		if in, _ := e.lineage.inside(&list[0], at); in {
			e.movedLate(id, &list[0], f.OnHand)
			return
		}
	}
	if c.onHand += f.OnHand; c.onHand < 0 {
		e.fell(id, f.OnHand)
	}
}

// anchorOf makes the anchor of a line; nil is what a full count says of what it
// does not name.
func (e *Engine) anchorOf(en *ledger.Entry, at *place, ev *protocol.Event, l *protocol.Line, qty protocol.Quantity) anchor {
	return makeAnchor(&e.lineage, e.Origin, en, at, ev, l, qty)
}

// makeAnchor numbers journals through number, which makes new numbers: a sibling
// may be named before its own first record is merged.
func makeAnchor(lin *lineage, number func(protocol.Origin) ledger.OriginID, en *ledger.Entry, at *place, ev *protocol.Event, l *protocol.Line, qty protocol.Quantity) anchor {
	a := anchor{
		group: groupOf(ev), id: ev.ID, origin: at.origin, qty: qty, pos: en.Position, parts: 1,
		countedUS: ev.EventTime.US, stated: ev.Kind == protocol.KindSnapshot,
	}
	if l != nil && !l.CountedAt.IsZero() {
		a.countedUS = l.CountedAt.US
	}
	if a.stated {
		a.acknowledge(number, ev)
		a.keyUS = min(a.countedUS, at.recordUS)
		if len(a.siblings) == 0 { // what it acknowledges may lie anywhere before
			a.stopUS = min(a.countedUS, en.MergedUS) - refoldMarginUS
		}
	} else {
		a.offsetUS, a.errorUS = lin.clockAt(at.origin, at.epoch, at.seq)
		a.keyUS = min(a.countedUS, at.recordUS) + a.offsetUS
		a.own = cut{origin: at.origin, epoch: at.epoch}
		if l != nil {
			a.own.seq = l.Cut
			a.see(number, ev.Store, l.Cuts)
		}
		if a.errorUS != 0 && !lin.ahead(at, en.MergedUS) {
			a.stopUS = min(a.countedUS, a.countedUS+a.offsetUS-a.errorUS, en.MergedUS) - refoldMarginUS
			if len(a.siblings) != 0 {
				a.stopUS -= setMarginUS
			}
		}
	}
	a.firstSeq, a.firstUS = a.own.seq, a.countedUS
	return a
}

// see takes the cuts over sibling journals.
func (a *anchor) see(number func(protocol.Origin) ledger.OriginID, store protocol.StoreID, cuts []protocol.SiblingCut) {
	for _, c := range cuts {
		if id := number(protocol.Origin{Store: store, Agent: c.Agent}); id != a.origin {
			a.siblings = append(a.siblings, cut{id, c.Epoch, c.Seq})
		}
	}
}

// acknowledge takes what a stating system had heard of which journal.
func (a *anchor) acknowledge(number func(protocol.Origin) ledger.OriginID, ev *protocol.Event) {
	for _, k := range ev.Acks {
		a.siblings = append(a.siblings, cut{number(k.Origin), max(k.Epoch, 1), k.Seq})
	}
}

// zeroLine is the line whose cut a full count's zeroes carry: the greatest, by
// then the whole store had been seen.
func zeroLine(ev *protocol.Event) *protocol.Line {
	var last *protocol.Line
	for i := range ev.Lines {
		if l := &ev.Lines[i]; last == nil || l.Cut > last.Cut {
			last = l
		}
	}
	return last
}

func (e *Engine) putAnchor(id ledger.CellID, a anchor) {
	e.addAnchor(id, a)
	e.cells[id].lastUS = max(e.cells[id].lastUS, a.countedUS)
}

// zeroRest applies a full count to what it does not name.
func (e *Engine) zeroRest(en *ledger.Entry, at *place, ev *protocol.Event) {
	a := e.anchorOf(en, at, ev, zeroLine(ev), 0)
	li := e.internLoc(ev.Store)
	for _, id := range e.locCells[li] {
		if e.cells[id].head == en.Position {
			continue
		}
		if e.watching {
			e.noteDelta(0, true, id, ev, nil)
		}
		e.thread(en, id)
		e.putAnchor(id, a)
	}
	e.meta = true
	e.fulls[li] = addFull(e.fulls[li], a)
}

// refold computes on hand anew: the anchor plus every movement outside its
// cut. It walks the cell's chain from newest to oldest and ends where all that
// is older must be inside the cut, so that its cost is that of the movements
// after the count:
//
//	one journal alone moves the cell   → at the first movement inside the cut
//	several, the counter's clock known → at the first entry merged well before
//	                                     the count: a movement cannot be merged
//	                                     before it happened
//
// Cells with a movement that was (a clock ran ahead) are walked whole.
func (e *Engine) refold(id ledger.CellID, from ledger.Position) error {
	list := e.anchorsOf(id)
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
		e.walked++
		if !c.wild && a.stopUS != 0 && en.MergedUS < a.stopUS {
			break
		}
		m, err := e.movement(&en, id)
		if err != nil {
			return fmt.Errorf("refold cell %d at %d: %w", id, p, err)
		}
		if m.onHand != 0 && !m.anchor {
			in, how := e.lineage.inside(a, &m.at)
			if !in {
				sum += m.onHand
			} else if how == bySeq && c.mono != mixed {
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
	at          place
	prev        ledger.Position
	anchor      bool
	onHand      protocol.Quantity
	unavailable [protocol.DispositionsUnsellable]protocol.Quantity
	flow        protocol.Quantity
	flowKind    flowKind
	flowName    string
	dueUS       int64
	quantity    protocol.Quantity // as the document says it
	version     uint64            // of the item that the line was read with
}

// movement reads an entry's effect on a cell; e.other holds its document
// afterwards (for a void: the void's).
func (e *Engine) movement(en *ledger.Entry, id ledger.CellID) (moved, error) {
	c := &e.cells[id]
	w := chain{read: e.read, items: e.items, id: id, loc: e.locs[c.loc], sku: e.skus[c.sku]}
	return w.movement(en, &e.other)
}

// chain works entries' effects on one cell out from the documents.
type chain struct {
	read  func(ledger.Position) (ledger.Entry, error)
	items Items
	id    ledger.CellID
	loc   protocol.StoreID
	sku   protocol.SKU
}

// movement reads one entry. doc holds its document afterwards; for a void, the
// void.
func (w *chain) movement(en *ledger.Entry, doc *protocol.Event) (moved, error) {
	var m moved
	linked, undone, from := false, ledger.Position(0), en.Position
	for _, l := range en.Links {
		switch l.Cell {
		case 0:
			undone = l.Prev
		case w.id:
			m.prev, linked = l.Prev, true
		}
	}
	if !linked {
		return m, errNoLink
	}
	record := en.Record
	if en.Ref != 0 { // the second half of an earlier entry
		v, err := w.read(en.Ref)
		if err != nil {
			return m, err
		}
		record = v.Record
	}
	us, err := protocol.DecodeRecord(record, doc)
	if err != nil {
		return m, err
	}
	m.at = placeOf(en, us, doc)
	source := doc
	if undone != 0 {
		o, err := w.read(undone)
		if err != nil {
			return m, err
		}
		source, from = &protocol.Event{}, undone
		if _, err := protocol.DecodeRecord(o.Record, source); err != nil {
			return m, err
		}
	}
	x := effects{items: w.items}
	fx := x.of(source, from, nil)
	if undone != 0 {
		Negate(fx)
	}
	m.add(fx, source, w.loc, w.sku)
	m.version = x.version
	if m.flow != 0 {
		m.flowKind, m.flowName = flowOf(source)
		m.dueUS = source.ExpectedAt.US
	}
	return m, nil
}

func (m *moved) add(fx []Effect, ev *protocol.Event, loc protocol.StoreID, sku protocol.SKU) {
	m.anchor = ev.Kind == protocol.KindCount || ev.Kind == protocol.KindSnapshot
	for i := range fx {
		f := &fx[i]
		if f.Location != loc || f.SKU != sku {
			continue
		}
		m.onHand += f.OnHand
		if f.Unavailable != 0 {
			m.unavailable[f.Of-protocol.DispositionDamaged] += f.Unavailable
		}
		m.flow += f.Flow
		m.quantity += ev.Lines[f.Line].Quantity
	}
}
