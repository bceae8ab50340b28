package merge

import (
	"fmt"
	"slices"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// togetherUS is how long after a backlog's last old document a new one may come and
// still count as its end.
const togetherUS = 60_000_000

// Unheard is how much left a position, beyond what came back, while a journal of its
// store was silent for longer than lagUS, as far as that silence has just ended: its
// newest documents that were merged so much later than they were journaled, and those
// from the silence's last moments that came with them. It reads most entries at most.
func (e *Engine) Unheard(id ledger.CellID, lagUS int64, most int) (left protocol.Quantity, err error) {
	type silent struct {
		of  ledger.OriginID
		end protocol.Quantity // what came with it
		old bool              // a document of it was late
	}
	var list []silent
	newest := int64(0)
	for p := e.cells[id].head; p != 0 && most > 0; most-- {
		en, err := e.read(p)
		if err != nil {
			return 0, fmt.Errorf("read what was unheard: %w", err)
		}
		m, err := e.movement(&en, id)
		if err != nil {
			return 0, fmt.Errorf("read what was unheard at %d: %w", p, err)
		}
		p = m.prev
		if newest == 0 {
			newest = en.MergedUS
		}
		if m.anchor || e.origins[en.Origin].IsFeed() {
			continue
		}
		n := slices.IndexFunc(list, func(s silent) bool { return s.of == en.Origin })
		if n < 0 {
			n = len(list)
			list = append(list, silent{of: en.Origin})
		}
		s := &list[n]
		offset, _ := e.lineage.clockAt(en.Origin, en.Epoch, en.Seq)
		switch late := en.MergedUS-m.at.recordUS-offset > lagUS; {
		case late:
			left += s.end - m.onHand
			s.end, s.old = 0, true
		case s.old || en.MergedUS < newest-togetherUS:
			return left, nil // before the silence
		default:
			s.end -= m.onHand
		}
	}
	return left, nil
}
