package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"tillwire/protocol"
)

func TestSparksSayWhatTheyDraw(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	at := func(minutesAgo int64, lag float64, passed uint64) protocol.FlowPoint {
		return protocol.FlowPoint{AtS: now.Unix() - 60*minutesAgo, LagS: lag, PerMin: passed}
	}
	for name, c := range map[string]struct {
		s           *series
		points      []protocol.FlowPoint
		path, words string
		note        string
	}{
		"nothing kept":        {s: &lagSeries},
		"one minute":          {s: &lagSeries, points: []protocol.FlowPoint{at(0, 3, 1)}},
		"older than a day":    {s: &lagSeries, points: []protocol.FlowPoint{at(1500, 3, 1), at(1490, 3, 1)}},
		"always current":      {&lagSeries, []protocol.FlowPoint{at(30, 0, 0), at(1, 0, 0)}, "M140 22.5H142H144", "Lag over 29 min: least none, now none, most none", "never behind"},
		"the worst of 20 min": {&lagSeries, []protocol.FlowPoint{at(3, 120, 0), at(2, 0, 0), at(1, 30, 0)}, "M142 1.5H144", "Lag over 2 min: least none, now 30 s, most 2 min", "most 2 min"},
		"noise is low":        {&lagSeries, []protocol.FlowPoint{at(2, 1, 0), at(1, 2, 0)}, "M142 21.8H144", "Lag over 1 min: least 1 s, now 2 s, most 2 s", "most 2 s"},
		"the mean, and a gap": {&rateSeries, []protocol.FlowPoint{at(61, 0, 10), at(2, 0, 1), at(1, 0, 4)}, "M136 1.5H138M142 17.2H144", "Passed over 1 h 00 min: least 1.0 a minute, now 4.0 a minute, most 10 a minute", "most 10 a minute"},
	} {
		x := makeSpark(c.s, c.points, now)
		if x == nil {
			x = &spark{}
		}
		if x.Path != c.path || x.Words != c.words || x.Note != c.note {
			t.Errorf("%s: %q %q %q, want %q %q %q", name, x.Path, x.Words, x.Note, c.path, c.words, c.note)
		}
	}
}

// A minute in which nobody looked is told as such, and a page that has no curves has
// none of their numbers either.
func TestFlowHistory(t *testing.T) {
	d := newDemo(3)
	h := handler(t, d)
	var out struct {
		T   []int64    `json:"t"`
		Lag []*float64 `json:"lag_s"`
		Per []*uint64  `json:"per_min"`
	}
	w := get(h, "/ui/flow?of=connector/wms")
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || len(out.T) != 1440-59+1 || len(out.Lag) != len(out.T) || len(out.Per) != len(out.T) {
		t.Fatal(w.Code, err, len(out.T), len(out.Lag))
	}
	gaps := 0
	for i := range out.T {
		if out.Lag[i] == nil {
			gaps++
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps, there was one", gaps)
	}
	if w = get(h, "/ui/flow?of=connector/none"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"t":[]`) {
		t.Error("of what nothing is kept:", w.Code, w.Body)
	}
	h = handler(t, d, func(o *Options) { o.Flow = nil })
	for _, p := range []string{"/channels", "/channels/wms", "/subscriptions/sub0", "/postings"} {
		if w = get(h, p); w.Code != http.StatusOK || strings.Contains(w.Body.String(), `class="spark`) || strings.Contains(w.Body.String(), `id="flow"`) {
			t.Errorf("%s without a history: %d", p, w.Code)
		}
	}
}

// painted counts what a canvas shows.
const painted = `((c) => [...c.getContext("2d").getImageData(0, 0, c.width, c.height).data].filter((v, i) => i % 4 === 3 && v > 200).length)`

// A feed that works has a curve, by its number and on its page, which stays while the
// page around it is brought up to date, and is drawn anew in another theme.
func TestCurvesOfConnections(t *testing.T) {
	d := newDemo(20)
	b := newBrowser(t, serve(t, d))
	b.size(1280, 900, "light")
	b.do("open", chromedp.Navigate(b.base+"/channels"))
	b.until(`document.getElementById("live").textContent === "live"`)
	for _, c := range []struct{ kind, words string }{{"lag", "Lag over 23 h 59 min: least none, now none, most none"}, {"rate", "Passed over 23 h 59 min: least "}} {
		row := `document.querySelector('[data-row="c-wms"] .spark.` + c.kind + `')`
		if words := eval[string](b, row+`.getAttribute("aria-label")`); !strings.HasPrefix(words, c.words) {
			t.Errorf("the curve of %s says %q", c.kind, words)
		}
		if w := eval[float64](b, row+`.querySelector("path").getBoundingClientRect().width`); w < 140 {
			t.Errorf("the curve of %s is %.0f px wide", c.kind, w)
		}
		if stroke := eval[string](b, `getComputedStyle(`+row+`.querySelector("path")).stroke`); stroke == "none" {
			t.Errorf("the curve of %s has no colour", c.kind)
		}
	}
	if note := eval[string](b, `document.querySelector('[data-row="h-sub1"] .spark + small').textContent`); note != "most 3 d 0 h" {
		t.Errorf("the receiver that takes nothing: %q", note)
	}
	b.do("the feed", chromedp.Navigate(b.base+"/channels/wms"))
	b.until(`document.querySelectorAll("#flow .uplot canvas").length === 3`)
	if n := eval[int](b, painted+`(document.querySelector('#flow [data-series="rate"] canvas'))`); n < 300 {
		t.Errorf("the curve has %d dots of ink", n)
	}
	if words := eval[string](b, `document.querySelector('#flow [data-series="rate"]').getAttribute("aria-label")`); !strings.Contains(words, "least") || !strings.Contains(words, "now") || !strings.HasSuffix(words, "a minute") {
		t.Errorf("who does not see the curve hears %q", words)
	}
	eval[any](b, `window.canvas = document.querySelector("#flow canvas"), window.before = document.querySelector("#part .kpi"), 0`)
	eval[any](b, `dispatchEvent(new Event("renew")), 0`)
	b.until(`window.before !== document.querySelector("#part .kpi")`)
	if !eval[bool](b, `window.canvas === document.querySelector("#flow canvas")`) {
		t.Error("the curve went with the page's update")
	}
	b.do("dark", chromedp.Click(css("#theme")))
	b.until(`window.canvas !== document.querySelector("#flow canvas") && document.querySelectorAll("#flow .uplot canvas").length === 3`)
	b.do("an ERP", chromedp.Navigate(b.base+"/postings"))
	b.until(`document.querySelectorAll(".standing .spark[aria-label]").length === 3`)
}

func BenchmarkSparks(b *testing.B) {
	var f demoFlow
	points, now := f.flow("connector/marketplace"), time.Now()
	b.ReportAllocs()
	for range b.N {
		makeSpark(&lagSeries, points, now)
	}
}
