package merge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// explainWalkMax bounds how many entries an explanation reads.
const explainWalkMax = 50_000

// Question is what an explanation is asked for.
type Question struct {
	Limit   int   // lines shown
	AtUS    int64 // business time: what happened later is left out; 0 = now
	KnownUS int64 // what was merged later is left out; 0 = all that is known
}

// past tells that the question is not about the position as it stands.
func (q *Question) past() bool { return q.AtUS != 0 || q.KnownUS != 0 }

// View is a cell with what is needed to explain it away from the engine's
// goroutine: the log behind it never changes.
type View struct {
	Cell    Cell
	head    ledger.Position
	anchors []anchor
	fulls   []anchor // full counts of the location
	flows   []Flow
	lineage lineage
	origins []protocol.Origin
	items   Items
}

// View copies a cell for Explain.
func (e *Engine) View(id ledger.CellID) View {
	return View{
		fulls: slices.Clone(e.fulls[e.cells[id].loc]), Cell: e.Cell(id), head: e.cells[id].head, anchors: slices.Clone(e.anchors[id]), flows: e.Flows(id),
		lineage: e.lineage.view(), origins: e.origins[:len(e.origins):len(e.origins)], items: e.items,
	}
}

func (v *View) number(o protocol.Origin) ledger.OriginID {
	return ledger.OriginID(max(0, slices.Index(v.origins, o)))
}

// step is one entry of a cell's chain, with the document's outline.
type step struct {
	moved
	line  protocol.ExplainLine
	parts []anchor // anchors: what this entry counted
}

// Explain lists why a position is what it is: the anchor, and every movement
// with its effect. At most Limit lines are shown; Rest sums those left out, so
// that on hand = anchor + Σ effects + rest always holds.
func Explain(v View, read func(ledger.Position) (ledger.Entry, error), q Question) (*protocol.Explanation, error) {
	x := &protocol.Explanation{SKU: v.Cell.SKU, Location: v.Cell.Location, Lines: []protocol.ExplainLine{}}
	w, err := v.walk(read, &q)
	if err != nil {
		return nil, err
	}
	anchors := v.anchors
	if q.past() {
		if !w.whole {
			return nil, fmt.Errorf("explain %s at %s: %w: more than %d movements", x.SKU, x.Location, ledger.ErrNotFound, explainWalkMax)
		}
		if anchors, err = v.anchorsThen(read, &w, &q); err != nil {
			return nil, err
		}
	}
	v.sum(x, w.steps, anchors, w.whole, q.Limit)
	v.sumFlows(x, w.steps)
	if !q.past() {
		c := &v.Cell
		x.Rest += c.OnHand - x.OnHand // entries beyond the walk; zero when it was whole
		x.OnHand, x.InTransit, x.Incoming = c.OnHand, c.InTransit, c.Incoming
		x.UnavailableBy = protocol.UnavailableOf(c.UnavailableBy)
		x.Flows = x.Flows[:0]
		for _, f := range v.flows {
			x.Flows = append(x.Flows, explainFlow(f))
		}
		if !w.whole {
			x.Truncated++
			x.RestUnavailable = restOf(x)
		}
	}
	x.Unavailable = x.UnavailableBy.Sum()
	if x.Anchor == nil && len(anchors) > 0 {
		if err := v.showAnchor(x, read, &anchors[0]); err != nil {
			return nil, err
		}
	}
	if x.Anchor != nil && len(anchors) > 1 && !anchors[0].comparable(&anchors[1]) {
		x.Anchor.Flags = append(x.Anchor.Flags, "ordered_by_event_time")
	}
	x.Sum = inWords(x, anchors)
	return x, nil
}

// restOf is what the shown lines leave unexplained of the dispositions.
func restOf(x *protocol.Explanation) protocol.UnavailableBy {
	r := x.UnavailableBy
	for i := range x.Lines {
		u := &x.Lines[i].UnavailableBy
		r.Damaged, r.Quarantine, r.Unknown = r.Damaged-u.Damaged, r.Quarantine-u.Quarantine, r.Unknown-u.Unknown
	}
	return r
}

// anchorsThen finds the anchors of a past moment: the full counts that were taken
// before the cell existed, and those of its chain, in the order in which they were
// merged.
func (v *View) anchorsThen(read func(ledger.Position) (ledger.Entry, error), w *walked, q *Question) ([]anchor, error) {
	fulls, err := v.fullsBefore(read, w, q)
	if err != nil {
		return nil, err
	}
	var out []anchor
	for _, a := range fulls {
		out = addAnchor(out, a)
	}
	for i := len(w.steps) - 1; i >= 0; i-- {
		for _, a := range w.steps[i].parts {
			if q.AtUS == 0 || a.countedUS <= q.AtUS {
				out = addAnchor(out, a)
			}
		}
	}
	return out, nil
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

// walked is what was read of a chain.
type walked struct {
	steps []step          // newest first, without what the question leaves out
	whole bool            // to its beginning
	born  ledger.Position // its oldest entry
	full  ledger.Position // the oldest full count on it; 0: there is none
}

// walk reads the chain, newest first.
func (v *View) walk(read func(ledger.Position) (ledger.Entry, error), q *Question) (walked, error) {
	out := walked{born: v.head}
	w := chain{read: read, items: v.items, id: v.Cell.ID, loc: v.Cell.Location, sku: v.Cell.SKU}
	for p, n := v.head, 0; p != 0; n++ {
		if n == explainWalkMax {
			return out, nil
		}
		en, err := read(p)
		if err != nil {
			return walked{}, fmt.Errorf("explain: read entry %d: %w", p, err)
		}
		var doc protocol.Event
		m, err := w.movement(&en, &doc)
		if err != nil {
			return walked{}, fmt.Errorf("explain: entry %d: %w", p, err)
		}
		if out.born = p; m.anchor && full(&doc) {
			out.full = p
		}
		p = m.prev
		if q.KnownUS != 0 && en.MergedUS > q.KnownUS || q.AtUS != 0 && !m.anchor && m.at.eventUS > q.AtUS {
			continue
		}
		s := step{moved: m, line: v.outline(&en, &doc, &m)}
		if m.flow != 0 {
			s.line.Flow = m.flowName
			if m.flowKind == flowTransit {
				s.line.InTransit = m.flow
			} else {
				s.line.Incoming = m.flow
			}
		}
		if m.anchor {
			s.parts = v.partsOf(&en, &m.at, &doc)
		}
		out.steps = append(out.steps, s)
	}
	out.whole = true
	return out, nil
}

// partsOf rebuilds the anchors that a count put on this cell.
func (v *View) partsOf(en *ledger.Entry, at *place, doc *protocol.Event) []anchor {
	var parts []anchor
	x := effects{items: v.items}
	for _, f := range x.of(doc, en.Position, nil) {
		if f.Anchor && f.SKU == v.Cell.SKU && f.Location == v.Cell.Location {
			parts = append(parts, makeAnchor(&v.lineage, v.number, en, at, doc, &doc.Lines[f.Line], f.OnHand))
		}
	}
	if len(parts) == 0 && full(doc) { // a full count that does not name the SKU
		parts = append(parts, makeAnchor(&v.lineage, v.number, en, at, doc, zeroLine(doc), 0))
	}
	return parts
}

var flagNames = []struct {
	bit  protocol.EventFlags
	name string
}{
	{protocol.FlagDerivedQuantity, "derived_quantity"},
	{protocol.FlagMasked, "masked"},
	{protocol.FlagBadCheckDigit, "bad_check_digit"},
	{protocol.FlagZoneless, "zoneless"},
	{protocol.FlagBadVerifier, "bad_verifier"},
	{protocol.FlagNoUnitPrice, "no_unit_price"},
	{protocol.FlagClockSetBack, "clock_set_back"},
}

func (v *View) outline(en *ledger.Entry, doc *protocol.Event, m *moved) protocol.ExplainLine {
	l := protocol.ExplainLine{
		Position: uint64(en.Position), Kind: doc.Kind, EventID: doc.ID, DocumentID: doc.DocumentID,
		Epoch: en.Epoch, Seq: en.Seq, Register: doc.Register, OccurredAt: doc.EventTime.Time(),
		RecordedAt: time.UnixMicro(m.at.recordUS).UTC(), MergedAt: time.UnixMicro(en.MergedUS).UTC(),
		Quantity: m.quantity, UnavailableBy: protocol.UnavailableOf(m.unavailable), Item: m.version,
	}
	l.Unavailable = l.UnavailableBy.Sum()
	if int(en.Origin) < len(v.origins) {
		l.Origin = v.origins[en.Origin]
	}
	for _, f := range flagNames {
		if doc.Flags&f.bit != 0 {
			l.Flags = append(l.Flags, f.name)
		}
	}
	if en.Ref != 0 && doc.Kind == protocol.KindHold {
		l.Flags = append(l.Flags, "replaced_by_sale")
	}
	return l
}

// verbs name the kinds in the arithmetic; a negative sum of a kind reads "−".
var verbs = map[protocol.Kind]string{
	protocol.KindSale: "sold", protocol.KindReturn: "returned", protocol.KindVoid: "voided", protocol.KindReceipt: "received",
	protocol.KindAdjustment: "adjusted", protocol.KindTransfer: "transferred", protocol.KindHold: "collected", protocol.KindKit: "assembled",
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
	for k := protocol.KindSale; k.Valid(); k++ {
		if w, ok := verbs[k]; ok {
			term(sums[k], w)
		}
	}
	term(x.Rest, "in older movements")
	fmt.Fprintf(&b, " = %s on hand", x.OnHand)
	return b.String()
}
