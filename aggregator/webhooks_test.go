package aggregator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"tillwire/aggregator/channel/webhook"
	"tillwire/aggregator/credential"
)

const (
	routeSubscribe   = "POST /v1/subscriptions"
	routeSubscribed  = "GET /v1/subscriptions/{id}"
	routeUnsubscribe = "DELETE /v1/subscriptions/{id}"
)

// receiver is a real HTTP receiver of webhooks that checks what it is sent.
type receiver struct {
	t      *testing.T
	srv    *httptest.Server
	schema *jsonschema.Schema

	mu      sync.Mutex
	secrets [][]byte
	answer  func(n int) int
	bodies  []map[string]any
	ids     []string
	sigs    []string
}

func (r *running) receive() *receiver {
	r.t.Helper()
	schema, err := r.sch.Compile("openapi.json#/components/schemas/CloudEvent")
	if err != nil {
		r.t.Fatal(err)
	}
	x := &receiver{t: r.t, schema: schema, answer: func(int) int { return http.StatusNoContent }}
	x.srv = httptest.NewServer(x)
	r.t.Cleanup(x.srv.Close)
	return x
}

func (x *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b, _ := io.ReadAll(req.Body)
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.secrets) > 0 {
		if err := webhook.Verify(x.secrets, req.Header, b, time.Now(), time.Minute); err != nil {
			x.t.Errorf("signature: %v", err)
		}
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err == nil {
		err = x.schema.Validate(v)
	}
	if err != nil {
		x.t.Errorf("message is not as documented: %v\n%s", err, b)
	}
	m := map[string]any{}
	if json.Unmarshal(b, &m) != nil || m["id"] != req.Header.Get(webhook.HeaderID) {
		x.t.Errorf("webhook-id %q, body %.200s", req.Header.Get(webhook.HeaderID), b)
	}
	status := x.answer(len(x.ids))
	x.ids = append(x.ids, req.Header.Get(webhook.HeaderID))
	x.sigs = append(x.sigs, req.Header.Get(webhook.HeaderSignature))
	if status < 300 {
		x.bodies = append(x.bodies, m)
	}
	w.WriteHeader(status)
}

// newest is the last number told of an article.
func (x *receiver) newest(sku string) (available float64, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, m := range x.bodies {
		items, _ := m["data"].(map[string]any)["items"].([]any) // a test message has none
		for _, it := range items {
			if it := it.(map[string]any); it["sku"] == sku && it["totals"] != nil {
				available, ok = it["totals"].(map[string]any)["available"].(float64), true
			}
		}
	}
	return available, ok
}

func (x *receiver) set(answer func(n int) int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = answer
}

func (x *receiver) count() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.ids)
}

// eventually waits for what must come.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatalf("not in 20 s: %s", what)
}

func (r *running) subscribe(x *receiver, fields string) (id string) {
	r.t.Helper()
	a := r.do(routeSubscribe, "/v1/subscriptions", `{"url":"`+x.srv.URL+`/hook"`+fields+`}`)
	if a.status != http.StatusCreated {
		r.t.Fatalf("subscribe: %d %s", a.status, a.body)
	}
	secret, err := webhook.DecodeSecret(a.field(r.t, "secret").(string))
	if err != nil {
		r.t.Fatal(err)
	}
	x.mu.Lock()
	x.secrets = append(x.secrets, secret)
	x.mu.Unlock()
	return a.field(r.t, "id").(string)
}

func (r *running) stock(snapshot, sku string, qty any) {
	r.t.Helper()
	b, _ := json.Marshal(map[string]any{"snapshot_id": snapshot, "location": "DC1", "as_of": time.Now().UTC().Format(time.RFC3339Nano), "lines": []any{map[string]any{"sku": sku, "quantity": qty}}})
	if a := r.do(routeSnapshot, "/v1/feeds/wms/snapshot", string(b)); a.status != http.StatusOK {
		r.t.Fatalf("stock: %s", a.body)
	}
}

// TestWebhooks follows a subscription through its life: changes, a receiver that
// fails, a message that it calls wrong, rotation, a restart, a replay.
func TestWebhooks(t *testing.T) {
	r := start(t, true)
	x := r.receive()
	id := r.subscribe(x, `,"name":"shop","channel":"web"`)
	at := "/v1/subscriptions/" + id
	r.stock("n1", "A", 10)
	eventually(t, "A is told", func() bool { q, _ := x.newest("A"); return q == 10 })
	if a := r.do(routeSubscribed, at, ""); strings.Contains(string(a.body), "whsec_") {
		t.Errorf("the secret is told again: %s", a.body)
	}

	x.set(func(int) int { return http.StatusBadGateway })
	before := x.count()
	for n := range 20 {
		r.stock("m"+itoa(n), "A", 20+n)
	}
	eventually(t, "it is tried", func() bool { return x.count() > before })
	if s := r.do(routeSubscribed, at, "").field(t, "state"); s != "failing" {
		t.Errorf("state %v", s)
	}
	x.set(func(int) int { return http.StatusOK })
	eventually(t, "the newest is told", func() bool { q, _ := x.newest("A"); return q == 39 })

	x.set(func(int) int { return http.StatusUnprocessableEntity })
	r.stock("p1", "B", 1)
	eventually(t, "a dead letter", func() bool { return r.do(routeSubscribed, at, "").field(t, "dead_letters") == 1.0 })
	x.set(func(int) int { return http.StatusOK })
	list := r.do("GET /v1/subscriptions/{id}/dead-letters", at+"/dead-letters", "").field(t, "dead_letters").([]any)
	letter := list[0].(map[string]any)["id"].(string)
	r.do("POST /v1/subscriptions/{id}/dead-letters/{letter}/retry", at+"/dead-letters/"+letter+"/retry", "")
	eventually(t, "B is told", func() bool { q, _ := x.newest("B"); return q == 1 })
	r.refused("gone", r.do("DELETE /v1/subscriptions/{id}/dead-letters/{letter}", at+"/dead-letters/"+letter, ""), 404, "unknown_dead_letter", "")

	a := r.do("POST /v1/subscriptions/{id}/rotate", at+"/rotate", "{}")
	fresh, err := webhook.DecodeSecret(a.field(t, "secret").(string))
	if err != nil || a.field(t, "old_secret_ends") == nil {
		t.Fatalf("rotate: %v %s", err, a.body)
	}
	x.mu.Lock()
	old := x.secrets
	x.secrets = [][]byte{fresh}
	x.mu.Unlock()
	if a := r.do("POST /v1/subscriptions/{id}/test", at+"/test", ""); a.field(t, "delivered") != true {
		t.Errorf("test: %s", a.body)
	}
	x.mu.Lock()
	x.secrets = old // the old one is believed, too
	if sig := x.sigs[len(x.sigs)-1]; strings.Count(sig, "v1,") != 2 {
		t.Errorf("signatures: %q", sig)
	}
	x.mu.Unlock()

	// What is not taken when the process ends is told by the next.
	x.set(func(int) int { return http.StatusServiceUnavailable })
	r.stock("q1", "C", 7)
	eventually(t, "C is tried", func() bool { return r.do(routeSubscribed, at, "").field(t, "pending") == 1.0 })
	r.stop()
	x.set(func(int) int { return http.StatusOK })
	r.open()
	eventually(t, "C is told", func() bool { q, _ := x.newest("C"); return q == 7 })

	n := x.count()
	r.do("POST /v1/subscriptions/{id}/replay", at+"/replay", `{"from":"2020-01-01T00:00:00Z"}`)
	eventually(t, "a replay", func() bool { return x.count() > n })
	r.refused("replay", r.do("POST /v1/subscriptions/{id}/replay", at+"/replay", `{"position":99999999}`), 422, "invalid_field", "")
	r.refused("replay of nothing", r.do("POST /v1/subscriptions/{id}/replay", at+"/replay", `{}`), 422, "invalid_field", "/from")

	x.set(func(int) int { return http.StatusGone })
	r.stock("r1", "A", 3)
	eventually(t, "a pause", func() bool { return r.do(routeSubscribed, at, "").field(t, "state") == "paused" })
	x.set(func(int) int { return http.StatusOK })
	r.do("POST /v1/subscriptions/{id}/resume", at+"/resume", "")
	eventually(t, "it goes on", func() bool { q, _ := x.newest("A"); return q == 3 })
	if a := r.do("GET /v1/subscriptions", "/v1/subscriptions", ""); len(a.field(t, "subscriptions").([]any)) != 1 {
		t.Errorf("list: %s", a.body)
	}
	r.do(routeUnsubscribe, at, "")
	r.refused("deleted", r.do(routeSubscribed, at, ""), 404, "unknown_subscription", "")
}

// TestWebhookThresholds hears passages between in, low and out, of the chain and of a
// location, and of nothing else than it asked for.
func TestWebhookThresholds(t *testing.T) {
	r := start(t, true)
	x := r.receive()
	r.do(routePutPolicy, "/v1/policies/low", `{"policy_id":"low","values":{"low_at":3}}`, asJSON)
	r.stock("n1", "A", 10)
	r.stock("n1b", "Z", 10)
	r.subscribe(x, `,"events":["io.tillwire.availability.threshold"],"channel":"web","skus":["A"],"batch_max":1`)
	states := func() (out []string) {
		x.mu.Lock()
		defer x.mu.Unlock()
		for _, m := range x.bodies {
			for _, it := range m["data"].(map[string]any)["items"].([]any) {
				it := it.(map[string]any)
				out = append(out, it["sku"].(string)+" "+it["state"].(string))
			}
		}
		return out
	}
	last := func() string {
		if s := states(); len(s) > 0 {
			return s[len(s)-1]
		}
		return ""
	}
	r.reserve("z", 9, "")
	r.stock("n2", "Z", 0)
	r.stock("n3", "A", 2)
	eventually(t, "low", func() bool { return last() == "A low" || last() == "A out" })
	r.stock("n4", "A", 50)
	eventually(t, "in", func() bool { return last() == "A in" })
	for _, s := range states() {
		if strings.HasPrefix(s, "Z") {
			t.Errorf("not asked for: %s", s)
		}
	}
}

func TestWebhooksRefuse(t *testing.T) {
	r := start(t, false)
	r.key = r.issue(credential.RoleAdmin)
	for name, c := range map[string]struct{ body, pointer string }{
		"loopback":      {`{"url":"https://127.0.0.1/x"}`, "/url"},
		"private":       {`{"url":"https://10.0.0.7/x"}`, "/url"},
		"mapped":        {`{"url":"https://[::ffff:192.168.1.1]/x"}`, "/url"},
		"metadata":      {`{"url":"https://169.254.169.254/latest"}`, "/url"},
		"no tls":        {`{"url":"http://example.com/x"}`, "/url"},
		"user":          {`{"url":"https://a:b@example.com/x"}`, "/url"},
		"event":         {`{"url":"https://example.com/x","events":["x"]}`, "/events/0"},
		"batch":         {`{"url":"https://example.com/x","batch_max":101}`, "/batch_max"},
		"a bad article": {`{"url":"https://example.com/x","skus":["04006381333932"]}`, "/skus/0"},
	} {
		r.refused(name, r.do(routeSubscribe, "/v1/subscriptions", c.body), 422, "invalid_field", c.pointer)
	}
	r.key = r.issue(credential.RoleChannel)
	r.refused("role", r.do(routeSubscribe, "/v1/subscriptions", `{"url":"https://example.com/x"}`), 403, "forbidden", "")
}

// issue makes a key as `tillwire-aggregator token` does.
func (r *running) issue(role credential.Role) string {
	r.t.Helper()
	keys, err := credential.Open(r.cfg.DataDir, time.Now)
	if err != nil {
		r.t.Fatal(err)
	}
	key, err := keys.Key(role, "test", 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return key
}
