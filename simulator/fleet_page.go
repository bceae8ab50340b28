package simulator

import (
	"fmt"
	"math"
	"strings"
	"time"

	"tillwire/simulator/page"
)

// HTML is the result as one page for people who were not there.
func (r *FleetResult) HTML() []byte {
	p := page.Page{
		Title: r.Title,
		Lead: fmt.Sprintf("%s Rehearsed with %s of real agents on %s, %s of the story in %s of real time; %s.",
			r.About, plural(r.Stores, "store"), r.Machine, spanWord(r.StoryS), spanWord(r.SoldForS), r.Clock),
		OK: r.OK(), Verdict: r.sentence(), Wrong: r.wrongs(), Tiles: r.tiles(), Charts: r.charts(), Tables: r.tables(), Repeat: r.Command,
		Notes: []string{
			"Sale to availability is the real time from before a till's POST to the moment at which the public availability API shows it, taken at random stores whose line was up.",
			"On the way counts documents that an agent has acknowledged and the aggregator has not merged. A store without a line has all of its documents on the way; nothing is wrong with that unless it stays.",
			"The proof is computed by an oracle that shares no code with the merge. It adds up what tills were told was taken, and compares every stock number, every sequence and every web order with what the aggregator's public API says at the end.",
			"Shaded times are those of faults. The clock under the plots is the story's; of dense stretches the highest value is drawn.",
		},
		Footnote: fmt.Sprintf("tillwire-simulator, scenario %s, seed %d, %s.", r.Scenario, r.Seed, r.At.Format("2 January 2006 15:04 MST")),
	}
	b, err := p.HTML()
	if err != nil {
		return []byte(err.Error()) // the template is ours, and every value is a string
	}
	return b
}

// sentence is the verdict as one would say it.
func (r *FleetResult) sentence() string {
	if !r.OK() {
		return fmt.Sprintf("%s sold %s documents, and the chain is not what it must be at the end.", plural(r.Stores, "store"), grouped(r.Journaled))
	}
	through := ""
	for i, h := range r.Happened {
		if i < 2 {
			through += []string{" through “", " and “"}[i] + h.Name + "”"
		}
	}
	s := fmt.Sprintf("%s wrote %s documents%s. None was lost, none counted twice, and all %s stock numbers are right at the end",
		plural(r.Stores, "store"), grouped(r.Journaled), through, grouped(r.Cells))
	if r.Orders > 0 {
		s += fmt.Sprintf("; all %s web orders ended as they should", grouped(r.Orders))
	}
	return s + "."
}

// wrongs says what broke, for a reader who must act on it.
func (r *FleetResult) wrongs() []string {
	if r.OK() {
		return nil
	}
	var out []string
	add := func(n uint64, what string) {
		if n > 0 {
			out = append(out, grouped(n)+" "+what)
		}
	}
	add(r.Lost, "documents lost")
	add(r.Duplicated, "documents counted twice")
	add(uint64(r.Diverged), "of "+grouped(r.Cells)+" stock numbers wrong")
	add(uint64(r.Unexplained), "numbers whose explanation does not add up")
	add(uint64(r.OrdersWrong), "of "+grouped(r.Orders)+" web orders in a wrong state")
	add(uint64(r.OrdersLeaked), "shelves that hold back the wrong quantity")
	if !r.Drained {
		out = append(out, "the journals were not drained in time")
	}
	if r.Faults != "" {
		out = append(out, "a broken promise: "+r.Faults)
	}
	for _, d := range r.Diffs {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s: want %s, got %s: %s", d.Store, d.SKU, d.Want, d.Got, d.What)))
	}
	return out
}

func (r *FleetResult) tiles() []page.Tile {
	t := []page.Tile{
		{Value: msWord(r.EndToEnd.P50MS), Name: "sale to availability, median", Note: "p99 " + msWord(r.EndToEnd.P99MS) + " of " + plural(r.EndToEnd.Samples, "sale")},
		{Value: grouped(r.Journaled), Name: "documents", Note: fmt.Sprintf("%.0f a second, %s lines", float64(r.Journaled)/max(r.SoldForS, 1e-3), grouped(r.Lines))},
		{Value: fmt.Sprintf("%.1f s", r.DrainS), Name: "until everything was merged", Note: "after the last sale"},
		{Value: grouped(r.Lost) + " · " + grouped(r.Duplicated) + " · " + grouped(r.Diverged), Name: "lost · doubled · wrong", Note: "of " + grouped(r.Cells) + " stock numbers"},
	}
	if r.Web.Promised > 0 {
		t = append(t, page.Tile{
			Value: fmt.Sprintf("%.2f %%", 100*float64(r.Web.Oversold)/float64(r.Web.Promised)), Name: "oversold web orders",
			Note: fmt.Sprintf("%s of %s promised; %s refused in time", grouped(r.Web.Oversold), grouped(r.Web.Promised), grouped(r.Web.Refused)),
		})
	}
	t = append(t, page.Tile{Value: bytesWord(r.PeakBytes), Name: "memory at its peak", Note: "aggregator, agents, tills and oracle; " + bytesWord(r.PeakBytes/int64(max(r.Stores, 1))) + " per store"})
	if r.Cuts > 0 {
		t = append(t, page.Tile{Value: grouped(r.Cuts), Name: "line cuts lived through", Note: r.worstDrain()})
	}
	if r.CPUS > 0 {
		t = append(t, page.Tile{Value: fmt.Sprintf("%.1f", r.CPUS/max(r.SoldForS+r.DrainS, 1e-3)), Name: "processors busy, mean", Note: r.Machine})
	}
	return t
}

// worstDrain is the fault whose stores took longest to be merged again.
func (r *FleetResult) worstDrain() string {
	worst := -1.0
	for i := range r.Happened {
		if r.Happened[i].Backlog > 0 {
			worst = max(worst, r.Happened[i].DrainS)
		}
	}
	if worst < 0 {
		return ""
	}
	return fmt.Sprintf("merged again at most %.1f s after a fault's end", worst)
}

func msWord(ms float64) string {
	switch {
	case ms == 0:
		return "–"
	case ms >= 10_000:
		return fmt.Sprintf("%.0f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	default:
		return fmt.Sprintf("%.0f ms", ms)
	}
}

func spanWord(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.1f days", d.Hours()/24)
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	default:
		return d.Round(time.Second).String()
	}
}

// charts are what happened over the story, and the drain over real time.
func (r *FleetResult) charts() []page.Chart {
	var sold, drain []Sample
	for _, s := range r.Series {
		if s.S <= r.SoldForS {
			sold = append(sold, s)
		} else {
			drain = append(drain, s)
		}
	}
	var bands []page.Band
	for _, h := range r.Happened {
		if h.Until.Sub(h.From).Seconds() < 0.85*r.StoryS { // what lasts for the whole story is no event in it
			bands = append(bands, page.Band{From: float64(h.From.Unix()), To: float64(h.Until.Unix()), Name: h.Name})
		}
	}
	var x []float64
	for _, s := range sold {
		x = append(x, float64(s.Story.UnixMilli())/1000)
	}
	chart := func(c page.Chart, lines ...page.Line) page.Chart {
		c.X, c.Lines, c.Bands = x, lines, bands
		c.Clock()
		return c
	}
	line := func(name string, v func(i int, s *Sample) float64) page.Line { return seriesLine(sold, name, v) }
	out := []page.Chart{
		chart(page.Chart{Title: "Sale to availability", Note: "over lines that were up; real time, powers of ten", Unit: " ms", Log: true},
			line("median", func(_ int, s *Sample) float64 { return gapZero(s.P50MS) }), line("p99", func(_ int, s *Sample) float64 { return gapZero(s.P99MS) })),
		chart(page.Chart{Title: "On the way", Note: "documents acknowledged in stores, not yet merged", Area: true},
			line("documents", func(_ int, s *Sample) float64 { return float64(s.Backlog) })),
		chart(page.Chart{Title: "Throughput", Note: "documents per real second"},
			line("journaled in stores", perSecond(sold, func(s *Sample) uint64 { return s.Posted })), line("merged in the chain", perSecond(sold, func(s *Sample) uint64 { return s.Merged }))),
		chart(page.Chart{Title: "Furthest behind", Note: "since when the least complete store is not complete, in minutes of the story", Unit: ""},
			line("minutes", func(_ int, s *Sample) float64 { return s.LagS / 60 })),
		chart(page.Chart{Title: "Divergence while it happens", Note: "share of sampled numbers that differ from the truth of the moment; zero again at the end", Unit: " %"},
			line("of sampled stock numbers", func(_ int, s *Sample) float64 { return 100 * float64(s.Off) / float64(max(s.Looked, 1)) })),
		chart(page.Chart{Title: "Lines that are down", Note: "stores without a way to the aggregator", Area: true},
			line("stores", func(_ int, s *Sample) float64 { return float64(s.Down) })),
		chart(page.Chart{Title: "Memory", Note: "of the whole process, MB"},
			line("resident", func(_ int, s *Sample) float64 { return float64(s.RSS) / (1 << 20) }), line("heap in use", func(_ int, s *Sample) float64 { return float64(s.Heap) / (1 << 20) })),
	}
	if r.Web.Promised > 0 {
		out = append(out, chart(page.Chart{Title: "Oversold", Note: fmt.Sprintf("web orders that a store could not fill, of %s promised; running total", grouped(r.Web.Promised))},
			line("orders", func(_ int, s *Sample) float64 { return float64(s.Oversold) })))
	}
	if len(drain) > 1 && drain[0].Backlog > 0 {
		out = append(out, r.drainChart(sold, drain))
	}
	return out
}

// drainChart is the end, after the last sale.
func (r *FleetResult) drainChart(sold, drain []Sample) page.Chart {
	if len(sold) > 0 {
		drain = append([]Sample{sold[len(sold)-1]}, drain...)
	}
	c := page.Chart{Title: "Drain", Note: "documents on the way after the last sale, real seconds", Area: true}
	for i := range drain {
		c.X = append(c.X, max(0, drain[i].S-r.SoldForS))
	}
	c.Lines = []page.Line{seriesLine(drain, "documents", func(_ int, s *Sample) float64 { return float64(s.Backlog) })}
	return c
}

func seriesLine(list []Sample, name string, v func(i int, s *Sample) float64) page.Line {
	l := page.Line{Name: name}
	for i := range list {
		l.Y = append(l.Y, v(i, &list[i]))
	}
	return l
}

func gapZero(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

func perSecond(list []Sample, of func(*Sample) uint64) func(int, *Sample) float64 {
	return func(i int, s *Sample) float64 {
		if i == 0 {
			return math.NaN()
		}
		before := &list[i-1]
		return max(0, float64(of(s))-float64(of(before))) / max(s.S-before.S, 1e-3)
	}
}

func (r *FleetResult) tables() []page.Table {
	faults := page.Table{
		Title: "What went wrong on purpose", Head: []string{"what", "stores", "from", "until", "waited at its end", "merged after"},
		Right: []bool{false, true, false, false, true, true},
	}
	for i := range r.Happened {
		h := &r.Happened[i]
		after := "–"
		if h.DrainS >= 0 && h.Backlog > 0 {
			after = fmt.Sprintf("%.1f s", h.DrainS)
		}
		faults.Rows = append(faults.Rows, []string{h.Name, grouped(h.Stores), h.From.Format("Mon 15:04"), h.Until.Format("Mon 15:04"), grouped(h.Backlog), after})
	}
	if len(faults.Rows) == 0 {
		faults.Note = "Nothing: this was an undisturbed run."
	}
	proof := page.Table{
		Title: "What was proved", Head: []string{"", "figure", "meaning"}, Right: []bool{false, true, false},
		Rows: [][]string{
			{"journaled", grouped(r.Journaled), "documents acknowledged by agents, each once"},
			{"merged", grouped(r.Merged), "of them in the aggregator's ledger"},
			{"lost", grouped(r.Lost), "acknowledged, and not in the ledger"},
			{"duplicated", grouped(r.Duplicated), "though " + plural(int(r.Repeats), "document") + " were sent again on purpose"},
			{"diverged", grouped(r.Diverged), "of " + plural(r.Cells, "stock number") + " compared with the truth"},
			{"unexplained", grouped(r.Unexplained), "of " + plural(r.Explained, "number") + " asked for the movements behind them"},
			{"bad documents", grouped(r.Poison), "sent on purpose, all refused"},
			{"link cuts", grouped(r.Cuts), "in all"},
		},
	}
	if w := r.Web; w.Asked > 0 {
		proof.Rows = append(proof.Rows,
			[]string{"web orders wrong", grouped(r.OrdersWrong), "of " + grouped(r.Orders) + ", compared with what customers and stores said"},
			[]string{"stock leaked", grouped(r.OrdersLeaked), "cells that hold goods back for nobody"},
			[]string{"web orders", grouped(w.Asked), fmt.Sprintf("%s promised, %s refused for want of stock, %s paid, %s cancelled, %s abandoned, %s collected", grouped(w.Promised), grouped(w.Refused), grouped(w.Paid), grouped(w.Cancelled), grouped(w.Abandoned), grouped(w.Collected))},
			[]string{"oversold", grouped(w.Oversold), "promised, and the shelf was empty: theft, sales on their way, stores without a line"})
	}
	tables := []page.Table{faults, proof, {Title: "Documents", Head: []string{"kind", "number"}, Right: []bool{false, true}, Rows: r.kindRows()}}
	if len(r.Errors) > 0 {
		t := page.Table{Title: "Questions that failed", Note: fmt.Sprintf("%d in all; they spoil no verdict.", r.Failed), Head: []string{"answer"}}
		for _, e := range r.Errors {
			t.Rows = append(t.Rows, []string{e})
		}
		tables = append(tables, t)
	}
	return tables
}

func (r *FleetResult) kindRows() (rows [][]string) {
	for _, k := range []string{kindSale, kindReturn, kindVoid, kindCount, kindReceipt, kindAdjustment, kindTransfer} {
		rows = append(rows, []string{k, grouped(r.Kinds[k])})
	}
	return rows
}
