package aggregator_test

import (
	"fmt"
	"net/http"
	"testing"
)

const (
	routeReserve = "POST /v1/reservations"
	routeOne     = "GET /v1/reservations/{id}"
	routeDelete  = "DELETE /v1/reservations/{id}"
	routeConfirm = "POST /v1/reservations/{id}/confirm"
	routeExtend  = "POST /v1/reservations/{id}/extend"
	routeFulfil  = "POST /v1/reservations/{id}/fulfil"
	routeCert    = "GET /v1/availability/certificate"
)

// numbers are a position's, as the chain tells them.
func (r *running) numbers(sku, loc string) string {
	r.t.Helper()
	a := r.do("GET /v1/availability/{sku}", "/v1/availability/"+sku+"?location="+loc, "")
	l := a.field(r.t, "locations").([]any)[0].(map[string]any)
	return fmt.Sprintf("%v on hand, %v reserved, %v allocated, %v available", l["on_hand"], l["reserved"], l["allocated"], l["available"])
}

func (r *running) says(what, got, want string) {
	r.t.Helper()
	if got != want {
		r.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (r *running) reserve(id string, units int, more string) answer {
	r.t.Helper()
	return r.do(routeReserve, "/v1/reservations", fmt.Sprintf(`{"reservation_id":%q,"channel":"web","ttl_s":600%s,"lines":[{"sku":"A","quantity":%d,"location":"DC1"}]}`, id, more, units))
}

func TestReservations(t *testing.T) {
	r := start(t, true)
	r.do("POST /v1/feeds/{source}/snapshot", "/v1/feeds/wms/snapshot", `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T10:00:00Z","complete":true,"lines":[{"sku":"A","quantity":12}]}`)
	r.says("stock", r.numbers("A", "DC1"), "12 on hand, 0 reserved, 0 allocated, 12 available")
	if a := r.reserve("w1", 5, ""); a.status != http.StatusCreated || a.field(t, "state") != "held" {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.says("held", r.numbers("A", "DC1"), "12 on hand, 5 reserved, 0 allocated, 7 available")
	if a := r.reserve("w1", 5, ""); a.status != http.StatusOK {
		t.Errorf("a repeat: %d %s", a.status, a.body)
	}
	if a := r.reserve("w1", 6, ""); a.status != http.StatusConflict || a.field(t, "code") != "reservation_id_reused" {
		t.Errorf("another body: %d %s", a.status, a.body)
	}
	if a := r.reserve("w2", 8, ""); a.status != http.StatusConflict || a.field(t, "code") != "insufficient_stock" {
		t.Errorf("too much: %d %s", a.status, a.body)
	}
	if a := r.reserve("w3", 0, ""); a.status != http.StatusUnprocessableEntity {
		t.Errorf("nothing: %d %s", a.status, a.body)
	}
	tok := r.do(routeConfirm, "/v1/reservations/w1/confirm", "").field(t, "token").(string)
	if a := r.do("GET /v1/availability/{sku}", "/v1/availability/A?after="+tok, ""); a.status != http.StatusOK {
		t.Errorf("after %s: %d %s", tok, a.status, a.body)
	}
	if a := r.do("GET /v1/availability/{sku}", "/v1/availability/A?after=DC1/feed:wms:1:1", ""); a.status != http.StatusOK {
		t.Errorf("after a feed's document: %d %s", a.status, a.body)
	}
	if a := r.do("GET /v1/availability/{sku}", "/v1/availability/A?after=nonsense", ""); a.status != http.StatusUnprocessableEntity {
		t.Errorf("after nonsense: %d %s", a.status, a.body)
	}
	r.says("confirmed", r.numbers("A", "DC1"), "12 on hand, 0 reserved, 5 allocated, 7 available")
	before := r.do(routeCert, "/v1/availability/certificate", "").field(t, "state_hash")
	r.stop()
	r.open()
	r.says("after a restart", r.numbers("A", "DC1"), "12 on hand, 0 reserved, 5 allocated, 7 available")
	if after := r.do(routeCert, "/v1/availability/certificate", "").field(t, "state_hash"); after != before {
		t.Errorf("certificate %v, was %v", after, before)
	}
	for range 2 {
		if a := r.do(routeFulfil, "/v1/reservations/w1/fulfil", ""); a.field(t, "state") != "shipped" {
			t.Fatalf("%s", a.body)
		}
	}
	r.says("fulfilled", r.numbers("A", "DC1"), "7 on hand, 0 reserved, 0 allocated, 7 available")
	sale := `{"events":[{"kind":"sale","document_id":"s1","location":"DC1","occurred_at":"2026-11-23T12:00:00Z","hold_id":"w1","lines":[{"sku":"A","quantity":5}]}]}`
	r.do("POST /v1/feeds/{source}/events", "/v1/feeds/wms/events", sale)
	r.says("the sale of it", r.numbers("A", "DC1"), "7 on hand, 0 reserved, 0 allocated, 7 available")
	x := r.do(routeExplain, "/v1/availability/A/explain?location=DC1", "")
	r.says("explained", fmt.Sprint(x.field(t, "sum")), "12 stated − 5 sold = 7 on hand")

	r.reserve("w4", 2, `,"order_id":"o4"`)
	r.do(routeExtend, "/v1/reservations/w4/extend", `{"ttl_s":60}`)
	sale = `{"events":[{"kind":"sale","document_id":"s2","location":"DC1","occurred_at":"2026-11-23T12:00:00Z","order_id":"o4","lines":[{"sku":"A","quantity":2}]}]}`
	r.do("POST /v1/feeds/{source}/events", "/v1/feeds/wms/events", sale)
	r.says("collected by its order", r.numbers("A", "DC1"), "5 on hand, 0 reserved, 0 allocated, 5 available")
	if a := r.do(routeOne, "/v1/reservations/w4", ""); a.field(t, "state") != "collected" {
		t.Errorf("%s", a.body)
	}
	r.reserve("w5", 5, "")
	sale = `{"events":[{"kind":"sale","document_id":"s3","location":"DC1","occurred_at":"2026-11-23T12:00:00Z","lines":[{"sku":"A","quantity":3}]}]}`
	r.do("POST /v1/feeds/{source}/events", "/v1/feeds/wms/events", sale)
	r.says("promised and gone", r.numbers("A", "DC1"), "2 on hand, 5 reserved, 0 allocated, 0 available")
	if a := r.do("GET /v1/reservations", "/v1/reservations?at_risk=true", ""); len(a.field(t, "reservations").([]any)) != 1 {
		t.Errorf("at risk: %s", a.body)
	}
	if a := r.do(routeDelete, "/v1/reservations/w5", ""); a.field(t, "state") != "released" {
		t.Errorf("%s", a.body)
	}
	if a := r.do(routeDelete, "/v1/reservations/nobody", ""); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
}
