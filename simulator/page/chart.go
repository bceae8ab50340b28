package page

import (
	"fmt"
	"html"
	"math"
	"strings"
	"time"
)

// Chart is a plot over one axis of time. Every line has a value at every X.
type Chart struct {
	Title, Note string
	Unit        string // behind the numbers of the axis
	X           []float64
	XWord       func(x, span float64) string // what stands under the axis; nil: seconds
	XTicks      []float64                    // nil: chosen by round numbers
	Lines       []Line
	Bands       []Band
	Log         bool // powers of ten; what is not above zero is left out
	Area        bool // fill below the first line
}

// Line is one series. NaN leaves a gap.
type Line struct {
	Name string
	Y    []float64
}

// Band is a time in which something was going on.
type Band struct {
	From, To float64
	Name     string
}

// The drawing's own units; the page scales them.
const (
	wide, high                 = 470.0, 200.0
	left, right, above, bottom = 54.0, 12.0, 28.0, 24.0
	pointsMax                  = 280
)

// frame maps values to places.
type frame struct {
	x0, x1, y0, y1 float64
	log            bool
}

func (f *frame) x(v float64) float64 {
	return left + (v-f.x0)/(f.x1-f.x0)*(wide-left-right)
}

func (f *frame) y(v float64) float64 {
	lo, hi := f.y0, f.y1
	if f.log {
		v, lo, hi = math.Log10(v), math.Log10(lo), math.Log10(hi)
	}
	return high - bottom - (v-lo)/(hi-lo)*(high-above-bottom)
}

// SVG draws the chart. All text is escaped.
func (c *Chart) SVG() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	p(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, wide, high, html.EscapeString(c.Title))
	if len(c.X) < 2 {
		p(`<text x="%g" y="%g" text-anchor="middle">too short to plot</text></svg>`, wide/2, high/2)
		return b.String()
	}
	f, ticks := c.frame()
	for _, x := range c.Bands {
		c.band(p, &f, x)
	}
	for _, v := range ticks {
		p(`<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left, wide-right, f.y(v), f.y(v))
		p(`<text x="%g" y="%.1f" text-anchor="end">%s</text>`, left-6, f.y(v)+3.5, html.EscapeString(Number(v)+c.Unit))
	}
	p(`<line class="base" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, left, wide-right, high-bottom, high-bottom)
	c.times(p, &f)
	for i := range c.Lines {
		d := c.path(&f, c.Lines[i].Y)
		if i == 0 && c.Area {
			p(`<path class="area f0" d="%s"/>`, c.areaOf(&f, c.Lines[0].Y))
		}
		p(`<path class="line l%d" d="%s"/>`, i%3, d)
	}
	at := left
	for i, l := range c.Lines {
		p(`<rect class="f%d" x="%.0f" y="7" width="12" height="4" rx="2"/><text class="legend" x="%.0f" y="13">%s</text>`, i%3, at, at+17, html.EscapeString(l.Name))
		at += 34 + 6.6*float64(len([]rune(l.Name)))
	}
	p(`</svg>`)
	return b.String()
}

func (c *Chart) band(p func(string, ...any), f *frame, x Band) {
	from, to := max(x.From, f.x0), min(x.To, f.x1)
	if to < from {
		return
	}
	a, z := f.x(from), f.x(to)
	p(`<g><title>%s</title><rect class="band" x="%.1f" y="%g" width="%.1f" height="%g"/>`, html.EscapeString(x.Name), a, above, max(z-a, 1), high-above-bottom)
	p(`<line class="edge" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/></g>`, a, a, above, high-bottom)
}

// frame finds the ends of both axes, and the marks of the upright one.
func (c *Chart) frame() (frame, []float64) {
	f := frame{x0: c.X[0], x1: c.X[len(c.X)-1], log: c.Log}
	if f.x1 <= f.x0 {
		f.x1 = f.x0 + 1
	}
	least, most := math.Inf(1), 0.0
	for _, l := range c.Lines {
		for _, v := range l.Y {
			if !math.IsNaN(v) {
				most = max(most, v)
				if v > 0 {
					least = min(least, v)
				}
			}
		}
	}
	if c.Log {
		if math.IsInf(least, 1) {
			least, most = 1, 10
		}
		f.y0, f.y1 = math.Pow(10, math.Floor(math.Log10(least))), math.Pow(10, math.Ceil(math.Log10(most)))
		if f.y1 <= f.y0 {
			f.y1 = 10 * f.y0
		}
		var ticks []float64
		for v := f.y0; v <= f.y1*1.001; v *= 10 {
			ticks = append(ticks, v)
		}
		return f, ticks
	}
	step := Step(most, 4)
	f.y1 = math.Ceil(most/step) * step
	if f.y1 == 0 {
		f.y1 = step
	}
	var ticks []float64
	for v := 0.0; v <= f.y1*1.001; v += step {
		ticks = append(ticks, v)
	}
	return f, ticks
}

func (c *Chart) times(p func(string, ...any), f *frame) {
	ticks := c.XTicks
	if ticks == nil {
		step := Step(f.x1-f.x0, 6)
		for v := math.Ceil(f.x0/step) * step; v <= f.x1; v += step {
			ticks = append(ticks, v)
		}
	}
	for _, v := range ticks {
		word := Number(v) + " s"
		if c.XWord != nil {
			word = c.XWord(v, f.x1-f.x0)
		}
		at := f.x(v)
		p(`<line class="base" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, at, at, high-bottom, high-bottom+4)
		p(`<text x="%.1f" y="%g" text-anchor="middle">%s</text>`, min(max(at, left+8), wide-right-14), high-8, html.EscapeString(word))
	}
}

// points thins a series out: of each stretch its highest value stays, since what
// hurts must not vanish.
func (c *Chart) points(f *frame, y []float64) (out [][2]float64) {
	stretch := max(1, (len(c.X)+pointsMax-1)/pointsMax)
	for i := 0; i < len(c.X) && i < len(y); i += stretch {
		at, v := i, math.NaN()
		for k := i; k < min(i+stretch, len(y), len(c.X)); k++ {
			if !math.IsNaN(y[k]) && (math.IsNaN(v) || y[k] > v) && (!c.Log || y[k] > 0) {
				at, v = k, y[k]
			}
		}
		out = append(out, [2]float64{f.x(c.X[at]), v})
	}
	return out
}

func (c *Chart) path(f *frame, y []float64) string {
	var b strings.Builder
	pen := "M"
	for _, p := range c.points(f, y) {
		if math.IsNaN(p[1]) {
			pen = "M"
			continue
		}
		fmt.Fprintf(&b, "%s%.1f %.1f", pen, p[0], f.y(p[1]))
		pen = "L"
	}
	return b.String()
}

func (c *Chart) areaOf(f *frame, y []float64) string {
	var b strings.Builder
	fmt.Fprintf(&b, "M%.1f %.1f", f.x(c.X[0]), high-bottom)
	last := f.x(c.X[0])
	for _, p := range c.points(f, y) {
		if !math.IsNaN(p[1]) {
			fmt.Fprintf(&b, "L%.1f %.1f", p[0], f.y(p[1]))
			last = p[0]
		}
	}
	fmt.Fprintf(&b, "L%.1f %.1fZ", last, high-bottom)
	return b.String()
}

// Step is a round distance that cuts a span into about n parts: 1, 2 or 5 times a
// power of ten.
func Step(span float64, n int) float64 {
	if span <= 0 {
		return 1
	}
	rough := span / float64(n)
	unit := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, m := range []float64{1, 2, 5} {
		if rough <= m*unit {
			return m * unit
		}
	}
	return 10 * unit
}

// Number writes a value as briefly as an axis wants it: 1.5, 20k, 3M.
func Number(v float64) string {
	trim := func(v float64, unit string) string {
		s := fmt.Sprintf("%.3g", v)
		if strings.ContainsAny(s, "e") {
			s = fmt.Sprintf("%.0f", v)
		}
		return s + unit
	}
	switch a := math.Abs(v); {
	case a >= 1e6:
		return trim(v/1e6, "M")
	case a >= 1e4:
		return trim(v/1e3, "k")
	case a >= 1:
		return trim(v, "")
	case a == 0:
		return "0"
	default:
		return fmt.Sprintf("%.2g", v)
	}
}

// clockSteps are distances that suit a clock.
var clockSteps = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour,
	6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 2 * 24 * time.Hour, 5 * 24 * time.Hour, 10 * 24 * time.Hour, 30 * 24 * time.Hour,
}

// Clock makes the X axis a clock: its values are seconds since the epoch, in UTC.
func (c *Chart) Clock() {
	if len(c.X) == 0 {
		return
	}
	from, to := c.X[0], c.X[len(c.X)-1]
	step := clockSteps[len(clockSteps)-1].Seconds()
	for _, s := range clockSteps {
		if (to-from)/s.Seconds() <= 8 {
			step = s.Seconds()
			break
		}
	}
	c.XTicks = []float64{}
	for v := math.Ceil(from/step) * step; v <= to; v += step {
		c.XTicks = append(c.XTicks, v)
	}
	c.XWord = func(x, _ float64) string {
		t := time.Unix(int64(math.Round(x)), 0).UTC()
		if step >= 24*3600 {
			return t.Format("2 Jan")
		}
		return t.Format("15:04")
	}
}
