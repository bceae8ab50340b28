package marketplace_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// model is one of the vendor's published documents (Swagger 2).
type model struct {
	Paths       map[string]map[string]json.RawMessage `json:"paths"`
	Definitions map[string]any                        `json:"definitions"`
}

type operation struct {
	ID          string `json:"operationId"`
	Description string `json:"description"`
	Parameters  []struct {
		Name     string `json:"name"`
		In       string `json:"in"`
		Required bool   `json:"required"`
		Schema   any    `json:"schema"`
	} `json:"parameters"`
	Responses map[string]struct {
		Examples map[string]json.RawMessage `json:"examples"`
		Sandbox  struct {
			Static []struct {
				Request struct {
					Parameters map[string]struct {
						Value any `json:"value"`
					} `json:"parameters"`
				} `json:"request"`
				Response json.RawMessage `json:"response"`
			} `json:"static"`
		} `json:"x-amzn-api-sandbox"`
	} `json:"responses"`
}

// published reads the vendor's models. They are not part of the project; without them
// a fixture of our own, of the same form, stands in.
func published(t *testing.T) (docs []model, theirs bool) {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "data", "vendor-specs.tar.zst"))
	if errors.Is(err, os.ErrNotExist) {
		b, err := os.ReadFile("testdata/model.json")
		if err != nil {
			t.Fatal(err)
		}
		var m model
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		return []model{m}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return docs, true
		}
		if err != nil {
			t.Fatal(err)
		}
		if base := filepath.Base(h.Name); strings.HasPrefix(base, "amazon_") && strings.HasSuffix(base, ".json") {
			var m model
			if err := json.NewDecoder(r).Decode(&m); err != nil {
				t.Logf("%s: %v", h.Name, err) // a schema, no model
				continue
			}
			docs = append(docs, m)
		}
	}
}

var usagePlan = regexp.MustCompile(`\|\s*([0-9.]+)\s*\|\s*([0-9]+)\s*\|`)

// stub is the marketplace that its models describe: paths, required fields, usage
// plans and sandbox answers.
type stub struct {
	t   *testing.T
	ops []*stubOp

	mu    sync.Mutex
	chaos func(op string, n int, body map[string]any) (status int, answer any) // 0: by the model
}

type stubOp struct {
	operation
	method string
	path   *regexp.Regexp
	body   *jsonschema.Schema
	good   json.RawMessage

	rate, burst, level float64
	at                 time.Time
	calls, over        int
	values             map[string]int64
	seqs               map[string]int64
}

// newStub makes it. Operations that publish no plan have the one given.
func newStub(t *testing.T, rate float64, burst int) *stub {
	t.Helper()
	docs, theirs := published(t)
	s := &stub{t: t}
	rates := 0
	for n, doc := range docs {
		c := jsonschema.NewCompiler()
		c.DefaultDraft(jsonschema.Draft4)
		name := fmt.Sprintf("model%d.json", n)
		if err := c.AddResource(name, map[string]any{"definitions": doc.Definitions}); err != nil {
			t.Fatal(err)
		}
		for path, item := range doc.Paths {
			for method, raw := range item {
				op := &stubOp{method: strings.ToUpper(method), rate: rate, burst: float64(burst), at: time.Now(), values: map[string]int64{}, seqs: map[string]int64{}}
				if json.Unmarshal(raw, &op.operation) != nil || op.ID == "" {
					continue // parameters that all methods share
				}
				if m := usagePlan.FindStringSubmatch(op.Description); m != nil {
					op.rate, _ = strconv.ParseFloat(m[1], 64)
					op.burst, _ = strconv.ParseFloat(m[2], 64)
					rates++
				}
				op.level = op.burst
				op.path = regexp.MustCompile("^" + regexp.MustCompile(`\\\{[^}]*\\\}`).ReplaceAllString(regexp.QuoteMeta(path), "([^/]+)") + "$")
				for _, p := range op.Parameters {
					if ref, ok := p.Schema.(map[string]any); ok && p.In == "body" {
						op.body = compile(t, c, name, ref)
					}
				}
				for _, status := range []string{"200", "207"} {
					r := op.Responses[status]
					for _, x := range r.Sandbox.Static {
						if op.good == nil {
							op.good = x.Response
						}
					}
					if op.good == nil {
						op.good = r.Examples["application/json"]
					}
				}
				s.ops = append(s.ops, op)
			}
		}
	}
	t.Logf("stub of %d operations, %d with a published plan (real models: %v)", len(s.ops), rates, theirs)
	return s
}

func compile(t *testing.T, c *jsonschema.Compiler, name string, ref map[string]any) *jsonschema.Schema {
	at, _ := ref["$ref"].(string)
	schema, err := c.Compile(name + at)
	if err != nil {
		t.Logf("%s: %v", at, err) // a schema that only this vendor's tools read
		return nil
	}
	return schema
}

func (s *stub) find(id string) *stubOp {
	for _, op := range s.ops {
		if op.ID == id {
			return op
		}
	}
	s.t.Fatalf("the models have no %s", id)
	return nil
}

func (s *stub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.ops {
		m := op.path.FindStringSubmatch(r.URL.Path)
		if m == nil || op.method != r.Method {
			continue
		}
		s.serve(w, r, op, m[1:], b)
		return
	}
	s.t.Errorf("the models have no %s %s", r.Method, r.URL.Path)
	w.WriteHeader(http.StatusNotFound)
}

func (s *stub) serve(w http.ResponseWriter, r *http.Request, op *stubOp, path []string, b []byte) {
	now := time.Now()
	op.level = min(op.burst, op.level+now.Sub(op.at).Seconds()*op.rate)
	op.at = now
	op.calls++
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("x-amzn-RateLimit-Limit", strconv.FormatFloat(op.rate, 'f', -1, 64))
	if op.level < 1 {
		op.over++
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	op.level--
	for _, p := range op.Parameters {
		if p.Required && p.In == "query" && r.URL.Query().Get(p.Name) == "" {
			s.t.Errorf("%s: parameter %s is required", op.ID, p.Name)
		}
	}
	var body any
	if err := json.Unmarshal(b, &body); err != nil {
		s.t.Errorf("%s: %v", op.ID, err)
	} else if op.body != nil {
		if err := op.body.Validate(body); err != nil {
			s.t.Errorf("%s: the call is not as the model says: %v", op.ID, err)
		}
	}
	m, _ := body.(map[string]any)
	if s.chaos != nil {
		if status, answer := s.chaos(op.ID, op.calls, m); status != 0 {
			w.WriteHeader(status)
			_ = json.NewEncoder(w).Encode(answer)
			return
		}
	}
	status, answer := op.by(path, m)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer)
}

// by answers as the sandbox does, for what was asked.
func (op *stubOp) by(path []string, body map[string]any) (int, any) {
	var good map[string]any
	_ = json.Unmarshal(op.good, &good)
	switch op.ID {
	case "patchListingsItem":
		value := body["patches"].([]any)[0].(map[string]any)["value"].([]any)[0].(map[string]any)
		op.values[path[1]] = int64(value["quantity"].(float64))
		good["sku"] = path[1]
		return http.StatusOK, good
	case "batchInventory":
		one := good["responses"].([]any)[0].(map[string]any)
		var list []any
		for _, q := range body["requests"].([]any) {
			q := q.(map[string]any)
			list = append(list, op.inventory(q, one))
		}
		return http.StatusMultiStatus, map[string]any{"responses": list}
	}
	return http.StatusOK, good
}

func (op *stubOp) inventory(q, like map[string]any) any {
	_, query, _ := strings.Cut(q["uri"].(string), "?")
	at := map[string]string{}
	for kv := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(kv, "=")
		at[k] = v
	}
	body := map[string]any{}
	for k, v := range like["body"].(map[string]any) {
		body[k] = v
	}
	b := q["body"].(map[string]any)
	key := at["skuId"] + "@" + at["locationId"]
	if seq := int64(b["clientSequenceNumber"].(float64)); seq >= op.seqs[key] { // the vendor takes no older number
		op.seqs[key] = seq
		op.values[key] = int64(b["quantity"].(float64))
	}
	body["skuId"], body["locationId"], body["sellableQuantity"], body["clientSequenceNumber"] = at["skuId"], at["locationId"], b["quantity"], b["clientSequenceNumber"]
	return map[string]any{"status": map[string]any{"statusCode": 200, "reasonPhrase": "Success"}, "body": body}
}

func (s *stub) state(id string) (calls, over int, values map[string]int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	op := s.find(id)
	values = map[string]int64{}
	for k, v := range op.values {
		values[k] = v
	}
	return op.calls, op.over, values
}
