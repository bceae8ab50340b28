package merge

import (
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Seen is what the entry folded last showed about how right the book was; valid
// until the next. It moves nothing.
type Seen struct {
	Counted  []Counted
	Late     []Late
	Below    []ledger.CellID // fell below zero
	RecordUS int64
}

// Counted is what a count made of one position whose number it is. After less
// Before is what nothing in the book explains: both have the movements that the
// count did not see.
type Counted struct {
	Cell          ledger.CellID
	Session       [16]byte // parts of one count are alike
	Before, After protocol.Quantity
	First         bool // nothing had been counted or stated there: the book had no ground
}

// Late is a movement that was merged after the count that had seen it. By so much
// the book would have been another when it was counted.
type Late struct {
	Cell    ledger.CellID
	Session [16]byte
	OnHand  protocol.Quantity
}

// Seen tells of the entry applied or replayed last.
func (e *Engine) Seen() *Seen { return &e.seen }

func (s *Seen) reset(recordUS int64) {
	s.Counted, s.Late, s.Below, s.RecordUS = s.Counted[:0], s.Late[:0], s.Below[:0], recordUS
}

// counted notes what a count made of a position.
func (e *Engine) counted(id ledger.CellID, doc *protocol.Event, before protocol.Quantity) {
	if doc.Kind != protocol.KindCount {
		return
	}
	list := e.anchorsOf(id)
	if len(list) == 0 || list[0].group != groupOf(doc) {
		return // a newer count stands: what this one would have found is not known
	}
	e.seen.Counted = append(e.seen.Counted, Counted{id, list[0].group, before, e.cells[id].onHand, len(list) == 1})
}

// movedLate notes a movement that the count had seen.
func (e *Engine) movedLate(id ledger.CellID, a *anchor, onHand protocol.Quantity) {
	if !a.stated {
		e.seen.Late = append(e.seen.Late, Late{id, a.group, onHand})
	}
}

// fell notes a position that a movement took below zero, where there was ground to
// believe its number.
func (e *Engine) fell(id ledger.CellID, by protocol.Quantity) {
	c := &e.cells[id]
	if was := c.onHand - by; c.onHand < 0 && was >= 0 && (c.anchored || was > 0) {
		e.seen.Below = append(e.seen.Below, id)
	}
}
