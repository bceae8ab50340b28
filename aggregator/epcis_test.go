package aggregator_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
)

const (
	routeCapture = "POST /epcis/v2/capture"
	routeReread  = "POST /v1/exceptions/{id}/retry"

	epcisSKU, epcisDC = "04006381333931", "9521321000010"
)

func epcisEvent(id, step, rest string) string {
	return epcisAt(epcisDC, id, step, rest)
}

func epcisAt(gln, id, step, rest string) string {
	return fmt.Sprintf(`{"type":"ObjectEvent","eventID":%q,"eventTime":"2026-11-23T10:00:00Z","eventTimeZoneOffset":"+00:00","action":"OBSERVE","bizStep":%q,
		"bizLocation":{"id":"https://id.gs1.org/414/%s"},"quantityList":[{"epcClass":"https://id.gs1.org/01/%s","quantity":24}]%s}`, id, step, gln, epcisSKU, rest)
}

func (r *running) capture(events ...string) answer {
	r.t.Helper()
	return r.do(routeCapture, "/epcis/v2/capture?source=wms",
		`{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-11-23T10:00:01Z","epcisBody":{"eventList":[`+strings.Join(events, ",")+`]}}`)
}

// result is what a capture says of its n-th event.
func (r *running) result(a answer, n int, key string) string {
	r.t.Helper()
	s, _ := a.field(r.t, "results").([]any)[n].(map[string]any)[key].(string)
	return s
}

func TestEPCISCaptureMovesStockOnce(t *testing.T) {
	r := start(t, true)
	const sku, place = epcisSKU, epcisDC
	a := r.capture(epcisEvent("urn:uuid:1", "receiving", ""), epcisEvent("urn:uuid:2", "picking", ""), epcisEvent("urn:uuid:3", "https://x.example/juggling", ""))
	if a.status != http.StatusAccepted || r.result(a, 0, "status") != "accepted" || r.result(a, 1, "status") != "no_movement" || r.result(a, 2, "status") != "parked" || a.field(t, "success") != false {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.says("received", r.numbers(sku, place), "24 on hand, 0 reserved, 0 allocated, 24 available")
	x := r.do("GET /v1/exceptions/{id}", "/v1/exceptions/"+r.result(a, 2, "exception_id"), "")
	if x.status != http.StatusOK || x.field(t, "code") != "unknown_code" || x.field(t, "document", "eventID") != "urn:uuid:3" || x.field(t, "media") != "epcis-event" {
		t.Errorf("parked as %s", x.body)
	}
	captured := "/epcis/v2/capture/" + a.field(t, "captureID").(string)
	if a = r.capture(epcisEvent("urn:uuid:1", "receiving", "")); r.result(a, 0, "status") != "duplicate" {
		t.Errorf("sent again: %s", a.body)
	}
	r.do("POST /epcis/v2/events", "/epcis/v2/events?source=wms", epcisEvent("urn:uuid:4", "retail_selling", ""))
	r.says("sold", r.numbers(sku, place), "0 on hand, 0 reserved, 0 allocated, 0 available")
	r.capture(epcisEvent("urn:uuid:4", "retail_selling", `,"errorDeclaration":{"declarationTime":"2026-11-23T12:00:00Z"}`))
	r.says("it was an error", r.numbers(sku, place), "24 on hand, 0 reserved, 0 allocated, 24 available")

	r.stop()
	r.open() // jobs outlive the process
	job := r.do("GET /epcis/v2/capture/{id}", captured, "")
	if job.status != http.StatusOK || r.result(job, 2, "status") != "parked" {
		t.Errorf("the job: %d %s", job.status, job.body)
	}
	if a = r.capture(epcisEvent("urn:uuid:9", "picking", "")); "/epcis/v2/capture/"+a.field(t, "captureID").(string) == captured {
		t.Errorf("a number came twice: %s", a.body)
	}
	if a = r.do("GET /epcis/v2/capture/{id}", "/epcis/v2/capture/none", ""); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a = r.do(routeCapture, "/epcis/v2/capture", `{"type":"EPCISQueryDocument"}`); a.status != http.StatusBadRequest || !strings.Contains(string(a.body), "feed-epcis-") {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// TestEPCISShipments: goods that leave for a store are under way to it until they are
// received there; goods that leave for nowhere known wait for a person.
func TestEPCISShipments(t *testing.T) {
	r := start(t, true)
	r.stop()
	const store = "9521321000027"
	r.cfg.EPCIS.Places = []aggregator.PlaceConfig{{ID: epcisDC, Location: "DC1"}, {ID: store, Location: "S1"}}
	r.open()
	inTransit := func() any {
		t.Helper()
		a := r.do("GET /v1/availability/{sku}", "/v1/availability/"+epcisSKU, "")
		return a.field(t, "totals", "in_transit")
	}
	const paper = `,"bizTransactionList":[{"type":"desadv","bizTransaction":"urn:epcglobal:cbv:bt:9521321000010:D77"}]`
	r.capture(epcisEvent("urn:uuid:1", "receiving", ""))
	a := r.capture(epcisEvent("urn:uuid:2", "shipping", paper+`,"destinationList":[{"type":"location","destination":"https://id.gs1.org/414/`+store+`"}]`))
	if r.result(a, 0, "status") != "accepted" || inTransit() != 24.0 {
		t.Fatalf("shipped: %s, %v in transit", a.body, inTransit())
	}
	a = r.capture(epcisAt(store, "urn:uuid:3", "receiving", paper+`,"sourceList":[{"type":"location","source":"https://id.gs1.org/414/`+epcisDC+`"}]`))
	if r.result(a, 0, "status") != "accepted" || inTransit() != 0.0 {
		t.Fatalf("received: %s, %v in transit", a.body, inTransit())
	}
	r.says("at the store", r.numbers(epcisSKU, "S1"), "24 on hand, 0 reserved, 0 allocated, 24 available")

	a = r.capture(epcisAt(store, "urn:uuid:4", "shipping", ""))
	id := r.result(a, 0, "exception_id")
	if r.result(a, 0, "status") != "parked" || r.result(a, 0, "code") != "unknown_destination" {
		t.Fatalf("shipped to nowhere: %s", a.body)
	}
	if x := r.do(routeReread, "/v1/exceptions/"+id+"/retry", ""); x.field(t, "state") != "open" || !strings.Contains(x.field(t, "reason").(string), "still refused") {
		t.Errorf("retried for nothing: %s", x.body)
	}
	r.stop()
	r.cfg.EPCIS.Destination = "sale"
	r.open()
	if x := r.do(routeReread, "/v1/exceptions/"+id+"/retry", ""); x.field(t, "state") != "retried" {
		t.Errorf("retried under the policy: %s", x.body)
	}
	r.says("sold by policy", r.numbers(epcisSKU, "S1"), "0 on hand, 0 reserved, 0 allocated, 0 available")
	if a = r.capture(epcisAt(store, "urn:uuid:4", "shipping", "")); r.result(a, 0, "status") != "duplicate" {
		t.Errorf("sent again after the retry: %s", a.body)
	}
}

// TestWatchedFolder takes files dropped by a warehouse through the whole program, and
// shows the feed beside the channels.
func TestWatchedFolder(t *testing.T) {
	r := start(t, true)
	r.stop()
	dir := t.TempDir()
	r.cfg.Feeds = []aggregator.FeedConfig{{Name: "3pl", Kind: "edi", Dir: dir, Zone: "UTC", Poll: aggregator.Duration(20 * time.Millisecond), Places: []aggregator.PlaceConfig{{ID: "1234567890001", Location: "DC1"}}}}
	r.open()
	for _, name := range []string{"944.x12", "945.x12", "846.x12"} {
		b, err := os.ReadFile(filepath.Join("..", "protocol", "edi", "testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var c map[string]any
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		a := r.do("GET /v1/connectors/{name}", "/v1/connectors/3pl", "")
		if c = a.field(t).(map[string]any); c["in"] == 2.0 && c["parked"] == 1.0 && c["pending"] == 0.0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not taken: %s", a.body)
		}
	}
	if c["kind"] != "file edi" || c["direction"] != "in" || c["last_document"] == nil || c["last_error"] == nil {
		t.Errorf("shown as %v", c)
	}
	if _, err := os.Stat(filepath.Join(dir, "failed", "945.x12.reason.json")); err != nil {
		t.Error(err) // its ship-to is in no table
	}
	list := r.do("GET /v1/exceptions", "/v1/exceptions?code=unknown_destination", "").field(t, "exceptions").([]any)
	if len(list) != 1 {
		t.Fatalf("parked: %v", list)
	}
	id := list[0].(map[string]any)["id"].(string)
	r.stop()
	r.cfg.Feeds[0].Places = append(r.cfg.Feeds[0].Places, aggregator.PlaceConfig{ID: "0042", Location: "S1"})
	r.open()
	if x := r.do(routeReread, "/v1/exceptions/"+id+"/retry", ""); x.field(t, "state") != "retried" {
		t.Fatalf("retried with the place named: %s", x.body)
	}
	const routeReplay = "POST /v1/connectors/{name}/replay"
	if a := r.do(routeReplay, "/v1/connectors/3pl/replay", `{"from":"2026-01-01T00:00:00Z"}`); a.status != http.StatusAccepted || a.field(t, "files") != 2.0 {
		t.Errorf("replay: %d %s", a.status, a.body)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c = r.do("GET /v1/connectors/{name}", "/v1/connectors/3pl", "").field(t).(map[string]any)
		if c["duplicates"] == 2.0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not read again: %v", c)
		}
	}
	r.refused("no folder", r.do(routeReplay, "/v1/connectors/wms/replay", `{"from":"2026-01-01T00:00:00Z"}`), http.StatusNotFound, "unknown_feed", "")
	if a := r.do("GET /v1/availability/{sku}", "/v1/availability/"+epcisSKU, ""); a.field(t, "totals", "in_transit") != 6.0 {
		t.Errorf("the transfer is not under way: %s", a.body)
	}
}
