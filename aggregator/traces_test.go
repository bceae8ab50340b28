package aggregator_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const tracedReceipt = `{"events":[{"kind":"receipt","document_id":"GR-4711","location":"DC1","occurred_at":"2026-11-23T10:00:00Z",
 "traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","lines":[{"sku":"ART-1","quantity":12}]}]}`

// A document is found by any of its names, and a collector hears of it.
func TestADocumentsWay(t *testing.T) {
	heard := make(chan string, 8)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		heard <- string(b)
	}))
	defer collector.Close()
	r := start(t, true)
	r.stop()
	r.cfg.OTel.Endpoint = collector.URL
	r.open()
	if got := r.do(routeEvents, "/v1/feeds/wms/events", tracedReceipt); got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.body)
	}
	for _, url := range []string{"/v1/traces/GR-4711", "/v1/traces/GR-4711?store=DC1&kind=receipt", "/v1/traces/4bf92f3577b34da6a3ce929d0e0e4736"} {
		got := r.do("GET /v1/traces/{id}", url, "")
		if got.status != http.StatusOK || !strings.Contains(string(got.body), `"hop":"merged"`) || !strings.Contains(string(got.body), `"document_id":"GR-4711"`) {
			t.Errorf("%s: %d %s", url, got.status, got.body)
		}
	}
	for url, status := range map[string]int{"/v1/traces/nothing-here": http.StatusNotFound, "/v1/traces/abc": http.StatusUnprocessableEntity, "/v1/traces/GR-4711?kind=x": http.StatusUnprocessableEntity, "/v1/traces/GR-4711?shop=x": http.StatusUnprocessableEntity} {
		if got := r.do("GET /v1/traces/{id}", url, ""); got.status != status {
			t.Errorf("%s: %d, want %d", url, got.status, status)
		}
	}
	select {
	case b := <-heard:
		if !strings.Contains(b, `"traceId":"4bf92f3577b34da6a3ce929d0e0e4736"`) || !strings.Contains(b, "merge receipt") {
			t.Error(b)
		}
	case <-time.After(20 * time.Second):
		t.Error("the collector heard nothing")
	}
}
