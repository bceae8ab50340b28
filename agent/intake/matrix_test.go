package intake

import (
	"net/http"
	"strings"
	"testing"

	"tillwire/protocol"
)

// badCase is one wrong request: how to spoil a good document, and what the
// answer must be.
type badCase struct {
	name           string
	from, to       string // replaced in the body
	contentType    string // "" = the right one
	headers        []string
	status         int
	code, pointer  string // pointer "" = none demanded
	notWithoutLine bool   // the case needs lines
}

var pad = strings.Repeat(" ", protocol.BodyBytesMax)

var badCases = []badCase{
	{name: "malformed JSON", from: `"register"`, to: `register`, status: 400, code: "malformed_json"},
	{name: "cut off", from: `,"register":"R1"`, to: `,"register`, status: 400, code: "malformed_json"},
	{name: "name twice", from: `"register":"R1"`, to: `"register":"R1","register":"R2"`, status: 400, code: "duplicate_field", pointer: "/register"},
	{name: "unknown field", from: `"register"`, to: `"price":1,"register"`, status: 422, code: "unknown_field", pointer: "/price"},
	{name: "unknown line field", from: `"sku":"4`, to: `"price":1,"sku":"4`, status: 422, code: "unknown_field", pointer: "/lines/0/price", notWithoutLine: true},
	{name: "wrong type", from: `"R1"`, to: `1`, status: 422, code: "invalid_field", pointer: "/register"},
	{name: "wrong type of quantity", from: `"quantity":2`, to: `"quantity":"2"`, status: 422, code: "invalid_field", pointer: "/lines/0/quantity", notWithoutLine: true},
	{name: "wrong type of lines", from: `"lines":[`, to: `"lines":"`, status: 400, code: "malformed_json", notWithoutLine: true},
	{name: "bad check digit", from: `4006381333931`, to: `4006381333932`, status: 422, code: "bad_check_digit", pointer: "/lines/0/sku", notWithoutLine: true},
	{name: "negative quantity", from: `"quantity":2`, to: `"quantity":-2`, status: 422, code: "invalid_field", pointer: "/lines/0/quantity", notWithoutLine: true},
	{name: "four decimals", from: `"quantity":2`, to: `"quantity":0.0001`, status: 422, code: "invalid_field", pointer: "/lines/0/quantity", notWithoutLine: true},
	{name: "time of 1970", from: `2026-11-23T10:15:02Z`, to: `1970-01-01T00:00:00Z`, status: 422, code: "invalid_field", pointer: "/occurred_at"},
	{name: "time of 2199", from: `2026-11-23T10:15:02Z`, to: `2199-01-01T00:00:00Z`, status: 422, code: "invalid_field", pointer: "/occurred_at"},
	{name: "time without zone", from: `2026-11-23T10:15:02Z`, to: `2026-11-23T10:15:02`, status: 422, code: "invalid_field", pointer: "/occurred_at"},
	{name: "no time", from: `"occurred_at":"2026-11-23T10:15:02Z",`, to: ``, status: 422, code: "missing_field", pointer: "/occurred_at"},
	{name: "no id", from: `"document_id":"D1",`, to: ``, status: 422, code: "missing_field", pointer: "/document_id"},
	{name: "card number as id", from: `"D1"`, to: `"4111-1111-1111-1111"`, status: 422, code: "pan_detected", pointer: "/document_id"},
	{name: "oversize", from: `{`, to: pad + `{`, status: 413, code: "body_too_large"},
	{name: "wrong Content-Type", contentType: "text/plain", status: 415, code: "wrong_content_type"},
	{name: "form", contentType: "application/x-www-form-urlencoded", status: 415, code: "wrong_content_type"},
	{name: "wrong charset", contentType: "application/json; charset=latin1", status: 415, code: "wrong_content_type"},
	{name: "compressed", headers: []string{"Content-Encoding", "gzip"}, status: 415, code: "wrong_content_encoding"},
	{name: "wrong Host", headers: []string{"Host", "evil.example:7410"}, status: 421, code: "wrong_host"},
	{name: "browser", headers: []string{"Origin", "http://127.0.0.1:7410"}, status: 403, code: "browser_refused"},
}

func TestBadInputEverywhere(t *testing.T) {
	s := newShop(t)
	for path, good := range goodDocs {
		for _, c := range badCases {
			if c.notWithoutLine && !strings.Contains(good, `"lines"`) || path == "/v1/adjustments" && c.name == "negative quantity" {
				continue
			}
			body := strings.Replace(good, c.from, c.to, 1)
			if body == good && c.from != "" {
				t.Fatalf("%s %s: nothing was spoiled", path, c.name)
			}
			ct := c.contentType
			if ct == "" {
				ct = "application/json"
			}
			w := s.do(http.MethodPost, path, ct, body, c.headers...)
			p := decode[protocol.Problem](t, w.Body)
			switch {
			case w.Code != c.status || p.Code != c.code || p.Status != c.status:
				t.Errorf("%s %s: got %d %s, want %d %s", path, c.name, w.Code, p.Code, c.status, c.code)
			case w.Header().Get("Content-Type") != protocol.ContentTypeProblem || p.Hint == "" || p.Title == "" || p.Type == "":
				t.Errorf("%s %s: no whole problem document: %+v", path, c.name, p)
			case c.pointer != "" && (len(p.Errors) == 0 || p.Errors[0].Pointer != c.pointer || p.Errors[0].Message == ""):
				t.Errorf("%s %s: names %+v, want %s", path, c.name, p.Errors, c.pointer)
			}
		}
	}
	if st := s.j.State(); st.Head != 0 {
		t.Errorf("%d refused documents were journaled", st.Head)
	}
	if st := newShop(t).post("/v1/adjustments", strings.Replace(goodDocs["/v1/adjustments"], `"quantity":2`, `"quantity":-2`, 1)).Code; st != http.StatusCreated {
		t.Errorf("a negative adjustment was refused with %d", st)
	}
}

func TestBadInputInBulk(t *testing.T) {
	for name, c := range map[string]struct {
		ct, body string
		headers  []string
		status   int
		code     string
	}{
		"malformed array": {"application/json", `[{"a":1},`, nil, 400, "malformed_json"},
		"not a list":      {"application/json", `17`, nil, 400, "malformed_json"},
		"empty array":     {"application/json", `[]`, nil, 400, "malformed_json"},
		"empty":           {"application/x-ndjson", "\n\n", nil, 400, "malformed_json"},
		"more behind":     {"application/json", `[{}] {}`, nil, 400, "malformed_json"},
		"too many":        {"application/x-ndjson", strings.Repeat("{}\n", 1001), nil, 422, "too_many_documents"},
		"too many in one": {"application/json", "[" + strings.Repeat("{},", 1001) + "{}]", nil, 422, "too_many_documents"},
		"oversize":        {"application/json", pad + "[]", nil, 413, "body_too_large"},
		"content type":    {"text/csv", "[]", nil, 415, "wrong_content_type"},
		"host":            {"application/json", "[]", []string{"Host", "evil.example"}, 421, "wrong_host"},
		"origin":          {"application/json", "[]", []string{"Origin", "null"}, 403, "browser_refused"},
	} {
		s := newShop(t)
		w := s.do(http.MethodPost, "/v1/events", c.ct, c.body, c.headers...)
		p := decode[protocol.Problem](t, w.Body)
		if w.Code != c.status || p.Code != c.code || p.Hint == "" || s.j.State().Head != 0 {
			t.Errorf("%s: got %d %+v, head %d", name, w.Code, p, s.j.State().Head)
		}
	}
}

func TestBadInputInPOSLog(t *testing.T) {
	s := newShop(t)
	for name, c := range map[string]struct {
		ct, body string
		headers  []string
		status   int
		code     string
	}{
		"malformed":    {"application/xml", `<POSLog><Transaction>`, nil, 400, "malformed_xml"},
		"doctype":      {"application/xml", `<!DOCTYPE POSLog SYSTEM "file:///etc/passwd"><POSLog/>`, nil, 400, "malformed_xml"},
		"oversize":     {"application/xml", pad + `<POSLog/>`, nil, 413, "body_too_large"},
		"content type": {"application/json", `<POSLog/>`, nil, 415, "wrong_content_type"},
		"charset":      {"text/xml; charset=utf-16", `<POSLog/>`, nil, 415, "wrong_content_type"},
		"host":         {"application/xml", `<POSLog/>`, []string{"Host", "evil.example"}, 421, "wrong_host"},
	} {
		w := s.do(http.MethodPost, "/v1/poslog", c.ct, c.body, c.headers...)
		p := decode[protocol.Problem](t, w.Body)
		if w.Code != c.status || p.Code != c.code || p.Hint == "" {
			t.Errorf("%s: got %d %+v", name, w.Code, p)
		}
	}
	if st := s.j.State(); st.Head != 0 {
		t.Errorf("%d were journaled", st.Head)
	}
}
