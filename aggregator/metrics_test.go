package aggregator_test

import (
	"strings"
	"testing"
)

// Whoever alerts needs the codes as series before they ever occur, and each
// family explained.
func TestMetrics(t *testing.T) {
	r := start(t, true)
	r.do("GET /v1/stores", "/v1/stores", "")
	r.do("GET /v1/stores/{store}", "/v1/stores/S9999", "")
	text := string(r.do("GET /metrics", "/metrics", "").body)
	for _, line := range []string{
		"# TYPE tillwire_ingest_events_total counter\n",
		"tillwire_fleet_incidents{code=\"store_offline\"} 0\n",
		"tillwire_fleet_stores{presence=\"draining\"} 0\n",
		"tillwire_ingest_refused_total{reason=\"gap\"} 0\n",
		"tillwire_http_requests_total{route=\"GET /v1/stores\",status=\"2xx\"} 1\n",
		"tillwire_http_requests_total{route=\"GET /v1/stores/{store}\",status=\"4xx\"} 1\n",
		"tillwire_http_request_seconds_count{route=\"GET /v1/stores\"} 1\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("missing %q", line)
		}
	}
	said := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ = strings.Cut(name, " ")
			said[name] = true
			continue
		}
		if !strings.HasPrefix(line, "tillwire_") {
			continue
		}
		name := line[:strings.IndexAny(line, "{ ")]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if base := strings.TrimSuffix(name, suffix); said[base] {
				name = base
			}
		}
		if !said[name] {
			t.Errorf("%s has no type", name)
		}
	}
}
