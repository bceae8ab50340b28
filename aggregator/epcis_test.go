package aggregator_test

import (
	"fmt"
	"net/http"
	"testing"
)

const routeCapture = "POST /epcis/v2/capture"

func TestEPCISCaptureMovesStockOnce(t *testing.T) {
	r := start(t, true)
	event := func(id, step, rest string) string {
		return fmt.Sprintf(`{"type":"ObjectEvent","eventID":%q,"eventTime":"2026-11-23T10:00:00Z","eventTimeZoneOffset":"+00:00","action":"OBSERVE","bizStep":%q,
			"bizLocation":{"id":"https://id.gs1.org/414/9521321000010"},"quantityList":[{"epcClass":"https://id.gs1.org/01/04006381333931","quantity":24}]%s}`, id, step, rest)
	}
	doc := func(events string) string {
		return `{"@context":[],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-11-23T10:00:01Z","epcisBody":{"eventList":[` + events + `]}}`
	}
	capture := func(events string) answer { return r.do(routeCapture, "/epcis/v2/capture?source=wms", doc(events)) }
	const sku, place = "04006381333931", "9521321000010"
	status := func(a answer, i int) any { return a.field(t, "results").([]any)[i].(map[string]any)["status"] }

	a := capture(event("urn:uuid:1", "receiving", "") + "," + event("urn:uuid:2", "picking", "") + "," + event("urn:uuid:3", "juggling", ""))
	if a.status != http.StatusAccepted || status(a, 0) != "accepted" || status(a, 1) != "no_movement" || status(a, 2) != "refused" || a.field(t, "success") != false {
		t.Fatalf("%d %s", a.status, a.body)
	}
	r.says("received", r.numbers(sku, place), "24 on hand, 0 reserved, 0 allocated, 24 available")
	job := r.do("GET /epcis/v2/capture/{id}", "/epcis/v2/capture/"+a.field(t, "captureID").(string), "")
	if job.status != http.StatusOK || job.field(t, "captureID") != a.field(t, "captureID") {
		t.Errorf("the job: %d %s", job.status, job.body)
	}
	if a = capture(event("urn:uuid:1", "receiving", "")); status(a, 0) != "duplicate" {
		t.Errorf("sent again: %s", a.body)
	}
	r.do("POST /epcis/v2/events", "/epcis/v2/events?source=wms", event("urn:uuid:4", "shipping", ""))
	r.says("shipped", r.numbers(sku, place), "0 on hand, 0 reserved, 0 allocated, 0 available")
	capture(event("urn:uuid:4", "shipping", `,"errorDeclaration":{"declarationTime":"2026-11-23T12:00:00Z"}`))
	r.says("it was an error", r.numbers(sku, place), "24 on hand, 0 reserved, 0 allocated, 24 available")
	if a = r.do("GET /epcis/v2/capture/{id}", "/epcis/v2/capture/none", ""); a.status != http.StatusNotFound {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a = r.do(routeCapture, "/epcis/v2/capture", `{"type":"EPCISQueryDocument"}`); a.status != http.StatusBadRequest {
		t.Errorf("%d %s", a.status, a.body)
	}
}
