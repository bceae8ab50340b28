package web

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// outcomesData is how well the chain's numbers and promises held.
type outcomesData struct {
	*listing
	protocol.Outcomes
	By      string
	Rows    []outcomeRow
	Trends  []trend
	Wrong   string
	Explain []pair // measure and what it counts
}

// outcomeRow is a row with where more of it can be seen.
type outcomeRow struct {
	protocol.Outcome
	Name, Href string
}

// trend is one measure over the weeks that are shown: the last one drawn strongest.
type trend struct {
	Name, Value, Hint string
	Bars              []trendBar
	Words             string // of the drawing
}

// trendBar is a week of a trend, in a drawing of 100 × 28.
type trendBar struct {
	X, Y, W, H float64
	Last       bool
}

const (
	trendHeight = 28
	outcomeDay  = time.DateOnly
)

// share words a ratio, or that there was nothing to divide.
func share(f *float64) string {
	if f == nil {
		return "–"
	}
	return strconv.FormatFloat(100**f, 'f', 1, 64) + " %"
}

// tookMS words milliseconds that may not be known.
func tookMS(ms *int64) string {
	if ms == nil {
		return "–"
	}
	return lasted(*ms)
}

// notKept are the firm promises that count against.
func notKept(f *protocol.FulfilmentSum) int64 { return f.Short + f.Rejected + f.Moved }

// measures of a row, as trends draw them; none: nothing to tell of that week.
var measures = []struct {
	name string
	of   func(o *protocol.Outcome) (float64, bool)
	text func(o *protocol.Outcome) (value, hint string)
}{
	{"Book and count agree", func(o *protocol.Outcome) (float64, bool) {
		if o.Discrepancy.Rate == nil {
			return 0, false
		}
		return 1 - *o.Discrepancy.Rate, true
	}, func(o *protocol.Outcome) (string, string) {
		if o.Discrepancy.Rate == nil {
			return "–", "nothing was counted"
		}
		agree := 1 - *o.Discrepancy.Rate
		return share(&agree), plural(int(o.Discrepancy.Differing), "line", "lines") + " of " + comma(o.Discrepancy.Lines) + " differed"
	}},
	{"Oversells", func(o *protocol.Outcome) (float64, bool) {
		return float64(o.Oversells.Total), true
	}, func(o *protocol.Outcome) (string, string) {
		return comma(o.Oversells.Total), comma(o.Oversells.AtRisk) + " promises, " + comma(o.Oversells.BelowZero) + " positions below zero"
	}},
	{"Promises kept", func(o *protocol.Outcome) (float64, bool) {
		if o.Fulfilment.Accuracy == nil {
			return 0, false
		}
		return *o.Fulfilment.Accuracy, true
	}, func(o *protocol.Outcome) (string, string) {
		return share(o.Fulfilment.Accuracy), comma(o.Fulfilment.Kept) + " kept, " + comma(notKept(&o.Fulfilment)) + " not"
	}},
	{"Till to cloud, 95 %", func(o *protocol.Outcome) (float64, bool) {
		if o.SyncWindow.P95MS == nil {
			return 0, false
		}
		return float64(*o.SyncWindow.P95MS), true
	}, func(o *protocol.Outcome) (string, string) {
		return tookMS(o.SyncWindow.P95MS), comma(o.SyncWindow.Documents) + " documents, half within " + tookMS(o.SyncWindow.P50MS)
	}},
	{"Put right by people", func(o *protocol.Outcome) (float64, bool) {
		return float64(o.Reconciliations), true
	}, func(o *protocol.Outcome) (string, string) {
		return comma(o.Reconciliations), "differences that somebody decided"
	}},
}

// trends draw every measure over weeks, oldest first.
func trends(total *protocol.Outcome, weeks []protocol.Outcome) (out []trend) {
	for _, m := range measures {
		t := trend{Name: m.name}
		t.Value, t.Hint = m.text(total)
		most := 0.0
		for i := range weeks {
			if v, ok := m.of(&weeks[i]); ok {
				most = max(most, v)
			}
		}
		each := 100 / float64(max(1, len(weeks)))
		var words []string
		for i := range weeks {
			v, ok := m.of(&weeks[i])
			if !ok {
				continue
			}
			h := 1.5 // a zero is seen to be one
			if most > 0 {
				h = max(h, v/most*trendHeight)
			}
			t.Bars = append(t.Bars, trendBar{X: float64(i) * each, Y: trendHeight - h, W: each * .72, H: h, Last: i == len(weeks)-1})
			text, _ := m.text(&weeks[i])
			words = append(words, weeks[i].Week+": "+text)
		}
		t.Words = strings.Join(words, ", ")
		out = append(out, t)
	}
	return out
}

// filter reads what narrows the page; without a word it is of a quarter.
func (d *outcomesData) filter(now time.Time) protocol.OutcomesFilter {
	f := protocol.OutcomesFilter{Store: protocol.StoreID(d.field("store", "Store", "S0042")), Channel: d.field("channel", "Channel", "web")}
	day := func(name, label string) (at time.Time) {
		text := d.field(name, label, "2026-01-05")
		if text == "" {
			return at
		}
		at, err := time.Parse(outcomeDay, text)
		if err != nil {
			d.Wrong = "A day is written as 2026-01-05."
		}
		return at
	}
	f.From = day("from", "From")
	if f.To = day("to", "To"); !f.To.IsZero() {
		f.To = f.To.AddDate(0, 0, 1)
	}
	if f.From.IsZero() && f.To.IsZero() {
		f.From = now.AddDate(0, 0, -7*(outcomeWeeks-1))
	}
	return f
}

func (w *Web) outcomesData(r *http.Request) (*outcomesData, error) {
	d := &outcomesData{listing: w.listing(r, "/outcomes")}
	d.By = d.tabs("state", option{Value: protocol.ByWeek, Text: "By week"}, option{Value: protocol.ByStore, Text: "By store"}, option{Value: protocol.ByChannel, Text: "By channel"})
	f := d.filter(w.now())
	if d.Wrong != "" {
		return d, nil
	}
	f.Group = []string{protocol.ByWeek}
	weeks, err := w.opts.Outcomes(r.Context(), f)
	if err != nil {
		return nil, err
	}
	d.Outcomes = weeks
	slices.SortFunc(weeks.Rows, func(a, b protocol.Outcome) int { return strings.Compare(a.Week, b.Week) })
	d.Trends = trends(&weeks.Total, weeks.Rows)
	if d.By != protocol.ByWeek {
		f.Group = []string{d.By}
		if d.Outcomes, err = w.opts.Outcomes(r.Context(), f); err != nil {
			return nil, err
		}
	}
	for i := range d.Outcomes.Rows {
		x := outcomeRow{Outcome: d.Outcomes.Rows[i]}
		switch x.Name = x.Week; {
		case d.By == protocol.ByStore && x.Store != "":
			x.Name, x.Href = string(x.Store), "/stores/"+url.PathEscape(string(x.Store))
		case d.By == protocol.ByChannel && x.Channel != "":
			x.Name, x.Href = x.Channel, d.with("channel", x.Channel)
		}
		d.Rows = append(d.Rows, x)
	}
	if d.By == protocol.ByWeek {
		slices.SortFunc(d.Rows, func(a, b outcomeRow) int { return strings.Compare(b.Week, a.Week) })
	}
	names := map[string]bool{}
	for k := range d.Definitions {
		names[k] = true
	}
	for _, k := range sorted(names) {
		d.Explain = append(d.Explain, pair{k, d.Definitions[k]})
	}
	return d, nil
}

func (w *Web) outcomesPage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.outcomesData(r)
	if err != nil {
		return w.decided("outcomes", err)
	}
	return w.show(rw, r, "outcomes", "Outcomes", d)
}

func (w *Web) outcomesCSV(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.outcomesData(r)
	if err != nil {
		return w.decided("outcomes", err)
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	some := func(v *int64) string {
		if v == nil {
			return ""
		}
		return n(*v)
	}
	ratio := func(v *float64) string {
		if v == nil {
			return ""
		}
		return strconv.FormatFloat(*v, 'f', 4, 64)
	}
	head := []string{"week", "store", "channel", "count_lines", "differing", "discrepancy_rate", "unexplained", "oversells", "promises_at_risk", "below_zero", "manual_reconciliations", "documents", "p50_ms", "p95_ms", "p99_ms", "kept", "short", "rejected", "moved", "cancelled", "accuracy"}
	return w.csv(rw, "outcomes", head, func(put func(...string)) {
		for i := range d.Rows {
			o := &d.Rows[i].Outcome
			put(o.Week, string(o.Store), o.Channel, n(o.Discrepancy.Lines), n(o.Discrepancy.Differing), ratio(o.Discrepancy.Rate), o.Discrepancy.Unexplained.String(), n(o.Oversells.Total), n(o.Oversells.AtRisk), n(o.Oversells.BelowZero),
				n(o.Reconciliations), n(o.SyncWindow.Documents), some(o.SyncWindow.P50MS), some(o.SyncWindow.P95MS), some(o.SyncWindow.P99MS), n(o.Fulfilment.Kept), n(o.Fulfilment.Short), n(o.Fulfilment.Rejected), n(o.Fulfilment.Moved), n(o.Fulfilment.Cancelled), ratio(o.Fulfilment.Accuracy))
		}
	})
}
