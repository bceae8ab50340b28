package aggregator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	routePutItem   = "PUT /v1/items/{sku}"
	routePutPolicy = "PUT /v1/policies/{id}"
	routeFeed      = "POST /v1/feeds/{source}/events"
)

func asJSON(r *http.Request) { r.Header.Set("Content-Type", "application/json") }

func (r *running) feed(doc string) answer {
	r.t.Helper()
	return r.do(routeFeed, "/v1/feeds/wms/events", `{"events":[`+doc+`]}`)
}

func TestKitsAndUnits(t *testing.T) {
	r := start(t, true)
	r.feed(`{"kind":"receipt","document_id":"r1","location":"DC1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":10},{"sku":"B","quantity":5},{"sku":"A","quantity":1,"uom":"CS"}]}`)
	if a := r.do(routePutItem, "/v1/items/SET", `{"sku":"SET","kit":[{"sku":"A","quantity":1},{"sku":"B","quantity":2}]}`, asJSON); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := r.do(routePutItem, "/v1/items/A", `{"sku":"A","kit":[{"sku":"SET","quantity":1}]}`, asJSON); a.field(t, "code") != "kit_cycle" {
		t.Errorf("a cycle: %s", a.body)
	}
	r.says("before any conversion all units are alike", r.numbers("A", "DC1"), "11 on hand, 0 reserved, 0 allocated, 11 available")
	r.says("a kit is what its parts make", r.numbers("SET", "DC1"), "0 on hand, 0 reserved, 0 allocated, 2 available")
	if a := r.do(routeReserve, "/v1/reservations", `{"reservation_id":"k1","channel":"web","lines":[{"sku":"SET","quantity":2}]}`); a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.says("its parts are held", r.numbers("B", "DC1"), "5 on hand, 4 reserved, 0 allocated, 1 available")
	if a := r.do(routeReserve, "/v1/reservations", `{"reservation_id":"k2","channel":"web","lines":[{"sku":"SET","quantity":1}]}`); a.field(t, "code") != "insufficient_stock" {
		t.Errorf("one kit too many: %s", a.body)
	}
	r.do(routePutItem, "/v1/items/A", `{"sku":"A","units":[{"uom":"CS","factor":6}]}`, asJSON)
	r.feed(`{"kind":"receipt","document_id":"r2","location":"DC1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":2,"uom":"CS"},{"sku":"A","quantity":3,"uom":"PAL"}]}`)
	r.says("converted", r.numbers("A", "DC1"), "23 on hand, 2 reserved, 0 allocated, 21 available")
	r.says("under its raw code", r.numbers("A%23PAL", "DC1"), "3 on hand, 0 reserved, 0 allocated, 3 available")
	x := r.do("GET /v1/exceptions", "/v1/exceptions?code=unit_unknown", "").field(t, "exceptions").([]any)
	if len(x) != 1 {
		t.Fatalf("%d exceptions", len(x))
	}
	id := x[0].(map[string]any)["id"].(string)
	retry := func() answer {
		return r.do("POST /v1/exceptions/{id}/retry", "/v1/exceptions/"+id+"/retry", "")
	}
	if a := retry(); a.field(t, "state") != "open" || !strings.Contains(string(a.body), "still no conversion") {
		t.Errorf("too early: %s", a.body)
	}
	r.do(routePutItem, "/v1/items/A", `{"sku":"A","units":[{"uom":"CS","factor":6},{"uom":"PAL","factor":100}]}`, asJSON)
	if a := retry(); a.field(t, "state") != "retried" {
		t.Errorf("now: %s", a.body)
	}
	r.says("moved to the article", r.numbers("A", "DC1"), "323 on hand, 2 reserved, 0 allocated, 321 available")
	r.stop()
	r.open()
	r.says("after a restart", r.numbers("A", "DC1"), "323 on hand, 2 reserved, 0 allocated, 321 available")
	r.says("and its kits", r.numbers("SET", "DC1"), "0 on hand, 0 reserved, 0 allocated, 0 available")
	a := r.do("POST /v1/items", "/v1/items", `{"items":[{"sku":"Q"},{"sku":"W","units":[{"uom":"EA","factor":0}]}]}`)
	r.says("one good, one bad", strings.Join(statuses(a.field(t, "results").([]any)), " "), "stored refused")
}

func statuses(list []any) (out []string) {
	for _, x := range list {
		out = append(out, x.(map[string]any)["status"].(string))
	}
	return out
}

func TestPolicies(t *testing.T) {
	r := start(t, true)
	r.do("POST /v1/feeds/{source}/snapshot", "/v1/feeds/wms/snapshot", `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":20}]}`)
	put := func(id, rest string) answer {
		t.Helper()
		return r.do(routePutPolicy, "/v1/policies/"+id, `{"policy_id":"`+id+`",`+rest+`}`, asJSON)
	}
	put("base", `"values":{"safety_stock":1}`)
	put("south", `"scope":{"group":"South"},"values":{"safety_stock":3,"threshold":2}`)
	put("web", `"scope":{"channel":"web"},"values":{"fence":4}`)
	r.says("held back", r.numbers("A", "DC1"), "20 on hand, 0 reserved, 0 allocated, 15 available")
	a := r.do("GET /v1/availability/{sku}", "/v1/availability/A?channel=app", "")
	if got := a.field(t, "totals", "available"); got != 11.0 {
		t.Errorf("another channel sees %v: %s", got, a.body)
	}
	if a := r.do(routeReserve, "/v1/reservations", `{"reservation_id":"x","channel":"app","lines":[{"sku":"A","quantity":12}]}`); a.field(t, "code") != "insufficient_stock" {
		t.Errorf("into another's fence: %s", a.body)
	}
	if a := r.do(routeReserve, "/v1/reservations", `{"reservation_id":"y","channel":"web","lines":[{"sku":"A","quantity":15}]}`); a.status != http.StatusCreated {
		t.Errorf("its own fence: %s", a.body)
	}
	x := r.do(routeExplain, "/v1/availability/A/explain?location=DC1", "")
	var safety float64
	for _, b := range x.field(t, "buffers").([]any) {
		if m := b.(map[string]any); m["quantity"] == "safety_stock" {
			safety += m["value"].(float64)
		}
	}
	if safety != 5 || x.field(t, "safety_stock") != 5.0 || x.field(t, "reserved") != 15.0 || x.field(t, "available") != 0.0 {
		t.Errorf("explained: %s", x.body)
	}
	if a := put("bad", `"scope":{"channel":"web"},"values":{"safety_stock":1}`); a.status != http.StatusUnprocessableEntity {
		t.Errorf("a channel's safety stock: %d %s", a.status, a.body)
	}
	r.do("DELETE /v1/policies/{id}", "/v1/policies/south", "")
	r.says("ended", r.numbers("A", "DC1"), "20 on hand, 15 reserved, 0 allocated, 4 available")
	if got := len(r.do("GET /v1/policies/{id}", "/v1/policies/south", "").field(t, "versions").([]any)); got != 2 {
		t.Errorf("%d versions", got)
	}
	r.stop()
	r.open()
	r.says("after a restart", r.numbers("A", "DC1"), "20 on hand, 15 reserved, 0 allocated, 4 available")
	if got := len(r.do("GET /v1/policies", "/v1/policies", "").field(t, "policies").([]any)); got != 2 {
		t.Errorf("%d policies", got)
	}
}

func TestCountNext(t *testing.T) {
	r := start(t, true)
	for _, doc := range []string{
		`{"kind":"receipt","document_id":"r1","location":"S1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":10}]}`,
		`{"kind":"sale","document_id":"s1","location":"S1","occurred_at":"2026-11-23T11:00:00Z","lines":[{"sku":"B","quantity":2}]}`,
	} {
		r.feed(doc)
	}
	a := r.do("GET /v1/stores/{store}/count-next", "/v1/stores/S1/count-next", "")
	list := a.field(t, "items").([]any)
	if len(list) != 1 || list[0].(map[string]any)["sku"] != "B" || !strings.Contains(list[0].(map[string]any)["reason"].(string), "below zero") {
		t.Errorf("%s", a.body)
	}
	if a := r.do("GET /v1/stores/{store}/count-next", "/v1/stores/nowhere/count-next", ""); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestATP(t *testing.T) {
	r := start(t, true)
	r.do("POST /v1/feeds/{source}/snapshot", "/v1/feeds/wms/snapshot", `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":4}]}`)
	due := time.Now().Add(72 * time.Hour).UTC().Format(time.RFC3339)
	r.feed(`{"kind":"advice","document_id":"PO1","location":"DC1","occurred_at":"2026-11-23T10:00:00Z","expected_at":"` + due + `","lines":[{"sku":"A","quantity":10}]}`)
	r.feed(`{"kind":"receipt","document_id":"r1","location":"DC1","occurred_at":"2026-11-23T11:00:00Z","advice_id":"PO1","lines":[{"sku":"A","quantity":3}]}`)
	r.says("received of it", r.numbers("A", "DC1"), "7 on hand, 0 reserved, 0 allocated, 7 available")
	r.reserve("w", 2, "")
	a := r.do("GET /v1/availability/{sku}/atp", "/v1/availability/A/atp?location=DC1", "")
	var got []string
	for _, p := range a.field(t, "points").([]any) {
		m := p.(map[string]any)
		got = append(got, fmt.Sprint(m["change"], " ", m["projected"], " ", m["atp"]))
	}
	r.says("the projection", strings.Join(got, ", "), "0 5 5, 7 12 12")
	if a := r.do("GET /v1/availability/{sku}/atp", "/v1/availability/A/atp?location=DC1&days=2", ""); len(a.field(t, "points").([]any)) != 1 {
		t.Errorf("beyond the horizon: %s", a.body)
	}
}

func TestBrokenPromisesAreShown(t *testing.T) {
	r := start(t, true)
	r.do("POST /v1/feeds/{source}/snapshot", "/v1/feeds/wms/snapshot", `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":4}]}`)
	r.do(routePutPolicy, "/v1/policies/e", `{"policy_id":"e","values":{"escrow":1}}`, asJSON)
	r.reserve("w", 3, "")
	r.feed(`{"kind":"sale","document_id":"s","location":"DC1","occurred_at":"2026-11-23T11:00:00Z","lines":[{"sku":"A","quantity":2}]}`)
	// DC1 has only a feed: it is never dark, and breaks no escrow
	x := r.do("GET /v1/exceptions", "/v1/exceptions?code=promise_at_risk", "").field(t, "exceptions").([]any)
	if len(x) != 1 || !strings.Contains(x[0].(map[string]any)["reason"].(string), "3 of A at DC1 are promised to w") {
		t.Errorf("%v", x)
	}
}
