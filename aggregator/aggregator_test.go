package aggregator_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator"
	"tillwire/aggregator/api"
	"tillwire/aggregator/credential"
	"tillwire/protocol/openapi"
)

const (
	routeAvail    = "GET /v1/availability/{sku}"
	routeQuery    = "POST /v1/availability/query"
	routeExplain  = "GET /v1/availability/{sku}/explain"
	routeChanges  = "GET /v1/availability/changes"
	routeEvents   = "POST /v1/feeds/{source}/events"
	routeSnapshot = "POST /v1/feeds/{source}/snapshot"
)

func receipt(id, sku string, qty any) string {
	return fmt.Sprintf(`{"kind":"receipt","document_id":%q,"location":"DC1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":%q,"quantity":%v}]}`, id, sku, qty)
}

func TestRoutesAndContractAreOne(t *testing.T) {
	r := start(t, true)
	documented := map[string]bool{}
	for path, item := range r.doc["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			documented[strings.ToUpper(method)+" "+path] = true
		}
	}
	for _, rule := range api.Rules() {
		if !documented[rule.Pattern] {
			t.Errorf("%s is served but not documented", rule.Pattern)
		}
		delete(documented, rule.Pattern)
	}
	for p := range documented {
		t.Errorf("%s is documented but not served", p)
	}
	if got := r.do("GET /asyncapi.json", "/asyncapi.json", ""); got.field(t, "asyncapi") != "3.0.0" {
		t.Errorf("asyncapi: %.100s", got.body)
	}
	if got := r.do("GET /openapi.json", "/openapi.json", ""); !bytes.Equal(got.body, openapi.Aggregator()) {
		t.Error("what is served is not the document")
	}
}

// TestAFeedBecomesAvailability walks the contract's calls over real stock, and
// over a restart.
func TestAFeedBecomesAvailability(t *testing.T) {
	r := start(t, true)
	cursor := r.do(routeChanges, "/v1/availability/changes", "").field(t, "cursor").(string)
	a := r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "4006381333931", 5)+","+receipt("r1", "4006381333931", 5)+","+receipt("r1", "4006381333931", 6)+","+receipt("bad", "4006381333931", -1)+`]}`)
	var statuses []string
	for _, x := range a.field(t, "results").([]any) {
		statuses = append(statuses, x.(map[string]any)["status"].(string))
	}
	if got := strings.Join(statuses, " "); got != "accepted duplicate parked parked" {
		t.Fatalf("results: %s\n%s", got, a.body)
	}
	r.do(routeSnapshot, "/v1/feeds/wms/snapshot", `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T11:00:00Z","complete":true,"lines":[{"sku":"B","quantity":1.5}]}`)
	check := func(when string) {
		t.Helper()
		// B is stated, and the full statement zeroes what it does not name
		if got := r.do(routeAvail, "/v1/availability/B", "").field(t, "totals", "available"); got != 1.5 {
			t.Errorf("%s: B %v", when, got)
		}
		if got := r.do(routeAvail, "/v1/availability/04006381333931?location=DC1&group=South&channel=web", "").field(t, "totals", "on_hand"); got != 0.0 {
			t.Errorf("%s: GTIN %v", when, got)
		}
		q := r.do(routeQuery, "/v1/availability/query", `{"skus":["B","never"],"locations":["DC1"]}`)
		if n := len(q.field(t, "items").([]any)); n != 1 || q.field(t, "unknown").([]any)[0] != "never" {
			t.Errorf("%s: query %s", when, q.body)
		}
		x := r.do(routeExplain, "/v1/availability/4006381333931/explain?location=DC1&limit=5", "")
		if x.field(t, "on_hand") != 0.0 || x.field(t, "anchor", "effect") != 0.0 {
			t.Errorf("%s: explain %s", when, x.body)
		}
	}
	check("live")
	ch := r.do(routeChanges, "/v1/availability/changes?cursor="+cursor, "")
	if n := len(ch.field(t, "items").([]any)); n != 2 {
		t.Errorf("%d changes: %s", n, ch.body)
	}
	past := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	if x := r.do(routeExplain, "/v1/availability/B/explain?location=DC1&known_at="+past, ""); x.field(t, "on_hand") != 0.0 {
		t.Errorf("an hour ago nothing was known: %s", x.body)
	}
	r.stop()
	r.open()
	check("after a restart")
	r.do("GET /v1/stores", "/v1/stores", "")
	if s := r.do("GET /v1/stores/{store}", "/v1/stores/DC1", ""); s.field(t, "type") != "dc" {
		t.Errorf("store: %s", s.body)
	}
	r.do("GET /v1/stores/{store}/agents/{agent}", "/v1/stores/DC1/agents/feed:wms", "")
	for _, p := range []string{"/healthz", "/readyz", "/metrics"} {
		if got := r.do("GET "+p, p, ""); got.status != http.StatusOK {
			t.Errorf("%s: %d", p, got.status)
		}
	}
	r.stop()
	fsck, err := aggregator.Fsck(context.Background(), r.cfg)
	if err != nil || len(fsck.Differences) != 0 || fsck.Entries != 3 || fsck.Positions != 2 {
		t.Errorf("fsck: %+v %v", fsck, err)
	}
	var out bytes.Buffer
	if err := aggregator.Export(context.Background(), r.cfg, 1, &out); err != nil || strings.Count(out.String(), "\n") != 3 { // the last is what was decided of the statement
		t.Errorf("export: %v\n%s", err, out.String())
	}
}

func TestStreamFollows(t *testing.T) {
	r := start(t, true)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.agg.HTTPAddr()+"/v1/availability/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "A", 5)+`]}`)
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			if !strings.Contains(d, `"sku":"A"`) || !strings.Contains(d, `"on_hand":5`) {
				t.Errorf("event %s", d)
			}
			return
		}
	}
	t.Fatalf("no event: %v", lines.Err())
}

func TestExceptionsAreDecidedOnce(t *testing.T) {
	r := start(t, true)
	a := r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "A", 5)+","+receipt("r1", "A", 6)+`]}`)
	id := a.field(t, "results").([]any)[1].(map[string]any)["exception_id"].(string)
	list := r.do("GET /v1/exceptions", "/v1/exceptions?state=open&code=id_reused&store=DC1&limit=10", "")
	if n := len(list.field(t, "exceptions").([]any)); n != 1 {
		t.Fatalf("%d open: %s", n, list.body)
	}
	one := r.do("GET /v1/exceptions/{id}", "/v1/exceptions/"+id, "")
	if one.field(t, "document", "document_id") != "r1" {
		t.Errorf("exception: %s", one.body)
	}
	const retry, discard = "POST /v1/exceptions/{id}/retry", "POST /v1/exceptions/{id}/discard"
	if x := r.do(retry, "/v1/exceptions/"+id+"/retry", ""); x.field(t, "state") != "open" {
		t.Errorf("retry of what is still wrong: %s", x.body)
	}
	r.refused("no reason", r.do(discard, "/v1/exceptions/"+id+"/discard", `{"reason":" "}`), 422, "invalid_field", "/reason")
	if x := r.do(discard, "/v1/exceptions/"+id+"/discard", `{"reason":"typed twice"}`); x.field(t, "note") != "typed twice" {
		t.Errorf("discard: %s", x.body)
	}
	r.refused("decided", r.do(discard, "/v1/exceptions/"+id+"/discard", `{"reason":"again"}`), 409, "exception_decided", "")
	r.refused("unknown", r.do(retry, "/v1/exceptions/none/retry", ""), 404, "unknown_id", "")
}

// TestBadInput is the matrix: whatever is wrong is named with its remedy, and
// nothing of it is merged.
func TestBadInput(t *testing.T) {
	r := start(t, true)
	event := func(doc string) string { return `{"events":[` + doc + `]}` }
	huge := `{"skus":["` + strings.Repeat("x", 2<<20) + `"]}`
	cases := []struct {
		name, pattern, path, body string
		status                    int
		code, pointer             string
		change                    func(*http.Request)
	}{
		{"malformed query", routeQuery, "/v1/availability/query", `{"skus":`, 400, "malformed_json", "", nil},
		{"unknown field in query", routeQuery, "/v1/availability/query", `{"skuz":[]}`, 422, "unknown_field", "/skuz", nil},
		{"wrong type in query", routeQuery, "/v1/availability/query", `{"skus":"A"}`, 422, "invalid_field", "/skus", nil},
		{"empty query", routeQuery, "/v1/availability/query", `{"skus":[]}`, 422, "invalid_field", "/skus", nil},
		{"bad check digit in query", routeQuery, "/v1/availability/query", `{"skus":["4006381333932"]}`, 422, "invalid_field", "/skus/0", nil},
		{"oversize query", routeQuery, "/v1/availability/query", huge, 413, "body_too_large", "", nil},
		{"bad check digit", routeAvail, "/v1/availability/4006381333932", "", 422, "invalid_field", "/sku", nil},
		{"unknown SKU", routeAvail, "/v1/availability/never", "", 404, "unknown_sku", "", nil},
		{"unknown group", routeAvail, "/v1/availability/never?group=Moon", "", 404, "unknown_group", "", nil},
		{"unknown parameter", routeAvail, "/v1/availability/never?loc=S1", "", 422, "invalid_field", "/loc", nil},
		{"explain without location", routeExplain, "/v1/availability/A/explain", "", 422, "invalid_field", "/location", nil},
		{"explain at no time", routeExplain, "/v1/availability/A/explain?location=S1&at=noon", "", 422, "invalid_field", "/at", nil},
		{"explain too many", routeExplain, "/v1/availability/A/explain?location=S1&limit=9999", "", 422, "invalid_field", "/limit", nil},
		{"explain of nothing", routeExplain, "/v1/availability/never/explain?location=S1", "", 404, "unknown_id", "", nil},
		{"cursor that is none", routeChanges, "/v1/availability/changes?cursor=x", "", 422, "invalid_field", "/cursor", nil},
		{"cursor too old", routeChanges, "/v1/availability/changes?cursor=0", "", 410, "cursor_too_old", "", nil},
		{"malformed feed", routeEvents, "/v1/feeds/wms/events", `{`, 400, "malformed_json", "", nil},
		{"unknown field in feed", routeEvents, "/v1/feeds/wms/events", `{"evnts":[]}`, 422, "unknown_field", "/evnts", nil},
		{"empty feed", routeEvents, "/v1/feeds/wms/events", event(""), 422, "invalid_field", "/events", nil},
		{"source with a slash's friend", routeEvents, "/v1/feeds/w_s/events", event("{}"), 422, "invalid_field", "/source", nil},
		{"malformed snapshot", routeSnapshot, "/v1/feeds/wms/snapshot", `[`, 400, "malformed_json", "", nil},
		{"snapshot with an absurd time", routeSnapshot, "/v1/feeds/wms/snapshot", `{"snapshot_id":"n","location":"DC1","as_of":"1970-01-01T00:00:00Z","lines":[]}`, 422, "invalid_field", "/as_of", nil},
		{"snapshot with a bad check digit", routeSnapshot, "/v1/feeds/wms/snapshot", `{"snapshot_id":"n","location":"DC1","as_of":"2026-11-23T10:00:00Z","lines":[{"sku":"4006381333932","quantity":1}]}`, 422, "bad_check_digit", "/lines/0/sku", nil},
		{"unknown store", "GET /v1/stores/{store}", "/v1/stores/S999", "", 404, "unknown_store", "", nil},
		{"unknown agent", "GET /v1/stores/{store}/agents/{agent}", "/v1/stores/S1/agents/x", "", 404, "unknown_agent", "", nil},
		{"unknown state", "GET /v1/exceptions", "/v1/exceptions?state=lost", "", 422, "invalid_field", "/state", nil},
		{"unknown exception", "GET /v1/exceptions/{id}", "/v1/exceptions/x", "", 404, "unknown_id", "", nil},
		{"token for no store", "POST /v1/enrollment-tokens", "/v1/enrollment-tokens", `{"store":"a/b"}`, 422, "invalid_field", "/store", nil},
		{"token for a week", "POST /v1/enrollment-tokens", "/v1/enrollment-tokens", `{"store":"S1","valid_hours":168}`, 422, "invalid_field", "/valid_hours", nil},
		{"forged enrolment", "POST /v1/enroll", "/v1/enroll", `{"token":"twe1.x","store":"S1","agent":"server"}`, 403, "enrolment_refused", "", nil},
		{"form instead of JSON", routeQuery, "/v1/availability/query", `skus=A`, 415, "unsupported_media_type", "", func(q *http.Request) { q.Header.Set("Content-Type", "text/plain") }},
		{"another host", routeAvail, "/v1/availability/A", "", 421, "wrong_host", "", func(q *http.Request) { q.Host = "evil.example" }},
		{"unknown route", "", "/v1/nowhere", "", 404, "unknown_route", "", nil},
		{"wrong method", "", "/v1/availability/query", "", 405, "method_not_allowed", "", func(q *http.Request) { q.Method = http.MethodDelete }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			var change []func(*http.Request)
			if c.change != nil {
				change = append(change, c.change)
			}
			r.refused(c.name, r.do(c.pattern, c.path, c.body, change...), c.status, c.code, c.pointer)
		})
	}
	r.t = t
	for name, doc := range map[string]string{
		"unknown field": `{"kind":"receipt","colour":"red"}`, "wrong type": receipt("r", "A", `"many"`), "bad check digit": receipt("r", "5901234123458", 1),
		"negative": receipt("r", "A", -1), "four decimals": receipt("r", "A", 0.0001), "absurd time": strings.Replace(receipt("r", "A", 1), "2026", "1850", 1),
	} {
		a := r.do(routeEvents, "/v1/feeds/wms/events", event(doc))
		res := a.field(t, "results").([]any)[0].(map[string]any)
		if list, _ := res["errors"].([]any); res["status"] != "parked" || res["exception_id"] == nil || len(list) == 0 || list[0].(map[string]any)["pointer"] == "" {
			t.Errorf("%s: %s", name, a.body)
		}
	}
	if m := r.do("GET /metrics", "/metrics", ""); !bytes.Contains(m.body, []byte("tillwire_ledger_entries_total 0\n")) {
		t.Error("something of all this was merged")
	}
}

// TestWhoMayWhat is the matrix of routes and roles, from the table itself.
func TestWhoMayWhat(t *testing.T) {
	r := start(t, false)
	keys := map[string]string{"": ""}
	for _, role := range credential.Roles {
		key, err := aggregator.IssueKey(r.cfg, string(role), "k-"+string(role), 0)
		if err != nil {
			t.Fatal(err)
		}
		keys[string(role)] = key
	}
	for _, rule := range api.Rules() {
		for role, key := range keys {
			r.key = key
			path := strings.NewReplacer("{sku}", "A", "{source}", "wms", "{store}", "S1", "{agent}", "x", "{id}", "x").Replace(strings.SplitN(rule.Pattern, " ", 2)[1])
			if path == "/v1/availability/stream" && strings.Contains(rule.Roles, role) && role != "" {
				continue // it would not end; TestStreamFollows follows one
			}
			got := r.do(rule.Pattern, path, "{")
			switch {
			case rule.Roles == "" || (role != "" && strings.Contains(rule.Roles, role)):
				if got.status == http.StatusUnauthorized || (got.status == http.StatusForbidden && got.field(t, "code") == "forbidden") {
					t.Errorf("%s refuses %q: %d", rule.Pattern, role, got.status)
				}
			case role == "":
				r.refused(rule.Pattern+" without a key", got, http.StatusUnauthorized, "unauthorized", "")
			default:
				r.refused(rule.Pattern+" with "+role, got, http.StatusForbidden, "forbidden", "")
			}
		}
	}
	r.key = "twk1.admin.mallory.1.x"
	r.refused("a forged key", r.do("GET /v1/stores", "/v1/stores", ""), http.StatusUnauthorized, "unauthorized", "")
}

func TestEnrolmentIsGoodOnce(t *testing.T) {
	r := start(t, false)
	admin, err := aggregator.IssueKey(r.cfg, "admin", "ann", 0)
	if err != nil {
		t.Fatal(err)
	}
	r.key = admin
	code := r.do("POST /v1/enrollment-tokens", "/v1/enrollment-tokens", `{"store":"S1"}`).field(t, "token").(string)
	r.key = ""
	body := fmt.Sprintf(`{"token":%q,"store":"S1","agent":"server"}`, code)
	got := r.do("POST /v1/enroll", "/v1/enroll", body)
	if got.status != http.StatusCreated || !strings.HasPrefix(got.field(t, "token").(string), "twa1.S1.server.") {
		t.Fatalf("enrol: %s", got.body)
	}
	r.stop()
	r.open()
	r.refused("the same token after a restart", r.do("POST /v1/enroll", "/v1/enroll", body), http.StatusForbidden, "enrolment_refused", "")
}

func TestStartErrorsSayWhatToDo(t *testing.T) {
	r := start(t, true)
	second := r.cfg
	if _, err := aggregator.New(second, aggregator.Deps{}); err == nil || !strings.Contains(err.Error(), "ledger") {
		t.Errorf("a second aggregator on one folder: %v", err)
	}
	taken := aggregator.Defaults()
	taken.DataDir, taken.Dev, taken.HTTP.Listen, taken.MQTT.Listen = t.TempDir(), true, r.agg.HTTPAddr(), "127.0.0.1:0"
	if _, err := aggregator.New(taken, aggregator.Deps{}); err == nil || !strings.Contains(err.Error(), "http.listen") {
		t.Errorf("a taken port: %v", err)
	}
	open := aggregator.Defaults()
	open.DataDir, open.Dev, open.HTTP.Listen = t.TempDir(), true, "0.0.0.0:0"
	if _, err := aggregator.New(open, aggregator.Deps{}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("--dev in the open: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(r.cfg.DataDir, "addresses.json")); err != nil || !strings.Contains(string(b), r.agg.MQTTAddr()) {
		t.Errorf("addresses.json: %s %v", b, err)
	}
}

// TestRebuildMark: the word that a damaged index leaves is followed once.
func TestRebuildMark(t *testing.T) {
	r := start(t, true)
	r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "A", 5)+`]}`)
	r.stop()
	mark := filepath.Join(r.cfg.DataDir, "rebuild-ids")
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.open()
	if _, err := os.Stat(mark); !os.IsNotExist(err) {
		t.Errorf("the mark stays: %v", err)
	}
	a := r.do(routeEvents, "/v1/feeds/wms/events", `{"events":[`+receipt("r1", "A", 5)+`]}`)
	if got := a.field(t, "results").([]any)[0].(map[string]any)["status"]; got != "duplicate" {
		t.Errorf("after the rebuild a known document is %v", got)
	}
}
