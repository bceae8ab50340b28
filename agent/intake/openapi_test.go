package intake

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"tillwire/protocol"
	"tillwire/protocol/openapi"
	"tillwire/store/journal"
)

// TestRoutesAreDocumented: the mux and the document name the same addresses.
func TestRoutesAreDocumented(t *testing.T) {
	d := readSpec(t)
	in := newShop(t).in
	code := map[string]bool{}
	for path, method := range in.paths {
		code[strings.ToLower(method)+" "+strings.Replace(path, "/{$}", "/", 1)] = true
	}
	for _, op := range d.operations() {
		if !code[op.method+" "+op.path] {
			t.Errorf("%s %s is documented and does not exist", op.method, op.path)
		}
		delete(code, op.method+" "+op.path)
	}
	for c := range code {
		t.Errorf("%s exists and is not documented", c)
	}
}

// TestSpecIsWhole: every reference resolves and every operation says what it is.
func TestSpecIsWhole(t *testing.T) {
	d := readSpec(t)
	if d.root["openapi"] != "3.1.0" {
		t.Errorf("version %v", d.root["openapi"])
	}
	d.eachRef(d.root, func(ref string) {
		if d.resolve(map[string]any{"$ref": ref}) == nil {
			t.Errorf("%s leads nowhere", ref)
		}
	})
	ids := map[any]bool{}
	for _, op := range d.operations() {
		id := op.spec["operationId"]
		if id == nil || ids[id] || op.spec["summary"] == nil || len(op.responses()) == 0 {
			t.Errorf("%s %s: operationId %v, summary or responses are missing", op.method, op.path, id)
		}
		ids[id] = true
		for code, r := range op.responses() {
			if m, ok := d.resolve(r).(map[string]any); !ok || m["description"] == nil {
				t.Errorf("%s %s %s has no description", op.method, op.path, code)
			}
		}
	}
	w := newShop(t).do(http.MethodGet, "/openapi.json", "", "")
	if w.Body.String() != string(openapi.Agent()) {
		t.Error("another document is served")
	}
}

// TestAnswersAreDocumented drives every operation to each of its documented
// answers, and checks status, media type, headers and body against the document.
func TestAnswersAreDocumented(t *testing.T) {
	d := readSpec(t)
	for _, op := range d.operations() {
		for code, spec := range op.responses() {
			want, err := strconv.Atoi(code)
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%s %s %d", op.method, op.path, want)
			w := provoke(t, op, want)
			if w == nil {
				t.Errorf("%s: the test knows no way to it", name)
				continue
			}
			if w.Code != want {
				t.Errorf("%s: got %d %s", name, w.Code, w.Body)
				continue
			}
			r := d.resolve(spec).(map[string]any)
			if headers, ok := r["headers"].(map[string]any); ok {
				for h := range headers {
					if w.Header().Get(h) == "" {
						t.Errorf("%s: header %s is missing", name, h)
					}
				}
			}
			mt, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
			content, ok := r["content"].(map[string]any)[mt].(map[string]any)
			if !ok {
				t.Errorf("%s: answered as %s", name, mt)
				continue
			}
			if !strings.HasSuffix(mt, "json") {
				continue
			}
			var body any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
				t.Errorf("%s: %v", name, err)
			} else if err := d.matches(content["schema"], body, ""); err != nil {
				t.Errorf("%s: %v in %s", name, err, w.Body)
			}
		}
	}
}

// TestGoodDocumentsMatchTheirSchemas: what we take is what is documented.
func TestGoodDocumentsMatchTheirSchemas(t *testing.T) {
	d := readSpec(t)
	for _, op := range d.operations() {
		good, ok := goodDocs[op.path]
		if !ok {
			continue
		}
		schema := op.spec["requestBody"].(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)["schema"]
		for doc, fits := range map[string]bool{
			good: true,
			strings.Replace(good, `{`, `{"price":1,`, 1):                         false,
			strings.Replace(good, `"document_id":"D1",`, ``, 1):                  false,
			strings.Replace(good, `"R1"`, `1`, 1):                                false,
			strings.Replace(good, `"register"`, `"complete":true,"register"`, 1): false,
			strings.Replace(good, `"document_id":"D1"`, `"document_id":""`, 1):   false,
		} {
			var v any
			if err := json.Unmarshal([]byte(doc), &v); err != nil {
				t.Fatal(err)
			}
			if err := d.matches(schema, v, ""); (err == nil) != fits {
				t.Errorf("%s: %s: %v", op.path, doc, err)
			}
		}
	}
}

const wellFormedXML = `<POSLog><Transaction><RetailStoreID>1</RetailStoreID><WorkstationID>1</WorkstationID><SequenceNumber>1</SequenceNumber><BusinessDayDate>2026-11-23</BusinessDayDate><EndDateTime>2026-11-23T10:00:00Z</EndDateTime><RetailTransaction><LineItem><Sale><ItemID>A</ItemID></Sale></LineItem></RetailTransaction></Transaction></POSLog>`

// request is a good one for an operation.
func request(op operation) (path, contentType, body string) {
	path = strings.NewReplacer("{sku}", "4006381333931", "{id}", "H1").Replace(op.path)
	switch {
	case op.path == "/v1/stock":
		return path + "?sku=4006381333931&sku=never", "", ""
	case op.path == "/v1/poslog":
		return path, "application/xml", wellFormedXML
	case op.path == "/v1/events":
		return path, "application/json", "[" + strings.Replace(goodDocs["/v1/sales"], `{`, `{"kind":"sale",`, 1) + "]"
	case goodDocs[op.path] != "":
		return path, "application/json", goodDocs[op.path]
	}
	return path, "", ""
}

// provoke makes a port answer op with a status, in a fresh shop each time.
func provoke(t *testing.T, op operation, status int) *httptest.ResponseRecorder {
	t.Helper()
	if action, ok := strings.CutPrefix(op.path, "/v1/holds/{id}/"); ok && status != 401 && status != 403 && status != 421 {
		return provokeHold(t, action, status)
	}
	method := strings.ToUpper(op.method)
	path, ct, body := request(op)
	var s *shop
	broken := map[int]error{429: journal.ErrQueueFull, 503: journal.ErrRecovering, 507: journal.ErrFull}
	switch {
	case status == 401:
		s = newShop(t, func(o *Options) { o.Tokens = []string{"t"} })
		if op.path == "/" { // from another machine
			r := httptest.NewRequest(method, "http://127.0.0.1/", nil)
			w := httptest.NewRecorder()
			s.in.Handler().ServeHTTP(w, r)
			return w
		}
		return s.do(method, path, ct, body)
	case op.path == "/readyz" && status == 503:
		s = newShop(t)
		if err := s.j.Close(); err != nil {
			t.Fatal(err)
		}
		return s.do(method, path, ct, body)
	case broken[status] != nil:
		s = newShop(t, func(o *Options) { o.Journal = &brokenJournal{o.Journal.(*journal.Journal), broken[status]} })
		return s.do(method, path, ct, body)
	}
	s = newShop(t)
	switch status {
	case 403:
		return s.do(method, path, ct, body, "Origin", "https://evil.example")
	case 421:
		return s.do(method, path, ct, body, "Host", "evil.example")
	case 413:
		return s.do(method, path, ct, pad+body)
	case 415:
		return s.do(method, path, "text/plain", body)
	case 400:
		return s.do(method, path, ct, body[:len(body)-1]+"!")
	case 409:
		s.do(method, path, ct, body)
		return s.do(method, path, ct, strings.Replace(body, "R1", "R2", 1))
	case 404:
		return s.do(method, path, ct, body)
	case 422:
		switch op.path {
		case "/v1/events":
			return s.do(method, path, ct, "["+strings.Repeat("{},", 1000)+"{}]")
		case "/v1/stock":
			return s.do(method, "/v1/stock", ct, body)
		case "/v1/stock/{sku}":
			return s.do(method, "/v1/stock/4006381333932", ct, body)
		}
		return s.do(method, path, ct, "{}")
	case 200:
		if goodDocs[op.path] != "" || op.method == "get" {
			s.do(http.MethodPost, "/v1/sales", "application/json", goodDocs["/v1/sales"])
			s.do(method, path, ct, body)
		}
		return s.do(method, path, ct, body)
	case 201:
		return s.do(method, path, ct, body)
	}
	return nil
}

// provokeHold makes a port answer an answer to a task with a status.
func provokeHold(t *testing.T, action string, status int) *httptest.ResponseRecorder {
	t.Helper()
	broken := map[int]error{429: journal.ErrQueueFull, 503: journal.ErrRecovering, 507: journal.ErrFull}
	s := newShop(t, func(o *Options) {
		if err := broken[status]; err != nil {
			o.Journal = &brokenJournal{o.Journal.(*journal.Journal), err}
		}
	})
	x := task("H1", 1, "A", 1)
	if action == protocol.HoldPicked || action == protocol.HoldCollected {
		x.State = protocol.ReservationAccepted
	}
	body := ""
	switch status {
	case 400:
		body = "{!"
	case 422:
		body = `{"who":1}`
	case 409:
		x.State = map[string]protocol.ReservationState{
			protocol.HoldAccept: protocol.ReservationAccepted, protocol.HoldReject: protocol.ReservationPicked,
			protocol.HoldPicked: protocol.ReservationPending, protocol.HoldCollected: protocol.ReservationPending,
		}[action]
	}
	if status != 404 {
		s.told(1, x)
	}
	if status == 200 {
		s.do(http.MethodPost, "/v1/holds/H1/"+action, "application/json", "")
	}
	return s.do(http.MethodPost, "/v1/holds/H1/"+action, "application/json", body)
}
