package merge

import (
	"fmt"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// explainWalkMax bounds how many entries an explanation reads.
const explainWalkMax = 50_000

// View is a cell with what is needed to explain it away from the engine's
// goroutine: the log behind it never changes.
type View struct {
	Cell    Cell
	head    ledger.Position
	anchors []anchor
	forks   map[ledger.OriginID][]ledger.Fork
	origins []protocol.Origin
}

// View copies a cell for Explain.
func (e *Engine) View(id ledger.CellID) View {
	v := View{Cell: e.Cell(id), head: e.cells[id].head, origins: e.origins[:len(e.origins):len(e.origins)]}
	v.anchors = append(v.anchors, e.anchors[id]...)
	if len(e.forks) > 0 {
		v.forks = make(map[ledger.OriginID][]ledger.Fork, len(e.forks))
		for k, f := range e.forks {
			v.forks[k] = f
		}
	}
	return v
}

// step is one entry of a cell's chain, with the document's outline.
type step struct {
	moved
	line protocol.ExplainLine
	part []anchor // anchors: what this entry counted
}

// Explain lists why a position is what it is: the anchor, and every movement
// with its effect. At most limit lines are shown; Rest sums those left out, so
// that on hand = anchor + Σ effects + rest always holds. With knownUS, entries
// merged later are left out: the position as it was known then.
func Explain(v View, read func(ledger.Position) (ledger.Entry, error), limit int, knownUS int64) (*protocol.Explanation, error) {
	x := &protocol.Explanation{SKU: v.Cell.SKU, Location: v.Cell.Location, Lines: []protocol.ExplainLine{}}
	steps, whole, err := v.walk(read, knownUS)
	if err != nil {
		return nil, err
	}
	anchors := v.anchors
	if knownUS != 0 {
		anchors = nil
		for i := len(steps) - 1; i >= 0; i-- { // oldest first, as they were merged
			for _, a := range steps[i].part {
				anchors, _ = addAnchor(anchors, a)
			}
		}
	}
	v.sum(x, steps, anchors, whole && (len(anchors) < anchorsMax), limit)
	if knownUS == 0 {
		known := v.Cell.OnHand
		x.Rest += known - x.OnHand // entries beyond the walk; zero when it was whole
		x.OnHand, x.Unavailable, x.InTransit = known, v.Cell.Unavailable, v.Cell.InTransit
		if !whole {
			x.Truncated++
		}
	} else if !whole {
		return nil, fmt.Errorf("explain %s at %s: %w: more than %d movements", x.SKU, x.Location, ledger.ErrNotFound, explainWalkMax)
	}
	if x.Anchor == nil && len(anchors) > 0 {
		if err := v.showAnchor(x, read, &anchors[0]); err != nil {
			return nil, err
		}
	}
	x.Sum = inWords(x, anchors)
	return x, nil
}

// showAnchor outlines a full count that was taken before the cell existed, and
// so does not stand in its chain.
func (v *View) showAnchor(x *protocol.Explanation, read func(ledger.Position) (ledger.Entry, error), a *anchor) error {
	en, err := read(a.pos)
	if err != nil {
		return fmt.Errorf("explain: read anchor %d: %w", a.pos, err)
	}
	var doc protocol.Event
	us, err := protocol.DecodeRecord(en.Record, &doc)
	if err != nil {
		return fmt.Errorf("explain: decode anchor %d: %w", a.pos, err)
	}
	l := v.outline(&en, &doc, &moved{at: place{recordUS: us}, quantity: a.qty})
	l.Effect = a.qty
	x.Anchor = &l
	return nil
}

// walk reads the chain, newest first.
func (v *View) walk(read func(ledger.Position) (ledger.Entry, error), knownUS int64) ([]step, bool, error) {
	var steps []step
	for p, n := v.head, 0; p != 0; n++ {
		if n == explainWalkMax {
			return steps, false, nil
		}
		en, err := read(p)
		if err != nil {
			return nil, false, fmt.Errorf("explain: read entry %d: %w", p, err)
		}
		var doc protocol.Event
		m, err := movementOf(read, &en, v.Cell.ID, v.Cell.Location, v.Cell.SKU, &doc)
		if err != nil {
			return nil, false, fmt.Errorf("explain: entry %d: %w", p, err)
		}
		p = m.prev
		if knownUS != 0 && en.MergedUS > knownUS {
			continue
		}
		s := step{moved: m, line: v.outline(&en, &doc, &m)}
		if m.anchor {
			s.part = v.partsOf(&en, m.at, &doc)
		}
		steps = append(steps, s)
	}
	return steps, true, nil
}

// partsOf rebuilds the anchors that a count put on this cell.
func (v *View) partsOf(en *ledger.Entry, at place, doc *protocol.Event) []anchor {
	var parts []anchor
	for i := range doc.Lines {
		if l := &doc.Lines[i]; l.SKU == v.Cell.SKU {
			parts = append(parts, anchorOf(en, at, doc, l, l.Quantity))
		}
	}
	if len(parts) == 0 { // a full count that does not name the SKU
		parts = append(parts, zeroAnchor(en, at, doc))
	}
	return parts
}

func (v *View) outline(en *ledger.Entry, doc *protocol.Event, m *moved) protocol.ExplainLine {
	l := protocol.ExplainLine{
		Position: uint64(en.Position), Kind: doc.Kind, EventID: doc.ID, DocumentID: doc.DocumentID,
		Epoch: en.Epoch, Seq: en.Seq, Register: doc.Register, OccurredAt: doc.EventTime.Time(),
		RecordedAt: time.UnixMicro(m.at.recordUS).UTC(), MergedAt: time.UnixMicro(en.MergedUS).UTC(),
		Quantity: m.quantity, InTransit: m.inTransit, Unavailable: m.unavailable,
	}
	if int(en.Origin) < len(v.origins) {
		l.Origin = v.origins[en.Origin]
	}
	for _, f := range []struct {
		bit  protocol.EventFlags
		name string
	}{
		{protocol.FlagDerivedQuantity, "derived_quantity"},
		{protocol.FlagMasked, "masked"},
		{protocol.FlagBadCheckDigit, "bad_check_digit"},
		{protocol.FlagZoneless, "zoneless"},
	} {
		if doc.Flags&f.bit != 0 {
			l.Flags = append(l.Flags, f.name)
		}
	}
	return l
}

// sum fills the explanation from the steps.
func (v *View) sum(x *protocol.Explanation, steps []step, anchors []anchor, whole bool, limit int) {
	var win *anchor
	if len(anchors) > 0 {
		win = &anchors[0]
		x.OnHand = win.qty
	}
	late := 0
	var book protocol.Quantity
	var before *anchor
	if len(anchors) > 1 {
		before = &anchors[1]
		book = before.qty
	}
	for i := range steps {
		s := &steps[i]
		if s.anchor {
			if win != nil && s.line.Position == uint64(win.pos) {
				a := s.line
				a.Quantity, a.Effect = win.qty, win.qty
				x.Anchor = &a
			}
			continue
		}
		x.Unavailable += s.unavailable
		x.InTransit += s.inTransit
		l := s.line
		l.Effect = s.onHand
		if win != nil && s.onHand != 0 {
			in, byTime := win.inside(s.at, v.forks[s.at.origin])
			if byTime {
				l.Flags = append(l.Flags, "by_event_time")
			}
			if in {
				l.InsideCut, l.Effect = true, 0
				late += tally(s, win, before, v.forks, &book)
			}
		}
		x.OnHand += l.Effect
		if len(x.Lines) < limit {
			x.Lines = append(x.Lines, l)
		} else {
			x.Truncated++
			x.Rest += l.Effect
		}
	}
	if win != nil && whole {
		x.Variance = &protocol.Variance{Counted: win.qty, Book: book, LateSales: late, Unexplained: win.qty - book}
	}
}

// tally adds a movement inside the cut to what the book said at that moment,
// and counts it when it became known only after the count.
func tally(s *step, win, before *anchor, forks map[ledger.OriginID][]ledger.Fork, book *protocol.Quantity) int {
	if before != nil {
		if in, _ := before.inside(s.at, forks[s.at.origin]); in {
			return 0
		}
	}
	*book += s.onHand
	if s.line.Position > uint64(win.pos) {
		return 1
	}
	return 0
}

// verbs name the kinds in the arithmetic; a negative sum of a kind reads "−".
var verbs = map[protocol.Kind]string{
	protocol.KindSale: "sold", protocol.KindReturn: "returned", protocol.KindVoid: "voided", protocol.KindReceipt: "received",
	protocol.KindAdjustment: "adjusted", protocol.KindTransfer: "transferred",
}

func inWords(x *protocol.Explanation, anchors []anchor) string {
	sums := map[protocol.Kind]protocol.Quantity{}
	for _, l := range x.Lines {
		sums[l.Kind] += l.Effect
	}
	var b strings.Builder
	if len(anchors) > 0 {
		word := "counted"
		if x.Anchor != nil && x.Anchor.Kind == protocol.KindSnapshot {
			word = "stated"
		}
		fmt.Fprintf(&b, "%s %s", anchors[0].qty, word)
	} else {
		b.WriteString("0 (never counted)")
	}
	term := func(q protocol.Quantity, word string) {
		if q > 0 {
			fmt.Fprintf(&b, " + %s %s", q, word)
		} else if q < 0 {
			fmt.Fprintf(&b, " − %s %s", -q, word)
		}
	}
	for k := protocol.KindSale; k <= protocol.KindHold; k++ {
		if w, ok := verbs[k]; ok {
			term(sums[k], w)
		}
	}
	term(x.Rest, "in older movements")
	fmt.Fprintf(&b, " = %s on hand", x.OnHand)
	return b.String()
}
