package page

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// wellFormed reads an SVG to its end.
func wellFormed(t *testing.T, svg string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%v in %s", err, svg)
		}
	}
}

func TestChartsAreWellFormedWhateverTheyHold(t *testing.T) {
	long := make([]float64, 5000)
	times := make([]float64, 5000)
	for i := range long {
		times[i], long[i] = float64(i), float64(i%13)
	}
	long[1234] = 999 // one peak among thousands
	for name, c := range map[string]Chart{
		"empty":       {Title: "nothing"},
		"one point":   {X: []float64{1}, Lines: []Line{{Y: []float64{1}}}},
		"zeros":       {X: []float64{1, 2, 3}, Lines: []Line{{Name: "z", Y: []float64{0, 0, 0}}}},
		"gaps":        {X: []float64{1, 2, 3}, Lines: []Line{{Name: "g", Y: []float64{1, math.NaN(), 3}}}, Area: true},
		"only gaps":   {X: []float64{1, 2}, Lines: []Line{{Name: "g", Y: []float64{math.NaN(), math.NaN()}}}, Log: true},
		"log":         {X: []float64{1, 2, 3}, Lines: []Line{{Name: "l", Y: []float64{0, 5, 70_000}}}, Log: true, Unit: " ms"},
		"markup":      {Title: `"><script>`, X: []float64{1, 2}, Lines: []Line{{Name: "<b>&", Y: []float64{1, 2}}}, Bands: []Band{{1, 2, "<i>"}}},
		"long":        {X: times, Lines: []Line{{Name: "l", Y: long}}},
		"same moment": {X: []float64{7, 7}, Lines: []Line{{Name: "s", Y: []float64{1, 2}}}},
		"short line":  {X: []float64{1, 2, 3}, Lines: []Line{{Name: "s", Y: []float64{1}}}},
		"band beyond": {X: []float64{1, 2}, Lines: []Line{{Name: "s", Y: []float64{1, 2}}}, Bands: []Band{{5, 9, "later"}, {0, 9, "all"}}},
	} {
		t.Run(name, func(t *testing.T) {
			svg := c.SVG()
			wellFormed(t, svg)
			if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") || strings.Contains(svg, "<script") || strings.Contains(svg, "%!") {
				t.Errorf("drew %s", svg)
			}
			if len(svg) > 40_000 {
				t.Errorf("%d bytes", len(svg))
			}
			if name == "long" && !strings.Contains(svg, "28.") { // the peak reaches the top of the frame
				t.Error("the peak vanished")
			}
		})
	}
}

func TestStepsAndNumbersAreRound(t *testing.T) {
	for _, c := range []struct {
		span float64
		n    int
		want float64
	}{{100, 4, 50}, {7, 4, 2}, {0.3, 4, 0.1}, {0, 4, 1}, {1_234_567, 5, 500_000}} {
		if got := Step(c.span, c.n); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%g in %d parts: %g, want %g", c.span, c.n, got, c.want)
		}
	}
	for v, want := range map[float64]string{0: "0", 1.5: "1.5", 200: "200", 1500: "1500", 20_000: "20k", 3e6: "3M", 0.05: "0.05"} {
		if got := Number(v); got != want {
			t.Errorf("%g is written %s, want %s", v, got, want)
		}
	}
}

func TestClockAxesShowHoursAndDays(t *testing.T) {
	from := time.Date(2026, 11, 21, 7, 30, 0, 0, time.UTC)
	for span, want := range map[time.Duration]string{10 * time.Hour: "08:00", 30 * 24 * time.Hour: "Nov", 50 * time.Minute: "07:40"} {
		c := Chart{X: []float64{float64(from.Unix()), float64(from.Add(span).Unix())}, Lines: []Line{{Name: "l", Y: []float64{1, 2}}}}
		c.Clock()
		if svg := c.SVG(); !strings.Contains(svg, want) || len(c.XTicks) < 3 || len(c.XTicks) > 9 {
			t.Errorf("%s: %d marks, %s missing", span, len(c.XTicks), want)
		}
	}
}

func TestPageShowsTextAndRunsNone(t *testing.T) {
	p := Page{Title: "<script>alert(1)</script>", Verdict: "<img src=x>", Wrong: []string{"<b>"}, Tables: []Table{{Title: "t", Head: []string{"h"}, Rows: [][]string{{"<u>"}}}}, Repeat: "a && b"}
	b, err := p.HTML()
	if err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"<script>", "<img", "<b>&", "<u>"} {
		if strings.Contains(string(b), never) {
			t.Errorf("the page holds %s", never)
		}
	}
	if !strings.Contains(string(b), "Failed.") || !strings.Contains(string(b), "a &amp;&amp; b") {
		t.Errorf("drew %s", b)
	}
}
