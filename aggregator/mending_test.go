package aggregator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
)

func tryFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// deliver sends a receipt of a feed; the same id with other units is parked.
func (r *running) deliver(source, id, sku string, units int) answer {
	r.t.Helper()
	return r.do("POST /v1/feeds/{source}/events", "/v1/feeds/"+source+"/events", fmt.Sprintf(
		`{"events":[{"kind":"receipt","location":"S1","document_id":%q,"occurred_at":"2026-11-23T10:00:00Z","lines":[{"line":1,"sku":%q,"quantity":%d}]}]}`, id, sku, units))
}

func (r *running) number(a answer, path ...string) int {
	r.t.Helper()
	n, ok := a.field(r.t, path...).(float64)
	if !ok {
		r.t.Fatalf("%s has no number %v", a.body, path)
	}
	return int(n)
}

func (r *running) exceptions(query string) []map[string]any {
	r.t.Helper()
	list, _ := r.do("GET /v1/exceptions", "/v1/exceptions?"+query, "").field(r.t, "exceptions").([]any)
	var out []map[string]any
	for _, x := range list {
		out = append(out, x.(map[string]any))
	}
	return out
}

// Many exceptions are looked at by cause, counted before they are decided, decided in
// steps, and each action is in the trail.
func TestExceptionsInBulk(t *testing.T) {
	r := start(t, true)
	for n := range 7 {
		r.deliver("wms", fmt.Sprint("r", n), "X", 1)
		r.deliver("wms", fmt.Sprint("r", n), "X", 2)
	}
	r.deliver("erp", "e1", "X", 1)
	r.deliver("erp", "e1", "X", 2)
	causes, _ := r.do("GET /v1/exceptions/causes", "/v1/exceptions/causes", "").field(t, "causes").([]any)
	if len(causes) != 1 || causes[0].(map[string]any)["open"] != 8.0 || fmt.Sprint(causes[0].(map[string]any)["actions"]) != "[retry edit discard]" {
		t.Fatalf("causes %v", causes)
	}
	if n := len(r.exceptions("source=erp&since=2026-01-01T00:00:00Z")); n != 1 {
		t.Errorf("%d of erp", n)
	}
	bulk := func(body string) answer { return r.do("POST /v1/exceptions/bulk", "/v1/exceptions/bulk", body) }
	a := bulk(`{"action":"discard","filter":{"source":"wms"},"preview":true}`)
	if r.number(a, "matched") != 7 || r.number(a, "by_source", "wms") != 7 || r.number(a, "done") != 0 {
		t.Errorf("%s", a.body)
	}
	done, after := 0, ""
	for steps := 0; steps == 0 || after != ""; steps++ {
		a = bulk(fmt.Sprintf(`{"action":"discard","filter":{"source":"wms"},"reason":"sent twice","limit":3,"after":%q}`, after))
		done += r.number(a, "done")
		after, _ = a.field(t, "next").(string)
	}
	if open := r.exceptions("state=open"); done != 7 || len(open) != 1 {
		t.Errorf("%d discarded, %d open", done, len(open))
	}
	a = r.do("POST /v1/feeds/{source}/replay", "/v1/feeds/erp/replay", `{"since":"2026-01-01T00:00:00Z"}`)
	if r.number(a, "matched") != 1 || r.number(a, "open") != 1 {
		t.Errorf("what is not mended stays: %s", a.body)
	}
	trail := string(r.do("GET /v1/audit", "/v1/audit?action=exception", "").body)
	if strings.Count(trail, `"exception.bulk_discard"`) != 3 || !strings.Contains(trail, `"sent twice"`) || !strings.Contains(trail, `"exception.bulk_retry"`) {
		t.Errorf("trail %s", trail)
	}
	for body, pointer := range map[string]string{
		`{"action":"eat","filter":{"source":"wms"}}`: "/action", `{"action":"retry","filter":{}}`: "/filter",
		`{"action":"discard","filter":{"code":"x"}}`: "/reason", `{"action":"retry","filter":{"code":"x"},"limit":501}`: "/limit",
	} {
		r.refused(body, bulk(body), http.StatusUnprocessableEntity, "invalid_field", pointer)
	}
}

// A document is corrected where it is looked at; pointers say what is wrong with a
// correction.
func TestExceptionIsEdited(t *testing.T) {
	r := start(t, true)
	r.deliver("wms", "r1", "X", 1)
	r.deliver("wms", "r1", "X", 5)
	x := r.exceptions("state=open")[0]
	path := "/v1/exceptions/" + x["id"].(string) + "/edit"
	edit := func(body string) answer { return r.do("POST /v1/exceptions/{id}/edit", path, body) }
	const doc = `{"kind":"receipt","document_id":"r2","occurred_at":"2026-11-23T10:00:00Z","lines":[{"line":1,"sku":"X","quantity":%s}]}`
	r.refused("a word", edit(`{"note":"n","document":`+fmt.Sprintf(doc, `"five"`)+`}`), http.StatusUnprocessableEntity, "invalid_field", "/lines/0/quantity")
	r.refused("no note", edit(`{"document":`+fmt.Sprintf(doc, "5")+`}`), http.StatusUnprocessableEntity, "invalid_field", "/note")
	a := edit(`{"note":"another delivery","document":` + fmt.Sprintf(doc, "5") + `}`)
	if a.field(t, "state") != "retried" || !strings.Contains(string(a.body), `"pointer":"/document_id","was":"r1","now":"r2"`) {
		t.Fatalf("%s", a.body)
	}
	r.refused("again", edit(`{"note":"n","document":`+fmt.Sprintf(doc, "6")+`}`), http.StatusConflict, "exception_decided", "")
	if a := r.do("GET /v1/availability/{sku}", "/v1/availability/X", ""); r.number(a, "totals", "on_hand") != 6 {
		t.Errorf("%s", a.body)
	}
	if trail := string(r.do("GET /v1/audit", "/v1/audit?action=exception.edit", "").body); !strings.Contains(trail, `"another delivery"`) || !strings.Contains(trail, `"/document_id"`) {
		t.Errorf("trail %s", trail)
	}
}

// A feed that parks too much is paused, over a restart too, until a person resumes
// it; others go on.
func TestSourceIsStopped(t *testing.T) {
	r := start(t, true)
	r.stop()
	r.cfg.Sources = []aggregator.SourceConfig{{Source: "wms", StopPerHour: 2}, {Source: "*"}}
	r.open()
	for n := range 4 {
		r.deliver("wms", "r1", "X", n+1)
	}
	r.refused("after the third", r.deliver("wms", "r9", "X", 1), http.StatusServiceUnavailable, "source_paused", "")
	if a := r.deliver("erp", "r9", "X", 1); a.status != http.StatusOK {
		t.Errorf("another feed: %s", a.body)
	}
	tryFor(t, "the incident", func() bool {
		return strings.Contains(string(r.do("GET /v1/stores", "/v1/stores", "").body), `"code":"source_paused"`)
	})
	r.stop()
	r.open()
	r.refused("after a restart", r.deliver("wms", "r9", "X", 1), http.StatusServiceUnavailable, "source_paused", "")
	if text := string(r.do("GET /metrics", "/metrics", "").body); !strings.Contains(text, "tillwire_sources_paused 1\n") {
		t.Error("no metric tells of it")
	}
	a := r.do("POST /v1/sources/{source}/resume", "/v1/sources/wms/resume", `{"reason":"mended"}`)
	if a.status != http.StatusOK || strings.Contains(string(a.body), `"paused"`) {
		t.Errorf("%s", a.body)
	}
	if a := r.deliver("wms", "r9", "X", 1); a.status != http.StatusOK {
		t.Errorf("resumed: %s", a.body)
	}
	r.refused("twice", r.do("POST /v1/sources/{source}/resume", "/v1/sources/wms/resume", `{"reason":"x"}`), http.StatusConflict, "not_paused", "")
	r.refused("agents", r.do("POST /v1/sources/{source}/pause", "/v1/sources/agents/pause", `{"reason":"x"}`), http.StatusConflict, "agents_never_pause", "")
	if a := r.do("POST /v1/sources/{source}/pause", "/v1/sources/erp/pause", `{"reason":"their migration"}`); !strings.Contains(string(a.body), `"their migration"`) {
		t.Errorf("%s", a.body)
	}
	if strings.Contains(string(r.do("GET /v1/stores", "/v1/stores", "").body), "wms is paused") {
		t.Error("the incident of wms is still there")
	}
}

// What lacked an article is put right by itself when the article comes.
func TestPolicyHeals(t *testing.T) {
	r := start(t, true)
	r.stop()
	r.cfg.Sources = []aggregator.SourceConfig{{Source: "wms", Retry: []string{"sku_unknown", "unit_unknown"}, First: aggregator.Duration(time.Hour)}}
	r.open()
	item := func(sku string) {
		if a := r.do("PUT /v1/items/{sku}", "/v1/items/"+sku, `{"sku":"`+sku+`","base_unit":"EA"}`, func(q *http.Request) { q.Header.Set("Content-Type", "application/json") }); a.status >= 300 {
			t.Fatalf("%s", a.body)
		}
	}
	item("A")
	r.deliver("wms", "r1", "B", 1)
	r.deliver("erp", "r2", "C", 1)
	if open := r.exceptions("state=open&code=sku_unknown"); len(open) != 2 {
		t.Fatalf("%v", open)
	}
	item("B")
	item("C")
	tryFor(t, "B is healed", func() bool { return len(r.exceptions("state=retried&code=sku_unknown")) == 1 })
	healed := r.exceptions("state=retried&code=sku_unknown")[0]
	if h := fmt.Sprint(healed["history"]); healed["about"] != "B" || !strings.Contains(h, "who:policy") || healed["attempts"] != 1.0 {
		t.Errorf("%v", healed)
	}
	if open := r.exceptions("state=open&code=sku_unknown"); len(open) != 1 || open[0]["about"] != "C" {
		t.Errorf("erp has no policy: %v", open)
	}
	a := r.do("GET /v1/sources", "/v1/sources", "")
	if !strings.Contains(string(a.body), `"source":"wms","retry":["sku_unknown","unit_unknown"],"first_s":3600`) {
		t.Errorf("%s", a.body)
	}
}
