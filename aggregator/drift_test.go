package aggregator_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"
)

const (
	routeDrift  = "GET /v1/reconciliations"
	routeDecide = "POST /v1/reconciliations/decide"
)

func (r *running) states(source, id, asOf, lines string) answer {
	r.t.Helper()
	return r.do(routeSnapshot, "/v1/feeds/"+source+"/snapshot", fmt.Sprintf(`{"snapshot_id":%q,"location":"DC1","as_of":%q,"complete":true,"lines":[%s]}`, id, asOf, lines))
}

func TestStatementsAndDrift(t *testing.T) {
	r := start(t, true)
	r.states("wms", "n1", "2026-11-20T10:00:00Z", `{"sku":"A","quantity":12},{"sku":"B","quantity":3}`)
	r.says("the first statement is the number", r.numbers("A", "DC1"), "12 on hand, 0 reserved, 0 allocated, 12 available")
	r.states("erp", "e1", "2026-11-20T11:00:00Z", `{"sku":"A","quantity":50}`)
	r.says("who is not the record moves nothing", r.numbers("A", "DC1"), "12 on hand, 0 reserved, 0 allocated, 12 available")
	r.says("nor by leaving out", r.numbers("B", "DC1"), "3 on hand, 0 reserved, 0 allocated, 3 available")
	rows := r.do(routeDrift, "/v1/reconciliations?state=open", "").field(t, "reconciliations").([]any)
	if len(rows) != 2 || rows[0].(map[string]any)["difference"] != 38.0 { // A, and B that a complete statement leaves out
		t.Fatalf("%v", rows)
	}
	decide := func(id, action string) answer {
		return r.do(routeDecide, "/v1/reconciliations/decide", fmt.Sprintf(`{"id":%q,"action":%q,"note":"known"}`, id, action))
	}
	if a := decide("erp/DC1/A", "adopt"); a.status != http.StatusConflict {
		t.Errorf("adopted from who is not the record: %s", a.body)
	}
	if a := decide("erp/DC1/A", "dismiss"); a.field(t, "state") != "dismissed" || a.field(t, "decided_by") != "dev" {
		t.Errorf("%s", a.body)
	}
	if a := r.states("wms", "n0", "2026-11-20T09:00:00Z", `{"sku":"A","quantity":1}`); string(a.body) == "" || r.numbers("A", "DC1")[:2] != "12" {
		t.Errorf("an older statement: %s", a.body)
	}
	r.states("wms", "n2", "2026-11-20T12:00:00Z", `{"sku":"A","quantity":9},{"sku":"B","quantity":3}`)
	r.says("the record's next statement", r.numbers("A", "DC1"), "9 on hand, 0 reserved, 0 allocated, 9 available")

	many := ""
	for i := range 40 {
		many += fmt.Sprintf(`{"sku":"M%d","quantity":5},`, i)
	}
	r.states("wms", "n3", "2026-11-20T13:00:00Z", many+`{"sku":"A","quantity":9}`)
	a := r.states("wms", "n4", "2026-11-20T14:00:00Z", `{"sku":"A","quantity":8}`)
	if res := a.field(t, "results").([]any)[0].(map[string]any); res["code"] != "mass_zeroing" {
		t.Fatalf("emptying: %s", a.body)
	}
	r.says("waits", r.numbers("M7", "DC1"), "5 on hand, 0 reserved, 0 allocated, 5 available")
	r.stop()
	r.open()
	rows = r.do(routeDrift, "/v1/reconciliations?kind=mass_zeroing", "").field(t, "reconciliations").([]any)
	if len(rows) != 1 {
		t.Fatalf("%v", rows)
	}
	id := rows[0].(map[string]any)["id"].(string)
	if a := decide(id, "adopt"); a.field(t, "state") != "adopted" {
		t.Fatalf("%s", a.body)
	}
	r.says("approved", r.numbers("M7", "DC1"), "0 on hand, 0 reserved, 0 allocated, 0 available")
	r.says("with its numbers", r.numbers("A", "DC1"), "8 on hand, 0 reserved, 0 allocated, 8 available")
	one := r.do(routeDrift, "/v1/reconciliations?id="+url.QueryEscape(id), "")
	if len(one.field(t, "reconciliations").([]any)) != 1 {
		t.Errorf("%s", one.body)
	}
}

func TestResidueIsWrittenOff(t *testing.T) {
	r := start(t, true)
	old := time.Now().Add(-10 * 24 * time.Hour).UTC().Format(time.RFC3339)
	r.feed(fmt.Sprintf(`{"kind":"transfer","document_id":"o","location":"DC1","occurred_at":%q,"direction":"out","counterparty":"S1","transfer_id":"T1","lines":[{"sku":"A","quantity":5}]}`, old))
	r.feed(fmt.Sprintf(`{"kind":"transfer","document_id":"i","location":"S1","occurred_at":%q,"direction":"in","counterparty":"DC1","transfer_id":"T1","lines":[{"sku":"A","quantity":3}]}`, old))
	rows := r.do(routeDrift, "/v1/reconciliations?kind=residue", "").field(t, "reconciliations").([]any)
	if len(rows) != 1 || rows[0].(map[string]any)["book"] != 2.0 {
		t.Fatalf("%v", rows)
	}
	a := r.do("GET /v1/availability/{sku}", "/v1/availability/A", "")
	if a.field(t, "totals", "in_transit") != 2.0 {
		t.Errorf("%s", a.body)
	}
	id := rows[0].(map[string]any)["id"].(string)
	r.do(routeDecide, "/v1/reconciliations/decide", fmt.Sprintf(`{"id":%q,"action":"write_off","note":"lost on the road"}`, id))
	a = r.do("GET /v1/availability/{sku}", "/v1/availability/A", "")
	if a.field(t, "totals", "in_transit") != 0.0 || a.field(t, "totals", "on_hand") != -2.0 {
		t.Errorf("%s", a.body)
	}
	if rows = r.do(routeDrift, "/v1/reconciliations?kind=residue&state=open", "").field(t, "reconciliations").([]any); len(rows) != 0 {
		t.Errorf("%v", rows)
	}
}

func TestAcknowledgedIsInsideTheStatement(t *testing.T) {
	r := start(t, true)
	for n, doc := range []string{"s1", "s2"} {
		r.feed(fmt.Sprintf(`{"kind":"sale","document_id":%q,"location":"DC1","occurred_at":"2026-11-23T1%d:00:00Z","lines":[{"sku":"A","quantity":1}]}`, doc, n))
	}
	r.do(routeSnapshot, "/v1/feeds/wms/snapshot", `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T13:00:00Z","acknowledged":{"DC1/feed:wms":1},"lines":[{"sku":"A","quantity":50}]}`)
	r.says("the second sale is after it, whatever the clock says", r.numbers("A", "DC1"), "49 on hand, 0 reserved, 0 allocated, 49 available")
}
