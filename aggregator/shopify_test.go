package aggregator_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
)

const routeHook = "POST /v1/webhooks/{connector}"

// Bodies as Shopify sends them, of our own making: two lines, a fulfilment of part of
// one, a refund of the rest, a cancellation.
const (
	shopOrder     = `{"id":450789469,"name":"#1001","created_at":"2026-11-23T10:00:00Z","email":"jon@example.com","customer":{"first_name":"Jon"},"location_id":null,"cancelled_at":null,"line_items":[{"id":11,"sku":"A","quantity":3,"requires_shipping":true},{"id":12,"sku":"B","quantity":1},{"id":13,"sku":"","quantity":1,"gift_card":true}],"fulfillments":[],"refunds":[]}`
	shopFulfilled = `{"id":255858046,"order_id":450789469,"status":"success","line_items":[{"id":11,"sku":"A","quantity":2}]}`
	shopRefund    = `{"id":509562969,"order_id":450789469,"refund_line_items":[{"id":1,"line_item_id":11,"quantity":1,"restock_type":"cancel"}]}`
	shopCancelled = `{"id":450789469,"cancelled_at":"2026-11-23T12:00:00Z","line_items":[{"id":11,"sku":"A","quantity":3},{"id":12,"sku":"B","quantity":1}],"fulfillments":[{"id":255858046,"status":"success","line_items":[{"id":11,"quantity":2}]}],"refunds":[{"id":509562969,"order_id":450789469,"refund_line_items":[{"line_item_id":11,"quantity":1,"restock_type":"cancel"}]}]}`
)

// startWith is start under a configuration of its own.
func startWith(t *testing.T, change func(*aggregator.Config)) *running {
	t.Helper()
	r := start(t, true)
	r.stop()
	change(&r.cfg)
	r.open()
	return r
}

func startShop(t *testing.T) *running {
	return startWith(t, func(c *aggregator.Config) {
		c.Channels.Shopify = []aggregator.ShopifyConfig{{Name: "shop", Domain: "x.myshopify.com", Secrets: []string{"hush"}, Channel: "web", Location: "DC1"}}
	})
}

// shopify posts a call as Shopify does.
func (r *running) shopify(topic, id, body string, change ...func(*http.Request)) answer {
	r.t.Helper()
	m := hmac.New(sha256.New, []byte("hush"))
	m.Write([]byte(body))
	return r.do(routeHook, "/v1/webhooks/shop", body, append([]func(*http.Request){func(q *http.Request) {
		q.Header.Set("X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(m.Sum(nil)))
		q.Header.Set("X-Shopify-Topic", topic)
		q.Header.Set("X-Shopify-Webhook-Id", id)
		q.Header.Set("X-Shopify-Shop-Domain", "x.myshopify.com")
		q.Header.Set("X-Shopify-Triggered-At", time.Now().UTC().Format(time.RFC3339Nano))
	}}, change...)...)
}

// position reads what a SKU comes to.
func (r *running) position(sku string) map[string]float64 {
	r.t.Helper()
	m, _ := r.do(routeAvail, "/v1/availability/"+sku, "").field(r.t, "totals").(map[string]any)
	out := map[string]float64{}
	for _, k := range []string{"on_hand", "allocated", "reserved", "available"} {
		out[k], _ = m[k].(float64)
	}
	return out
}

func (r *running) wantPosition(when, sku string, onHand, allocated, available float64) {
	r.t.Helper()
	if p := r.position(sku); p["on_hand"] != onHand || p["allocated"] != allocated || p["available"] != available {
		r.t.Errorf("%s: %s is %v; want on hand %v, allocated %v, available %v", when, sku, p, onHand, allocated, available)
	}
}

func (r *running) wantStatus(when string, a answer, status string) {
	r.t.Helper()
	if a.status != http.StatusOK || a.field(r.t, "status") != status {
		r.t.Errorf("%s: %d %s, want %s", when, a.status, a.body, status)
	}
}

// TestShopifyOrder takes an order through its life, each call once more than once,
// over a restart.
func TestShopifyOrder(t *testing.T) {
	r := startShop(t)
	r.stock("n1", "A", 10)
	r.stock("n2", "B", 4)
	r.wantStatus("created", r.shopify("orders/create", "w1", shopOrder), "accepted")
	r.wantPosition("created", "A", 10, 3, 7)
	r.wantPosition("created", "B", 4, 1, 3)
	r.wantStatus("the same call", r.shopify("orders/create", "w1", shopOrder), "duplicate")
	r.wantStatus("the same order", r.shopify("orders/create", "w2", shopOrder), "duplicate")
	r.wantStatus("paid", r.shopify("orders/paid", "w3", shopOrder), "duplicate")
	r.wantPosition("again", "A", 10, 3, 7)

	r.wantStatus("fulfilled", r.shopify("fulfillments/create", "w4", shopFulfilled), "accepted")
	r.wantPosition("2 of 3 went out", "A", 8, 1, 7)
	r.stop()
	r.open()
	r.wantStatus("fulfilled again", r.shopify("fulfillments/create", "w4", shopFulfilled), "duplicate")
	r.wantPosition("again", "A", 8, 1, 7)

	r.wantStatus("refunded", r.shopify("refunds/create", "w5", shopRefund), "accepted")
	r.wantPosition("the third is free", "A", 8, 0, 8)
	r.wantStatus("cancelled", r.shopify("orders/cancelled", "w6", shopCancelled), "accepted")
	r.wantPosition("cancelled", "B", 4, 0, 4)
	r.wantPosition("cancelled", "A", 8, 0, 8)

	r.wantStatus("created, late", r.shopify("orders/create", "w7", shopOrder), "duplicate")
	r.wantStatus("fulfilled, late", r.shopify("fulfillments/create", "w8", shopFulfilled), "duplicate")
	r.wantPosition("late", "A", 8, 0, 8)
	c := r.do("GET /v1/connectors/{name}", "/v1/connectors/shop", "")
	if c.field(t, "state") != "ok" || c.field(t, "dead_letters") != 0.0 || c.field(t, "last_document") == nil {
		t.Errorf("connector: %s", c.body)
	}
	if a := r.do("GET /v1/connectors", "/v1/connectors", ""); len(a.field(t, "connectors").([]any)) != 2 { // the shop, and the warehouse that sent the stock
		t.Errorf("connectors: %s", a.body)
	}
}

// TestShopifyDisorder has calls come before what they are about, and beyond what there
// is; what cannot take effect is kept, without persons, and can be retried.
func TestShopifyDisorder(t *testing.T) {
	r := startShop(t)
	r.stock("n1", "A", 10)
	r.wantStatus("before its order", r.shopify("fulfillments/create", "w1", shopFulfilled), "parked")
	letters := "/v1/connectors/shop/dead-letters"
	list := func() []any {
		return r.do("GET /v1/connectors/{name}/dead-letters", letters, "").field(t, "dead_letters").([]any)
	}
	r.refused("still", r.do("POST /v1/connectors/{name}/dead-letters/{letter}/retry", letters+"/w1/retry", ""), 409, "still_refused", "")
	r.wantStatus("its order", r.shopify("orders/create", "w2", shopOrder), "accepted") // B is not there
	r.wantPosition("both took effect", "A", 8, 1, 7)
	if l := list(); len(l) != 1 || !strings.Contains(l[0].(map[string]any)["reason"].(string), "1 of B could not be held") || strings.Contains(l[0].(map[string]any)["document"].(string), "Jon") {
		t.Errorf("dead letters: %v", l)
	}
	r.do("DELETE /v1/connectors/{name}/dead-letters/{letter}", letters+"/order-450789469", "")

	r.wantStatus("a field that must be", r.shopify("refunds/create", "w3", `{"id":1,"refund_line_items":[]}`), "parked")
	r.wantStatus("no JSON", r.shopify("orders/create", "w4", `{"id":`), "parked")
	r.wantStatus("a bad article", r.shopify("orders/create", "w5", strings.ReplaceAll(shopOrder, `"sku":"A"`, `"sku":"04006381333932"`)), "parked")
	r.wantStatus("a new field", r.shopify("refunds/create", "w6", strings.Replace(shopRefund, `"id":`, `"novelty":1,"id":`, 1)), "accepted")
	c := r.do("GET /v1/connectors/{name}", "/v1/connectors/shop", "")
	if d, _ := c.field(t, "drift").([]any); len(d) != 1 || d[0].(map[string]any)["field"] != "/novelty" {
		t.Errorf("drift: %s", c.body)
	}
	if l := list(); len(l) != 3 {
		t.Errorf("dead letters: %v", l)
	}
	r.wantStatus("a topic of no interest", r.shopify("products/update", "w7", `{"id":1}`), "ignored")
	stale := func(q *http.Request) { q.Header.Set("X-Shopify-Triggered-At", "2020-01-01T00:00:00Z") }
	r.wantStatus("stale", r.shopify("orders/create", "w8", strings.ReplaceAll(shopOrder, "450789469", "7"), stale), "stale")
	forged := func(q *http.Request) { q.Header.Set("X-Shopify-Hmac-Sha256", "c2Vl") }
	r.refused("forged", r.shopify("orders/create", "w9", shopOrder, forged), 401, "bad_signature", "")
	other := func(q *http.Request) { q.Header.Set("X-Shopify-Shop-Domain", "y.myshopify.com") }
	r.refused("another shop", r.shopify("orders/create", "w10", shopOrder, other), 401, "bad_signature", "")
	r.refused("no connector", r.do(routeHook, "/v1/webhooks/none", `{}`), 404, "unknown_connector", "")
	r.refused("none", r.do("GET /v1/connectors/{name}", "/v1/connectors/none", ""), 404, "unknown_connector", "")
	r.refused("none", r.do("GET /v1/connectors/{name}/divergences", "/v1/connectors/none/divergences", ""), 404, "unknown_connector", "")
	if a := r.do("GET /v1/connectors/{name}/divergences", "/v1/connectors/shop/divergences", ""); len(a.field(t, "divergences").([]any)) != 0 {
		t.Errorf("divergences: %s", a.body)
	}
}
