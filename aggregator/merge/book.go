package merge

import (
	"fmt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// foreignMarginUS is how close to a statement's moment another journal's movement
// may stand before its clock can no longer tell whether the statement has seen it.
const foreignMarginUS = 120_000_000

// BookAt says what the book held of a position at the cut of a statement: the
// number to compare it with. foreign tells that movements of other journals stand
// too close to the statement's moment; anchored that somebody counted or stated
// the position before. A count that is newer than the statement is left out, and
// with it what only it can tell.
func (e *Engine) BookAt(st *protocol.Event, from ledger.OriginID, sku protocol.SKU) (book protocol.Quantity, anchored, foreign bool, err error) {
	id, ok := e.Lookup(st.Store, sku)
	if !ok {
		return 0, false, false, nil
	}
	at := place{origin: from, recordUS: st.EventTime.US, eventUS: st.EventTime.US}
	cutHere := makeAnchor(&e.lineage, e.Origin, &ledger.Entry{MergedUS: st.EventTime.US}, &at, st, nil, 0)
	var base *anchor
	for i, list := 0, e.anchors[id]; i < len(list); i++ {
		if list[i].keyUS <= st.EventTime.US {
			base = &list[i]
			break
		}
	}
	if base != nil {
		book, anchored = base.qty, true
	}
	for p := e.cells[id].head; p != 0; {
		en, err := e.read(p)
		if err != nil {
			return 0, false, false, fmt.Errorf("book of cell %d: %w", id, err)
		}
		m, err := e.movement(&en, id)
		if err != nil {
			return 0, false, false, fmt.Errorf("book of cell %d at %d: %w", id, p, err)
		}
		p = m.prev
		if m.onHand == 0 || m.anchor {
			continue
		}
		if base != nil {
			in, how := e.lineage.inside(base, &m.at)
			if in && how == bySeq && e.cells[id].mono != mixed {
				break
			}
			if in {
				continue
			}
		}
		in, how := e.lineage.inside(&cutHere, &m.at)
		if in {
			book += m.onHand
		}
		if gap := m.at.eventUS - st.EventTime.US; how == byEventTime && gap > -foreignMarginUS && gap < foreignMarginUS {
			foreign = true
		}
	}
	return book, anchored, foreign, nil
}

// Known tells whether an event is in the log.
func (e *Engine) Known(id protocol.EventID) (bool, error) {
	_, _, ok, err := e.find(id)
	return ok, err
}
