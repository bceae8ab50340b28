package aggregator_test

import (
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
)

// TestVendure keeps a real shop and the chain together: stock out, an order in, what
// goes out and what is cancelled of it, the unit that Vendure then shows though it is
// not there, somebody's own setting, and a storm of changes.
func TestVendure(t *testing.T) {
	v := startVendure(t)
	variants := v.furnish("A", "B")
	r := startWith(t, func(c *aggregator.Config) {
		c.Channels.Vendure = []aggregator.VendureConfig{{
			Name: "webshop", AdminURL: v.url + "admin-api", User: "superadmin", Password: "superadmin", Channel: "web", HookSecrets: []string{hookSecret},
			PollEvery: aggregator.Duration(5 * time.Second), ReconcileEvery: aggregator.Duration(4 * time.Second),
			Places: []aggregator.PartnerPlace{{Location: "DC1", ID: "Warehouse"}, {Location: "S1", ID: "Store 001"}},
		}}
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("connector: %s\ndead letters: %s\ndivergences: %s", r.do("", "/v1/connectors/webshop", "").body, r.do("", "/v1/connectors/webshop/dead-letters", "").body, r.do("", "/v1/connectors/webshop/divergences", "").body)
		}
	})
	hookAt := "http://" + r.agg.HTTPAddr() + "/v1/webhooks/webshop"
	v.target.Store(&hookAt)
	a := variants["A"]
	shows := func(what string, onHand, allocated float64) {
		t.Helper()
		eventually(t, what, func() bool { h, al := v.level(a, "Warehouse"); return h == onHand && al == allocated })
	}
	r.stock("n1", "A", 10)
	shows("stock goes out", 10, 0)

	began := time.Now()
	id, code, line := v.order(a, 3)
	ordered := time.Now()
	eventually(t, "the order is held", func() bool { return r.position("A")["allocated"] == 3 })
	t.Logf("order placed in %s, held %s later", ordered.Sub(began).Round(time.Millisecond), time.Since(ordered).Round(time.Millisecond))
	r.wantPosition("ordered", "A", 10, 3, 7)
	if got := r.do("GET /v1/reservations/{id}", "/v1/reservations/webshop."+code, ""); got.field(t, "state") != "confirmed" || got.field(t, "channel") != "web" {
		t.Errorf("reservation: %s", got.body)
	}
	shows("what may be sold is right without a write", 10, 3)

	v.fulfil(line, 2)
	v.cancel(id, line, 1)
	eventually(t, "2 went out, 1 is free", func() bool {
		p := r.position("A")
		return p["on_hand"] == 8 && p["allocated"] == 0 && p["available"] == 8
	})
	divergence := func(sku, cause string) bool {
		list := r.do("GET /v1/connectors/{name}/divergences", "/v1/connectors/webshop/divergences", "").field(t, "divergences").([]any)
		for _, d := range list {
			d := d.(map[string]any)
			if d["sku"] == sku && d["cause"] == cause && d["location"] == "DC1" && d["corrected_at"] != nil {
				return true
			}
		}
		return false
	}
	shows("the phantom unit is gone", 8, 0)
	eventually(t, "the phantom unit was found", func() bool { return divergence("A", "phantom_unit") })

	v.asAdmin(`mutation($i:[UpdateProductVariantInput!]!){updateProductVariants(input:$i){id}}`, map[string]any{"i": []any{map[string]any{"id": a, "stockLevels": []any{
		map[string]any{"stockLocationId": v.asAdmin(`{stockLocations(options:{filter:{name:{eq:"Warehouse"}}}){items{id}}}`, nil, "stockLocations", "items", "id"), "stockOnHand": 2},
	}}}})
	eventually(t, "somebody's own setting is found", func() bool { return divergence("A", "missing_unit") })
	shows("it is set right", 8, 0)

	began = time.Now()
	const changes = 120
	for n := range changes {
		r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+strings.Replace(receipt("r"+itoa(n), "A", 1), "2026-11-23T10:00:00Z", time.Now().UTC().Format(time.RFC3339Nano), 1)+`]}`)
	}
	said := time.Now()
	shows("the newest of many", 8+changes, 0)
	settled := time.Since(said)
	eventually(t, "echoes are passed over", func() bool {
		c := r.do("GET /v1/connectors/{name}", "/v1/connectors/webshop", "")
		return c.field(t, "echoes").(float64) > 0 && c.field(t, "pending") == 0.0
	})
	c := r.do("GET /v1/connectors/{name}", "/v1/connectors/webshop", "")
	t.Logf("%d changes in %s, shown %s after the last; %s", changes, said.Sub(began).Round(time.Millisecond), settled.Round(time.Millisecond), c.body)
	if c.field(t, "state") != "ok" || c.field(t, "dead_letters") != 0.0 || c.field(t, "coalesced").(float64) == 0 {
		t.Errorf("connector: %s", c.body)
	}
	r.refused("forged", r.do(routeHook, "/v1/webhooks/webshop", `{"type":"order.transition","code":"X"}`), 401, "bad_signature", "")
	if !strings.Contains(string(r.do("GET /metrics", "/metrics", "").body), `tillwire_connector_out_total{connector="webshop"}`) {
		t.Error("no metrics of it")
	}
}
