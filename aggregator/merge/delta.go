package merge

import (
	"fmt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Delta is what the newest entry did to one position: what its document says
// moved, and by how much on hand changed for it. The two differ where a count has
// a say: a count moves nothing and changes the number, a late sale that the count
// has seen moves and changes nothing. What is between them is the count's.
type Delta struct {
	Cell        ledger.CellID
	Kind        protocol.Kind // of the document whose effects they are; a void's are its original's
	Direction   protocol.Direction
	Reason      string // of an adjustment
	Day         int32  // business day of what carries the effects, in days since 1970-01-01
	CountDay    int32  // of the anchor, where Changed is not Moved
	Moved       protocol.Quantity
	Changed     protocol.Quantity
	Unavailable [protocol.DispositionsUnsellable]protocol.Quantity
}

// Watch has entries' deltas noted from now on. It costs nothing while it is off.
func (e *Engine) Watch(on bool) { e.watching = on }

// Deltas lists those of the entry applied last, second halves of others included;
// valid until the next Apply. Empty unless Watch is on.
func (e *Engine) Deltas() []Delta { return e.deltas }

// watchDay notes the business day of the document that carries the effects to come.
func (e *Engine) watchDay(ev *protocol.Event) {
	if e.watching {
		e.day = BusinessDay(ev)
	}
}

// noteDelta begins or extends the delta of a cell before an effect is applied.
// fresh tells that the entry touches the cell for the first time.
func (e *Engine) noteDelta(first int, fresh bool, id ledger.CellID, doc *protocol.Event, f *Effect) {
	n := len(e.deltas)
	if fresh {
		e.deltas = append(e.deltas, Delta{Cell: id, Kind: doc.Kind, Direction: doc.Direction, Reason: doc.Reason, Day: e.day, Changed: -e.cells[id].onHand})
	} else {
		for n--; n > first && e.deltas[n].Cell != id; n-- {
		}
	}
	d := &e.deltas[n]
	if f == nil || f.Anchor {
		return
	}
	d.Moved += f.OnHand
	if f.Unavailable != 0 {
		d.Unavailable[f.Of-protocol.DispositionDamaged] += f.Unavailable
	}
}

// closeDeltas tells how on hand ended.
func (e *Engine) closeDeltas(first int, doc *protocol.Event) {
	for i := first; i < len(e.deltas); i++ {
		d := &e.deltas[i]
		d.Changed += e.cells[d.Cell].onHand
		d.CountDay = d.Day
		if list := e.anchors[d.Cell]; d.Changed != d.Moved && len(list) > 0 {
			d.CountDay = dayOf(list[0].countedUS, doc.EventTime.OffsetMin)
		}
	}
}

// BusinessDay is the day that a document says it belongs to, else that of its time
// where it happened, in days since 1970-01-01.
func BusinessDay(ev *protocol.Event) int32 {
	if day, ok := protocol.ParseDay(ev.BusinessDate); ok {
		return day
	}
	return dayOf(ev.EventTime.US, ev.EventTime.OffsetMin)
}

func dayOf(us int64, offsetMin int16) int32 {
	const dayUS = 86_400_000_000
	us += int64(offsetMin) * 60_000_000
	d := us / dayUS
	if us%dayUS < 0 {
		d--
	}
	return int32(min(max(d, 0), 1<<16-1))
}

// SourceOf is one entry behind what a position moved.
type SourceOf struct {
	Position ledger.Position
	Origin   protocol.Origin
	EventID  protocol.EventID
	Kind     protocol.Kind
	Document string
	Trace    string
	Day      int32
	Moved    protocol.Quantity
	Delta    Delta // kind, direction, reason and day as Deltas told them
}

// Sources walks a position's chain from its newest entry back to the entry at
// from, and shows those up to to. It reads at most limit entries, and tells how many
// it may still read; below zero: that was not all. It runs on any goroutine.
func Sources(v *View, read func(ledger.Position) (ledger.Entry, error), from, to ledger.Position, limit int, show func(SourceOf)) (left int, err error) {
	w := chain{read: read, items: v.items, id: v.Cell.ID, loc: v.Cell.Location, sku: v.Cell.SKU}
	doc := &protocol.Event{}
	for p := v.head; p != 0 && p >= from; {
		if limit--; limit < 0 {
			return limit, nil
		}
		en, err := read(p)
		if err != nil {
			return limit, fmt.Errorf("sources of cell %d: %w", v.Cell.ID, err)
		}
		m, err := w.movement(&en, doc)
		if err != nil {
			return limit, fmt.Errorf("sources of cell %d at %d: %w", v.Cell.ID, p, err)
		}
		at := p
		if p = m.prev; at > to {
			continue
		}
		s, err := SourceAt(&en, read, doc)
		if err != nil {
			return limit, err
		}
		if s.Origin = v.origins[en.Origin]; !m.anchor {
			s.Moved = m.onHand
		}
		s.Position, s.Delta.Cell, s.Delta.Moved, s.Delta.Unavailable = at, v.Cell.ID, s.Moved, m.unavailable
		show(s)
	}
	return limit, nil
}

// SourceAt names the document behind an entry, and of which kind its effects are.
func SourceAt(en *ledger.Entry, read func(ledger.Position) (ledger.Entry, error), doc *protocol.Event) (s SourceOf, err error) {
	record := en.Record
	s.EventID = en.EventID
	if en.Ref != 0 { // the second half of an earlier entry
		first, err := read(en.Ref)
		if err != nil {
			return s, err
		}
		record, s.EventID = first.Record, first.EventID
	}
	if _, err := protocol.DecodeRecord(record, doc); err != nil {
		return s, fmt.Errorf("decode entry %d: %w", en.Position, err)
	}
	s.Kind, s.Document, s.Trace, s.Day = doc.Kind, doc.DocumentID, doc.Traceparent, BusinessDay(doc)
	s.Delta = Delta{Kind: doc.Kind, Direction: doc.Direction, Reason: doc.Reason, Day: s.Day, CountDay: s.Day}
	for _, l := range en.Links {
		if l.Cell != 0 || l.Prev == 0 {
			continue
		}
		undone, err := read(l.Prev)
		if err != nil {
			return s, err
		}
		if _, err := protocol.DecodeRecord(undone.Record, doc); err != nil {
			return s, fmt.Errorf("decode entry %d: %w", l.Prev, err)
		}
		s.Delta.Kind, s.Delta.Direction, s.Delta.Reason = doc.Kind, doc.Direction, doc.Reason
	}
	return s, nil
}
