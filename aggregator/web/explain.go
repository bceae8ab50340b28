package web

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// explainData unfolds a number, now or at a past moment.
type explainData struct {
	protocol.Explanation
	Inside  int // lines inside the anchor's cut
	Gone    string
	Past    bool      // the moment is not now
	Known   bool      // as it was known then
	When    time.Time // of the past moment
	Curve   *curve    // on hand over the time that the slider travels
	Lag     bool      // the watermark's age is worth a warning
	Address string    // this explanation's own
	Traced  bool      // the way of a document can be followed
}

// curve is on hand as a stair, from the movements as they are known now.
type curve struct {
	From, To int64  // Unix seconds
	At       int64  // where the slider stands
	Step     int64  // seconds
	Path     string // SVG, 1000 wide and 100 high
	Zero     string // y of nothing
	Max, Min protocol.Quantity
}

// moment reads which past is asked about.
func moment(r *http.Request) (m Moment, err error) {
	s := query(r, "at")
	if s == "" {
		return m, nil
	}
	at, err := strconv.ParseInt(s, 10, 64)
	if err != nil || at <= 0 || at > 1<<40 {
		return m, badRequest("at must be a moment in Unix seconds.")
	}
	m.AtUS = at * 1e6
	if query(r, "known") != "" {
		m.KnownUS = m.AtUS
	}
	return m, nil
}

func (w *Web) explain(r *http.Request, sku protocol.SKU, loc protocol.StoreID, when Moment) *explainData {
	if w.opts.Explain == nil {
		return nil
	}
	e := &explainData{Past: when.AtUS != 0, Known: when.KnownUS != 0, Traced: w.opts.Trace != nil}
	now, err := w.opts.Explain(r.Context(), sku, loc, explainSteps, Moment{})
	x := now
	if err == nil && e.Past {
		x, err = w.opts.Explain(r.Context(), sku, loc, explainLinesMax, when)
	}
	if err != nil {
		e.SKU, e.Location = sku, loc
		e.Gone = "There is nothing to explain: no movement of this SKU at this location is merged."
		if !errors.Is(err, ledger.ErrNotFound) {
			w.opts.Log.Warn().Err(err).Str("sku", string(sku)).Str("store", string(loc)).Msg("explain failed")
			e.Gone = "The explanation could not be made; the aggregator's log says why."
		}
		return e
	}
	at := w.now()
	if e.Past {
		at = time.UnixMicro(when.AtUS)
		e.When = at.UTC()
	}
	e.Explanation, e.Lag = x, x.LagS > 300
	e.Curve = makeCurve(&now, w.now(), at)
	for i := range x.Lines {
		if x.Lines[i].InsideCut {
			e.Inside++
		}
	}
	return e
}

// makeCurve walks back from now: each movement undone gives what was there before.
func makeCurve(x *protocol.Explanation, now, at time.Time) *curve {
	type point struct {
		s int64
		q protocol.Quantity
	}
	lines := slices.Clone(x.Lines)
	slices.SortStableFunc(lines, func(a, b protocol.ExplainLine) int { return cmp.Compare(b.OccurredAt.Unix(), a.OccurredAt.Unix()) })
	q := x.OnHand
	for _, d := range x.OnTheWay {
		q -= d.OnHand
	}
	points := []point{{now.Unix(), q}}
	for i := range lines {
		points = append(points, point{lines[i].OccurredAt.Unix(), q})
		q -= lines[i].Effect
	}
	if x.Anchor != nil && x.Truncated == 0 {
		points = append(points, point{x.Anchor.OccurredAt.Unix(), q})
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.s, b.s) })
	c := &curve{From: points[0].s, To: now.Unix(), At: at.Unix(), Max: protocol.Units(1)}
	if c.To-c.From < 60 {
		c.From = c.To - 60
	}
	c.From -= (c.To - c.From) / 40 // so that the first step is seen
	c.Step = max(1, (c.To-c.From)/explainSteps)
	for _, p := range points {
		c.Max, c.Min = max(c.Max, p.q), min(c.Min, p.q)
	}
	var b strings.Builder
	y := func(q protocol.Quantity) string {
		return strconv.FormatFloat(94-88*float64(q-c.Min)/float64(c.Max-c.Min), 'f', 1, 64)
	}
	xAt := func(s int64) string {
		return strconv.FormatFloat(1000*float64(s-c.From)/float64(c.To-c.From), 'f', 1, 64)
	}
	b.WriteString("M0 " + y(q) + "H" + xAt(points[0].s))
	for _, p := range points {
		b.WriteString("H" + xAt(p.s) + "V" + y(p.q))
	}
	c.Path, c.Zero = b.String()+"H1000", y(0)
	return c
}
