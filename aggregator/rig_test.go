package aggregator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"tillwire/aggregator"
	"tillwire/protocol/openapi"
)

// running is a real aggregator on free ports, and the contract that its answers
// are held to.
type running struct {
	t    *testing.T
	cfg  aggregator.Config
	agg  *aggregator.Aggregator
	stop func()
	doc  map[string]any
	sch  *jsonschema.Compiler
	key  string // Authorization, when not ""
	log  zerolog.Logger
	now  func() time.Time // nil: the clock
}

func start(t *testing.T, dev bool) *running {
	t.Helper()
	c := aggregator.Defaults()
	c.DataDir, c.Dev, c.HTTP.Listen, c.MQTT.Listen = t.TempDir(), dev, "127.0.0.1:0", "127.0.0.1:0"
	c.Stores = []aggregator.StoreConfig{{Store: "S1", Name: "First", Region: "North"}, {Store: "DC1", Type: "dc", Region: "South"}}
	r := &running{t: t, cfg: c, log: zerolog.Nop()}
	r.contract()
	r.open()
	t.Cleanup(func() { r.stop() })
	return r
}

func (r *running) contract() {
	t := r.t
	r.sch = jsonschema.NewCompiler()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(openapi.Aggregator()))
	if err != nil {
		t.Fatal(err)
	}
	r.doc = doc.(map[string]any)
	if err := r.sch.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
}

func (r *running) open() {
	r.t.Helper()
	a, err := aggregator.New(r.cfg, aggregator.Deps{Log: r.log, Now: r.now, Version: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	<-a.Ready()
	r.agg = a
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
		r.stop = func() {}
	}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) field(t *testing.T, path ...string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("%s has no %v", a.body, path)
		}
		v = m[p]
	}
	return v
}

// do sends a request and holds the answer to the contract. pattern is the
// route's, "" where there is none.
func (r *running) do(pattern, path, body string, change ...func(*http.Request)) answer {
	r.t.Helper()
	method, _, _ := strings.Cut(pattern, " ")
	if pattern == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, "http://"+r.agg.HTTPAddr()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Authorization", "Bearer "+r.key)
	}
	for _, c := range change {
		c(req)
	}
	client := http.Client{Timeout: time.Minute}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, b}
	if pattern != "" {
		r.hold(pattern, a)
	}
	return a
}

// hold checks an answer against what the contract says of the route's status.
func (r *running) hold(pattern string, a answer) {
	r.t.Helper()
	method, path, _ := strings.Cut(pattern, " ")
	item, _ := r.doc["paths"].(map[string]any)[path].(map[string]any)
	op, _ := item[strings.ToLower(method)].(map[string]any)
	if op == nil {
		r.t.Fatalf("%s is not documented", pattern)
	}
	status := http.StatusText(a.status)
	resp, _ := op["responses"].(map[string]any)[itoa(a.status)].(map[string]any)
	if resp == nil {
		r.t.Fatalf("%s: answer %d %s is not documented: %s", pattern, a.status, status, a.body)
	}
	kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	content, _ := resp["content"].(map[string]any)
	media, _ := content[kind].(map[string]any)
	if media == nil {
		r.t.Fatalf("%s: answer %d has type %q, which is not documented", pattern, a.status, kind)
	}
	if kind != "application/json" && kind != "application/problem+json" {
		return
	}
	at := "openapi.json#/paths/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(path) + "/" + strings.ToLower(method) +
		"/responses/" + itoa(a.status) + "/content/" + strings.ReplaceAll(kind, "/", "~1") + "/schema"
	schema, err := r.sch.Compile(at)
	if err != nil {
		r.t.Fatalf("compile %s: %v", at, err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.body))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		r.t.Errorf("%s: answer %d is not as documented: %v\n%s", pattern, a.status, err, a.body)
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// refused holds an answer to what every refusal owes.
func (r *running) refused(name string, a answer, status int, code, pointer string) {
	r.t.Helper()
	if a.status != status || a.field(r.t, "code") != code {
		r.t.Errorf("%s: got %d %s, want %d %s", name, a.status, a.body, status, code)
		return
	}
	if hint, _ := a.field(r.t, "hint").(string); hint == "" {
		r.t.Errorf("%s: no remedy in %s", name, a.body)
	}
	if pointer == "" {
		return
	}
	list, _ := a.field(r.t, "errors").([]any)
	for _, e := range list {
		if e.(map[string]any)["pointer"] == pointer {
			return
		}
	}
	r.t.Errorf("%s: nothing points at %s: %s", name, pointer, a.body)
}
