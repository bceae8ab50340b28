package web

import (
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"
)

// work is what a browser did, by its own tracing: milliseconds on all of its threads.
type work map[string]float64

// traceParts are the work of a page; none lies within another.
var traceParts = map[string]string{
	"FunctionCall": "script", "UpdateLayoutTree": "style", "Layout": "layout", "PrePaint": "paint", "Paint": "paint", "Layerize": "paint", "Commit": "paint",
}

func (w work) sum() (ms float64) {
	for _, v := range w {
		ms += v
	}
	return ms
}

// traced lets the browser write down what it does for a while.
func traced(b *browser, d time.Duration) work {
	b.t.Helper()
	var mu sync.Mutex
	w, done := work{}, make(chan struct{})
	if err := chromedp.Listen(b.ctx, func(ev any) {
		switch e := ev.(type) {
		case *tracing.EventDataCollected:
			mu.Lock()
			defer mu.Unlock()
			for _, raw := range e.Value {
				var x struct {
					Name string  `json:"name"`
					Ph   string  `json:"ph"`
					Dur  float64 `json:"dur"` // µs
				}
				if json.Unmarshal(raw, &x) == nil && x.Ph == "X" && traceParts[x.Name] != "" {
					w[traceParts[x.Name]] += x.Dur / 1000
				}
			}
		case *tracing.EventTracingComplete:
			close(done)
		}
	}); err != nil {
		b.t.Fatal(err)
	}
	_, err := chromedp.Call(b.ctx, tracing.Start, tracing.StartParams{TraceConfig: &tracing.TraceConfig{IncludedCategories: []string{"devtools.timeline"}}})
	if err == nil {
		time.Sleep(d)
		_, err = chromedp.Call(b.ctx, tracing.End, cdp.Empty{})
	}
	if err != nil {
		b.t.Fatal("trace:", err)
	}
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		b.t.Fatal("the trace does not end")
	}
	mu.Lock()
	defer mu.Unlock()
	return w
}

// What a second of changes costs a reader's browser, by its own tracing, where nobody
// looks, one store of thousands changes, and one in fifteen does. The figures are logged;
// the bounds leave room for a busy machine.
func TestUpdateCostByTracing(t *testing.T) {
	for _, c := range []struct {
		name   string
		stores int
		share  int
		max    float64 // ms a second
	}{{"400 stores, a fifteenth changes", 400, 15, 150}, {"5,000 stores, one changes", 5000, 5000, 300}, {"5,000 stores, a fifteenth changes", 5000, 15, 500}} {
		d := newDemo(c.stores)
		d.share = c.share
		b := newBrowser(t, serve(t, d))
		b.size(1480, 1060, "light")
		b.do("open", chromedp.Navigate(b.base+"/"))
		b.until(`performance.getEntriesByName("ready").length > 0 && __stats.applied > 1`)
		const seconds = 4
		before := eval[int](b, `__stats.applied`)
		w := traced(b, seconds*time.Second)
		applied := eval[int](b, `__stats.applied`) - before
		t.Logf("%s: %d updates in %d s cost %.0f ms of work a second: script %.1f, style %.1f, layout %.1f, paint %.1f",
			c.name, applied, seconds, w.sum()/seconds, w["script"]/seconds, w["style"]/seconds, w["layout"]/seconds, w["paint"]/seconds)
		switch {
		case applied < 2:
			t.Errorf("%s: only %d updates came", c.name, applied)
		case w["script"] == 0 || w["paint"] == 0:
			t.Errorf("%s: the trace lacks script or paint: %v", c.name, w)
		case w.sum()/seconds > c.max:
			t.Errorf("%s: %.0f ms of work a second", c.name, w.sum()/seconds)
		}
	}
}
