package merge

import (
	"fmt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// addFull takes a part of a full count: of each session the greatest part stands, and
// of all sessions the greatest few. That is so in whatever order the parts come: one
// that falls out was less than all that stay, and they only grow.
func addFull(fulls []anchor, a anchor) []anchor {
	for i := range fulls {
		if fulls[i].group == a.group {
			if fulls[i].less(&a) {
				fulls[i] = a
			}
			return fulls
		}
	}
	fulls = append(fulls, a)
	if len(fulls) <= fullCountsMax {
		return fulls
	}
	oldest := 0
	for i := range fulls {
		if fulls[i].less(&fulls[oldest]) {
			oldest = i
		}
	}
	return append(fulls[:oldest], fulls[oldest+1:]...)
}

// fullsBefore finds the full counts that stood when the cell came to be, as far as a
// question lets them: it was zeroed by them though they do not name it, and they are
// not on its chain. Those that the engine remembers will not do: of a session in
// several documents it has the greatest part, which may be younger than the cell, and
// of many sessions the last. But a full count links every cell of its location, and so
// each leads to the one before it.
func (v *View) fullsBefore(read func(ledger.Position) (ledger.Entry, error), w *walked, q *Question) (out []anchor, err error) {
	from, all := w.full, w.full == 0
	for _, a := range v.fulls {
		if w.born != 0 && a.pos >= w.born {
			continue
		}
		if w.full == 0 {
			from = max(from, a.pos)
		}
		en, err := read(a.pos)
		if err != nil {
			return nil, fmt.Errorf("explain: read full count %d: %w", a.pos, err)
		}
		if q.lets(&a, &en) {
			out = addFull(out, a)
		} else {
			all = false
		}
	}
	if all { // nothing came to the remembered ones since
		return out, nil
	}
	s := search{read: read, loc: v.Cell.Location}
	for from != 0 {
		en, doc, err := s.entry(from)
		if err != nil {
			return nil, err
		}
		if len(out) == fullCountsMax && !earlier(&en, out) {
			break
		}
		if a := v.zeroOf(&en, doc, s.recordUS); (w.born == 0 || from < w.born) && q.lets(&a, &en) {
			out = addFull(out, a)
		}
		if from, err = s.before(&en); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lets tells whether a part of a full count belongs to the moment that is asked for.
func (q *Question) lets(a *anchor, en *ledger.Entry) bool {
	return (q.KnownUS == 0 || en.MergedUS <= q.KnownUS) && (q.AtUS == 0 || a.countedUS <= q.AtUS)
}

// earlier tells whether a count that was merged with an entry, or before it, may be
// greater than one of those found: it was not counted after it was merged, but for a
// clock that ran ahead by more than a day.
func earlier(en *ledger.Entry, found []anchor) bool {
	for i := range found {
		if found[i].keyUS <= en.MergedUS+refoldMarginUS+setMarginUS {
			return true
		}
	}
	return false
}

// zeroOf is the anchor of what a full count does not name.
func (v *View) zeroOf(en *ledger.Entry, doc *protocol.Event, recordUS int64) anchor {
	at := placeOf(en, recordUS, doc)
	return makeAnchor(&v.lineage, v.number, en, &at, doc, zeroLine(doc), 0)
}

// search goes from one full count of a location to the one before it.
type search struct {
	read     func(ledger.Position) (ledger.Entry, error)
	loc      protocol.StoreID
	reads    int
	doc      protocol.Event
	recordUS int64 // of doc
}

// entry reads an entry with its document, which is valid until the next one.
func (s *search) entry(p ledger.Position) (ledger.Entry, *protocol.Event, error) {
	if s.reads++; s.reads > explainWalkMax {
		return ledger.Entry{}, nil, fmt.Errorf("explain: %w: more than %d movements between full counts at %s", ledger.ErrNotFound, explainWalkMax, s.loc)
	}
	en, err := s.read(p)
	if err != nil {
		return en, nil, fmt.Errorf("explain: read entry %d: %w", p, err)
	}
	if en.Ref != 0 { // the second half of an earlier entry counts nothing
		s.doc = protocol.Event{}
		return en, &s.doc, nil
	}
	if s.recordUS, err = protocol.DecodeRecord(en.Record, &s.doc); err != nil {
		return en, nil, fmt.Errorf("explain: decode entry %d: %w", p, err)
	}
	return en, &s.doc, nil
}

// before finds the newest full count that stands before one; 0 where there is none.
// Every cell that there was then is on both, so the newest full count on the chain of
// any of them is it. The cell that was touched the longest ago is the shortest way,
// mostly that very count; where its chain has none it came to be after it, and an
// older cell is asked.
func (s *search) before(en *ledger.Entry) (ledger.Position, error) {
	for younger := ^ledger.CellID(0); ; {
		var way ledger.Link
		for _, l := range en.Links {
			if l.Cell != 0 && l.Cell < younger && l.Prev != 0 && (way.Prev == 0 || l.Prev < way.Prev) {
				way = l
			}
		}
		for p := way.Prev; p != 0; {
			on, doc, err := s.entry(p)
			if err != nil {
				return 0, err
			}
			if on.Ref == 0 && full(doc) {
				return p, nil
			}
			if p, err = prevOf(&on, way.Cell); err != nil {
				return 0, fmt.Errorf("explain: entry %d: %w", on.Position, err)
			}
		}
		if way.Prev == 0 {
			return 0, nil
		}
		younger = way.Cell
	}
}

// prevOf is the entry before one on a cell's chain.
func prevOf(en *ledger.Entry, id ledger.CellID) (ledger.Position, error) {
	for _, l := range en.Links {
		if l.Cell == id {
			return l.Prev, nil
		}
	}
	return 0, errNoLink
}
