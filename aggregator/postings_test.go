package aggregator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tillwire/aggregator"
	"tillwire/protocol"
)

const (
	routePostings = "GET /v1/postings"
	routePosting  = "GET /v1/postings/{id}"
	routeRetry    = "POST /v1/postings/{id}/retry"
	routeDiscard  = "POST /v1/postings/{id}/discard"
	routeResume   = "POST /v1/postings/resume"
)

// bridge is a service that speaks for an ERP: it does not know article B.
type bridge struct {
	mu     sync.Mutex
	booked map[string]string // id → class and quantity
}

func (x *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var d struct {
		ID, Class string
		Lines     []struct {
			SKU      string
			Quantity protocol.Quantity
		}
	}
	if r.Method != http.MethodPost || json.NewDecoder(r.Body).Decode(&d) != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	say := d.Class
	for _, l := range d.Lines {
		if l.SKU == "B" {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = w.Write([]byte(`{"code":"product_unknown","reason":"no B","unknown":["B"]}`))
			return
		}
		say += " " + l.SKU + "×" + l.Quantity.String()
	}
	x.booked[d.ID] = say
	_, _ = fmt.Fprintf(w, `{"id":"49%s"}`, d.ID[:4])
}

// postings waits until the queue has come to rest.
func (r *running) postings(query string) []any {
	r.t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		a := r.do(routePostings, "/v1/postings?"+query, "")
		erp := a.field(r.t, "erps").([]any)[0].(map[string]any)
		if erp["due"] == 0.0 && erp["waiting"] == 0.0 || time.Now().After(until) {
			return a.field(r.t, "postings").([]any)
		}
	}
}

func TestPostingsThroughTheDoors(t *testing.T) {
	erp := &bridge{booked: map[string]string{}}
	srv := httptest.NewServer(erp)
	defer srv.Close()
	r := start(t, true)
	r.stop()
	r.cfg.ERPs = []aggregator.ERPConfig{{
		Name: "erp", Kind: aggregator.ERPHTTP, URL: srv.URL, Window: "interval", Every: aggregator.Duration(time.Second),
		Stores: []aggregator.ERPStoreConfig{{Store: "DC1", Warehouse: "P100"}},
	}}
	r.open()
	now := time.Now().UTC().Format(time.RFC3339)
	a := r.feed(`{"kind":"receipt","document_id":"r1","location":"DC1","occurred_at":"` + now + `","lines":[{"sku":"A","quantity":9},{"sku":"B","quantity":2}]},
		{"kind":"receipt","document_id":"r2","location":"DC1","occurred_at":"` + now + `","lines":[{"sku":"A","quantity":1}]},
		{"kind":"receipt","document_id":"r3","location":"DC9","occurred_at":"` + now + `","lines":[{"sku":"A","quantity":7}]}`)
	event := a.field(t, "results").([]any)[0].(map[string]any)["event_id"].(string)
	r.postings("")
	if len(erp.booked) != 1 {
		t.Fatalf("booked: %v", erp.booked)
	}
	for id, say := range erp.booked {
		r.says("netted, without B", say, "receipt A×10")
		x := r.do(routePosting, "/v1/postings/"+id, "")
		sources := x.field(t, "lines").([]any)[0].(map[string]any)["sources"].([]any)
		if len(sources) != 2 || x.field(t, "state") != "posted" || x.field(t, "erp_id") != "49"+id[:4] {
			t.Errorf("audit: %s", x.body)
		}
	}
	if got := r.postings("event_id=" + event); len(got) != 2 {
		t.Errorf("the event leads to %v", got)
	}
	if trace := r.do("", "/v1/traces/"+event, ""); strings.Count(string(trace.body), `"hop":"posting"`) != 2 {
		t.Errorf("its trace does not end at the ERP: %s", trace.body)
	}
	parked := r.postings("state=parked&class=receipt&store=DC1&erp=erp")[0].(map[string]any)
	path := "/v1/postings/" + parked["id"].(string)
	if parked["code"] != "product_unknown" || parked["split_of"] == nil {
		t.Errorf("%v", parked)
	}
	if a := r.do(routeRetry, path+"/retry", ""); a.field(t, "state") != "due" {
		t.Errorf("%s", a.body)
	}
	for until := time.Now().Add(time.Minute); len(r.postings("state=parked")) == 0 && time.Now().Before(until); {
		time.Sleep(20 * time.Millisecond)
	}
	if a := r.do(routeDiscard, path+"/discard", `{"reason":""}`); a.field(t, "code") != "reason_required" {
		t.Errorf("%s", a.body)
	}
	if a := r.do(routeDiscard, path+"/discard", `{"reason":"a slip"}`); a.field(t, "state") != "discarded" || a.field(t, "note") != "a slip" || a.field(t, "decided_by") != "dev" {
		t.Errorf("%s", a.body)
	}
	if a := r.do(routeRetry, path+"/retry", ""); a.status != http.StatusConflict {
		t.Errorf("what is discarded was retried: %s", a.body)
	}
	r.do(routePosting, "/v1/postings/none", "")
	r.do(routeResume, "/v1/postings/resume", `{"reason":"looked"}`)
	if m := string(r.do("", "/metrics", "").body); !strings.Contains(m, `tillwire_posting_posted_total{erp="erp"} 1`) || !strings.Contains(m, `tillwire_posting_discarded_total{erp="erp"} 1`) {
		t.Error("metrics do not tell")
	}
	for _, bad := range []string{"state=lost", "class=theft", "day=today", "event_id=x", "colour=red", "limit=0"} {
		if a := r.do(routePostings, "/v1/postings?"+bad, ""); a.status != http.StatusUnprocessableEntity {
			t.Errorf("%s: %d", bad, a.status)
		}
	}
	r.stop()
	r.open()
	if a := r.do(routePosting, path, ""); a.field(t, "state") != "discarded" || len(a.field(t, "lines").([]any)) != 1 {
		t.Errorf("after a restart: %s", a.body)
	}
}

func TestERPConfigIsChecked(t *testing.T) {
	good := aggregator.ERPConfig{Name: "erp", Kind: "tryton", URL: "http://127.0.0.1:1/erp/", User: "u", Stores: []aggregator.ERPStoreConfig{{Store: "S1"}}}
	for name, c := range map[string]struct {
		change func(*aggregator.ERPConfig)
		want   string
	}{
		"good":          {func(*aggregator.ERPConfig) {}, ""},
		"no kind":       {func(c *aggregator.ERPConfig) { c.Kind = "sap" }, "tryton or http"},
		"no database":   {func(c *aggregator.ERPConfig) { c.URL = "http://127.0.0.1:1/" }, "database"},
		"user in url":   {func(c *aggregator.ERPConfig) { c.URL = "http://u:p@h/erp" }, "without a user"},
		"window":        {func(c *aggregator.ERPConfig) { c.Window = "weekly" }, "daily or interval"},
		"zone":          {func(c *aggregator.ERPConfig) { c.Timezone = "Mars" }, "Europe/Berlin"},
		"too long":      {func(c *aggregator.ERPConfig) { c.Lines = 900 }, "1 to 200"},
		"nobody":        {func(c *aggregator.ERPConfig) { c.Stores = nil }, "[[erp.stores]]"},
		"two passwords": {func(c *aggregator.ERPConfig) { c.Password, c.PasswordFile = "x", "y" }, "leave one out"},
		"twice":         {func(c *aggregator.ERPConfig) { c.Stores = append(c.Stores, c.Stores[0]) }, "has one ERP"},
	} {
		cfg := aggregator.Defaults()
		e := good
		e.Stores = append([]aggregator.ERPStoreConfig{}, good.Stores...)
		c.change(&e)
		cfg.ERPs = []aggregator.ERPConfig{e}
		err := cfg.Check()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
