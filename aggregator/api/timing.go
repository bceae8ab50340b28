package api

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// latencyBuckets are upper bounds in seconds: an availability answer takes tens of
// microseconds, a reservation one commit, a snapshot seconds.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// timings count requests by route and outcome. Routes are few and fixed, so the
// set is bounded whatever callers send.
type timings struct {
	set    *metrics.Set
	routes map[string]*routeTiming
	fast   *metrics.Counter // the hot call, answered without net/http: counted, not timed

	fastQuery *routeTiming // its like for many SKUs: timed
}

// hotCall and hotQuery are the routes that have fast paths.
const (
	hotCall  = "GET /v1/availability/{sku}"
	hotQuery = "POST /v1/availability/query"
)

type routeTiming struct {
	byClass [6]*metrics.Counter // of the status: 2 = 2xx
	seconds *metrics.PrometheusHistogram
}

func newTimings(routes []route) *timings {
	t := &timings{set: metrics.NewSet(), routes: make(map[string]*routeTiming, len(routes))}
	for _, r := range routes {
		rt := &routeTiming{}
		for class := 2; class < len(rt.byClass); class++ {
			rt.byClass[class] = t.set.NewCounter(`tillwire_http_requests_total{route="` + r.pattern + `",status="` + strconv.Itoa(class) + `xx"}`)
		}
		if !waits(r.pattern) {
			rt.seconds = t.set.NewPrometheusHistogramExt(`tillwire_http_request_seconds{route="`+r.pattern+`"}`, latencyBuckets)
		}
		t.routes[r.pattern] = rt
	}
	t.fast, t.fastQuery = t.routes[hotCall].byClass[2], t.routes[hotQuery]
	return t
}

// waits tells the routes whose callers wait for news: their duration says nothing.
func waits(pattern string) bool {
	return strings.HasSuffix(pattern, "/stream") || strings.HasSuffix(pattern, "/changes")
}

// done notes how a request ended.
func (t *routeTiming) done(status int, began time.Time) {
	if class := status / 100; class >= 2 && class < len(t.byClass) {
		t.byClass[class].Inc()
	}
	if t.seconds != nil {
		t.seconds.UpdateDuration(began)
	}
}

// WriteMetrics writes what the port counted, as Prometheus text.
func (a *API) WriteMetrics(w io.Writer) {
	a.timings.set.WritePrometheus(w)
}
