package aggregator_test

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// The answer holds what was merged, in JSON as documented and as a table that no
// spreadsheet runs.
func TestOutcomes(t *testing.T) {
	r := start(t, true)
	feed := func(docs string) {
		if a := r.do("POST /v1/feeds/{source}/events", "/v1/feeds/wms/events", `{"events":[`+docs+`]}`); a.status != http.StatusOK || strings.Contains(string(a.body), `"refused"`) {
			t.Fatalf("%s", a.body)
		}
	}
	feed(`{"kind":"receipt","location":"S1","document_id":"r1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"line":1,"sku":"X","quantity":5}]}`)
	feed(`{"kind":"adjustment","location":"S1","document_id":"a1","occurred_at":"2026-11-23T11:00:00Z","reason":"shrink","lines":[{"line":1,"sku":"X","quantity":-7}]}`)
	a := r.do("GET /v1/outcomes", "/v1/outcomes?group=store,week", "")
	total, _ := a.field(t, "total", "oversells").(map[string]any)
	if total["below_zero"] != 1.0 || total["total"] != 1.0 {
		t.Errorf("%s", a.body)
	}
	if words, _ := a.field(t, "definitions", "discrepancy.rate").(string); words == "" {
		t.Error("the answer does not say what it is of")
	}
	for name, ask := range map[string]func(*http.Request){
		"by its type":   func(q *http.Request) { q.Header.Set("Accept", "text/csv") },
		"by the format": func(q *http.Request) { q.URL.RawQuery += "&format=csv" },
	} {
		a := r.do("GET /v1/outcomes", "/v1/outcomes?group=store", "", ask)
		rows, err := csv.NewReader(strings.NewReader(string(a.body))).ReadAll()
		if err != nil || len(rows) != 2 || rows[1][1] != "S1" || rows[1][11] != "1" {
			t.Errorf("%s: %q, %v", name, rows, err)
		}
	}
	for query, pointer := range map[string]string{
		"group=month": "/group", "from=yesterday": "/from", "to=2026-13-01": "/to", "format=xml": "/format", "weeks=3": "/weeks",
		"from=2026-11-30&to=2026-11-01": "/to",
	} {
		r.refused(query, r.do("GET /v1/outcomes", fmt.Sprint("/v1/outcomes?", query), ""), http.StatusUnprocessableEntity, "invalid_field", pointer)
	}
}
