package merge

import (
	"fmt"
	"time"

	"tillwire/protocol"
)

// sum fills the explanation from the steps.
func (v *View) sum(x *protocol.Explanation, steps []step, anchors []anchor, whole bool, limit int) {
	var win, before *anchor
	if len(anchors) > 0 {
		win = &anchors[0]
		x.OnHand = win.qty
	}
	t := tally{lineage: &v.lineage, win: win}
	if len(anchors) > 1 {
		before = &anchors[1]
		t.before, t.book = before, before.qty
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
		l := s.line
		l.Effect = s.onHand
		if win != nil && s.onHand != 0 {
			v.judge(&l, s, win, &t)
		}
		x.OnHand += l.Effect
		u := &l.UnavailableBy
		x.UnavailableBy.Damaged += u.Damaged
		x.UnavailableBy.Quarantine += u.Quarantine
		x.UnavailableBy.Unknown += u.Unknown
		if len(x.Lines) < limit {
			x.Lines = append(x.Lines, l)
			continue
		}
		x.Truncated++
		x.Rest += l.Effect
		x.RestUnavailable.Damaged += u.Damaged
		x.RestUnavailable.Quarantine += u.Quarantine
		x.RestUnavailable.Unknown += u.Unknown
	}
	if win != nil && whole && len(anchors) < anchorsMax {
		x.Variance = t.variance()
	}
}

// judge says of a movement whether the anchor has seen it, and by what.
func (v *View) judge(l *protocol.ExplainLine, s *step, win *anchor, t *tally) {
	in, how := v.lineage.inside(win, &s.at)
	switch how {
	case bySeq, byOwnClock:
	case byClock:
		l.Flags = append(l.Flags, "by_clock")
	case byEventTime:
		l.Flags = append(l.Flags, "by_event_time")
	}
	if win.between(&s.at, in) {
		l.Flags = append(l.Flags, "between_zone_cuts")
	}
	if in {
		l.InsideCut, l.Effect = true, 0
		t.add(s)
	}
}

// tally works out a count's variance: what the book said at the cut, with all
// that is known now.
type tally struct {
	lineage     *lineage
	win, before *anchor
	book        protocol.Quantity
	late        int
	lateUnits   protocol.Quantity
}

// add takes a movement inside the cut. One that was merged after the count is
// late: the counter's difference is no longer unexplained.
func (t *tally) add(s *step) {
	if t.before != nil {
		if in, _ := t.lineage.inside(t.before, &s.at); in {
			return
		}
	}
	t.book += s.onHand
	if s.line.Position > uint64(t.win.pos) {
		t.late++
		t.lateUnits += s.onHand
	}
}

func (t *tally) variance() *protocol.Variance {
	v := &protocol.Variance{Counted: t.win.qty, Book: t.book, LateSales: t.late, LateUnits: t.lateUnits, Unexplained: t.win.qty - t.book}
	switch {
	case t.late == 0 && v.Unexplained == 0:
		v.Sum = "the count agrees with the book"
	case t.late == 0:
		v.Sum = fmt.Sprintf("%s unexplained", signed(v.Unexplained))
	default:
		v.Sum = fmt.Sprintf("%d late movements (%s), %s unexplained", t.late, signed(t.lateUnits), signed(v.Unexplained))
	}
	return v
}

func signed(q protocol.Quantity) string {
	if q < 0 {
		return "−" + (-q).String()
	}
	return q.String()
}

// sumFlows nets the transfers and advices of the steps, newest first in, in
// order of their first movement out.
func (v *View) sumFlows(x *protocol.Explanation, steps []step) {
	type key struct {
		kind flowKind
		name string
	}
	at := map[key]int{}
	var open []flow
	for i := len(steps) - 1; i >= 0; i-- {
		s := &steps[i]
		if s.flowKind == flowNone {
			continue
		}
		k := key{s.flowKind, s.flowName}
		n, known := at[k]
		if !known {
			n = len(open)
			at[k] = n
			open = append(open, flow{kind: k.kind, name: k.name, sinceUS: s.line.OccurredAt.UnixMicro()})
		}
		f := &open[n]
		f.open += s.flow
		f.sinceUS = min(f.sinceUS, s.line.OccurredAt.UnixMicro())
		if s.dueUS != 0 {
			f.dueUS = s.dueUS
		}
	}
	for i := range open {
		f := &open[i]
		if f.open == 0 {
			continue
		}
		x.Flows = append(x.Flows, explainFlow(f.public(v.Cell.Location, v.Cell.SKU)))
		if f.kind == flowTransit {
			x.InTransit += max(0, f.open)
		} else {
			x.Incoming += max(0, f.open)
		}
	}
}

func explainFlow(f Flow) protocol.ExplainFlow {
	x := protocol.ExplainFlow{Kind: f.Kind, ID: f.ID, Open: f.Open, Since: time.UnixMicro(f.SinceUS).UTC()}
	if f.DueUS != 0 {
		due := time.UnixMicro(f.DueUS).UTC()
		x.Due = &due
	}
	return x
}
