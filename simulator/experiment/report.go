package experiment

import (
	"fmt"
	"math"
	"strings"
)

// CountsMarkdown is the table of the counts experiment.
func CountsMarkdown(o CountsOptions, rows []CountsRow, command string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Counts while sales arrive late\n\n%d stores × %d SKUs, %d registers each, one error-free 90-minute count, seed %d.\nRepeat it: `%s`\n\n", o.Stores, o.SKUs, o.Registers, o.Seed, command)
	b.WriteString("Figures are % of SKU-stores that are wrong after everything has arrived, against the shelf itself.\n")
	layout := ""
	for _, r := range rows {
		if r.Layout != layout {
			layout = r.Layout
			fmt.Fprintf(&b, "\n## %s\n\n| scenario |", strings.ToUpper(layout[:1])+layout[1:])
			for _, n := range ruleNames {
				fmt.Fprintf(&b, " %s |", n)
			}
			b.WriteString(" of ours: explanations that flag a clock | wrong and not flagged |\n|---|---|---|---|---|---|---|\n")
		}
		fmt.Fprintf(&b, "| %s |", r.Scenario)
		for n, w := range r.Wrong {
			share := 100 * float64(w) / float64(max(r.Positions, 1))
			s := fmt.Sprintf("%.2f", share)
			switch {
			case w == 0:
				s = "0"
			case share < 0.01:
				s = fmt.Sprintf("%.4f", share)
			}
			if Rule(n) == Ours {
				s = "**" + s + "**"
			}
			fmt.Fprintf(&b, " %s |", s)
		}
		fmt.Fprintf(&b, " %d of %d read | %d |\n", r.Flagged, r.Asked, r.Unflagged)
	}
	b.WriteString("\nWorld: Poisson baskets of two articles, a few articles sell most; goods leave the shelf when the till journals, or, cut\noff, when it sells; the counter's device has its agent's clock; register clocks are off by a constant. A register that\nlooks late is told with what its agent learnt of its clock; siblings are cut over the store's LAN while it reaches them,\nelse judged by journaled clocks.\n")
	return b.String()
}

// OversellMarkdown is the table of the oversell experiment.
func OversellMarkdown(o OversellOptions, rows []OversellRow, command string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Oversells against lost sales\n\n%d stores × %d SKUs × %d days (%d of them to learn), seed %d.\nRepeat it: `%s`\n\n![oversells against lost sales](oversell.svg)\n\n", o.Stores, o.SKUs, o.Days, o.LearnDays, o.Seed, command)
	b.WriteString("Per 1,000 orders: *oversold* were accepted and not on the shelf 90 minutes later; *lost* were refused though they would\nhave been there.\n\n| policy | all: oversold | lost | silent stores: oversold | lost |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		a, l := r.All.Per1000()
		sa, sl := r.Silent.Per1000()
		fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.1f | %.1f |\n", r.Policy.Name, a, l, sa, sl)
	}
	if len(rows) > 0 {
		fmt.Fprintf(&b, "\n%d orders, %d of them at stores that had been silent for more than 15 minutes.\n", rows[0].All.Orders, rows[0].Silent.Orders)
	}
	b.WriteString("\nWorld: Poisson walk-ins in opening hours, small shelves filled up each morning, orders worth 12 % of walk-in demand picked\nafter 90 minutes, links that fail 0.7 times a day for minutes to a day. What walk-ins take between an order and its picking\nno buffer of this kind can see: that is the floor of every curve. Customers do not come back, shelves are not miscounted.\n")
	return b.String()
}

// Picture of two panels: all stores, and silent ones.
const (
	panelW, panelH = 420, 300
	marginL        = 64
	marginT        = 46
	gap            = 84
)

// OversellSVG draws the curves: lost sales to the right, oversells upwards; nearer
// to the corner is better. It follows the reader's light or dark.
func OversellSVG(rows []OversellRow) string {
	var b strings.Builder
	w, h := marginL+2*panelW+gap+24, marginT+panelH+60
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Oversells against lost sales per policy">`, w, h)
	b.WriteString(`<style>svg{background:#fff;--i:#1b1f24;--m:#6b7480;--g:#e3e6ea;--a:#b4530a;--b:#0b63c4;--c:#0a7a55}@media(prefers-color-scheme:dark){svg{background:#14171b;--i:#e8eaed;--m:#9aa3ad;--g:#2b3036;--a:#f0a35e;--b:#6db1ff;--c:#5fd0a5}}text{fill:var(--i)}.m{fill:var(--m)}.g{stroke:var(--g)}path{fill:none;stroke-width:2}</style>`)
	panel(&b, marginL, "All stores", rows, func(r *OversellRow) Tally { return r.All })
	panel(&b, marginL+panelW+gap, "Stores silent for more than 15 minutes", rows, func(r *OversellRow) Tally { return r.Silent })
	b.WriteString("</svg>\n")
	return b.String()
}

var colours = map[string]string{"fixed safety stock": "--a", "risk buffer": "--b", "risk buffer and escrow": "--c"}

func panel(b *strings.Builder, x0 int, title string, rows []OversellRow, of func(*OversellRow) Tally) {
	maxX, maxY := 1.0, 1.0
	for i := range rows {
		y, x := of(&rows[i]).Per1000()
		maxX, maxY = math.Max(maxX, x), math.Max(maxY, y)
	}
	maxX, maxY = nice(maxX), nice(maxY)
	px := func(v float64) float64 { return float64(x0) + v/maxX*panelW }
	py := func(v float64) float64 { return float64(marginT) + (1-v/maxY)*panelH }
	fmt.Fprintf(b, `<text x="%d" y="20" font-weight="600" font-size="14">%s</text>`, x0, title)
	for k := range 5 {
		v := float64(k) / 4
		fmt.Fprintf(b, `<line class="g" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="m" x="%d" y="%.1f" text-anchor="end">%g</text>`, x0, x0+panelW, py(v*maxY), py(v*maxY), x0-8, py(v*maxY)+4, v*maxY)
		fmt.Fprintf(b, `<text class="m" x="%.1f" y="%d" text-anchor="middle">%g</text>`, px(v*maxX), marginT+panelH+18, v*maxX)
	}
	fmt.Fprintf(b, `<text class="m" x="%d" y="%d" text-anchor="middle">lost sales per 1,000 orders</text>`, x0+panelW/2, marginT+panelH+40)
	fmt.Fprintf(b, `<text class="m" x="%d" y="%d">oversold per 1,000 orders</text>`, x0, marginT-10)
	for n, family := range []string{"fixed safety stock", "risk buffer", "risk buffer and escrow"} {
		what := map[string]string{"fixed safety stock": "units kept back", "risk buffer": "service level α", "risk buffer and escrow": "α, and 1 unit in escrow"}[family]
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" style="fill:var(%s)" font-weight="600">%s <tspan class="m" font-weight="400">(%s)</tspan></text>`, x0+panelW, marginT+18+16*n, colours[family], family, what)
		curve(b, family, rows, of, px, py)
	}
}

func curve(b *strings.Builder, family string, rows []OversellRow, of func(*OversellRow) Tally, px, py func(float64) float64) {
	var path []string
	var labelled [][2]float64
	c := colours[family]
	for i := range rows {
		r := &rows[i]
		if r.Policy.Family != family {
			continue
		}
		y, x := of(r).Per1000()
		path = append(path, fmt.Sprintf("%.1f %.1f", px(x), py(y)))
		label := fmt.Sprintf("%g", r.Policy.Alpha)
		if family == "fixed safety stock" {
			label = fmt.Sprint(r.Policy.Safety)
		}
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="var(%s)"><title>%s: %.1f oversold, %.1f lost</title></circle>`, px(x), py(y), c, r.Policy.Name, y, x)
		if near(px(x), py(y), labelled) {
			continue
		}
		labelled = append(labelled, [2]float64{px(x), py(y)})
		dy := -8
		if family == "risk buffer and escrow" {
			dy = 16
		}
		fmt.Fprintf(b, `<text class="m" x="%.1f" y="%.1f" font-size="10">%s</text>`, px(x)+5, py(y)+float64(dy), label)
	}
	if len(path) == 0 {
		return
	}
	fmt.Fprintf(b, `<path d="M%s" stroke="var(%s)"/>`, strings.Join(path, " L"), c)
}

// near tells that a label would stand on another.
func near(x, y float64, labelled [][2]float64) bool {
	for _, l := range labelled {
		if math.Abs(l[0]-x) < 24 && math.Abs(l[1]-y) < 12 {
			return true
		}
	}
	return false
}

// nice rounds an axis up.
func nice(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 4, 5, 8, 10} {
		if v <= m*p {
			return m * p
		}
	}
	return 10 * p
}
