package epcis

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// official reads files of the standard where they are at hand.
func official(t *testing.T) map[string][]byte {
	t.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", "vendor-specs.tar.zst"))
	if err != nil {
		t.Skip("the standard's schema and examples are not at hand: ", err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string][]byte{}
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if name := filepath.Base(h.Name); strings.HasSuffix(name, ".jsonld") || name == "epcis_json_schema.json" {
			if files[name], err = io.ReadAll(tr); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// spoilt makes variants of an event: each field left out, and each with values of
// other types.
func spoilt(e map[string]any) map[string]map[string]any {
	out := map[string]map[string]any{"as it is": e}
	for name := range e {
		if name == "type" {
			continue
		}
		for word, v := range map[string]any{"gone": nil, "number": 5.0, "text": "no such thing", "object": map[string]any{}, "list": []any{}, "list of text": []any{"x y"}, "list of objects": []any{map[string]any{}}} {
			c := maps.Clone(e)
			if c[name] = v; word == "gone" {
				delete(c, name)
			}
			out[name+" "+word] = c
		}
	}
	c := maps.Clone(e)
	c["unqualified"] = true
	out["a field more"] = c
	c = maps.Clone(e)
	c["example:qualified"] = true
	out["an extension"] = c
	return out
}

// passes are fields into which the two look differently: see the comment of shapes.
func passes(name string) bool {
	return strings.HasPrefix(name, "sensorElementList") || strings.HasPrefix(name, "bizStep text") || strings.HasPrefix(name, "@context") ||
		strings.Contains(name, ":") // extensions hold anything
}

// TestSchemaAgrees holds our shapes against the standard's own schema, on the events
// of its examples and thousands of spoilt ones.
func TestSchemaAgrees(t *testing.T) {
	files := official(t)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(files["epcis_json_schema.json"]))
	if err != nil {
		t.Fatal(err)
	}
	withoutLookahead(doc)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("epcis.json", doc); err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*jsonschema.Schema{}
	for kind := range shapes {
		if schemas[kind], err = c.Compile("epcis.json#/definitions/" + kind); err != nil {
			t.Fatal(err)
		}
	}
	n, refused := 0, 0
	for _, file := range slices.Sorted(maps.Keys(files)) {
		var d struct {
			Body struct {
				Events []map[string]any `json:"eventList"`
			} `json:"epcisBody"`
		}
		if json.Unmarshal(files[file], &d) != nil {
			continue
		}
		for i, e := range d.Body.Events {
			kind, _ := e["type"].(string)
			if schemas[kind] == nil {
				continue
			}
			for name, v := range spoilt(e) {
				raw, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				theirs, ours := schemas[kind].Validate(v), validate(raw, kind)
				n++
				if len(ours) > 0 {
					refused++
				}
				if (theirs == nil) != (len(ours) == 0) && !passes(name) {
					t.Errorf("%s/%d, %s: we say %v, the schema %v", file, i, name, ours, brief(theirs))
				}
			}
		}
	}
	if n < 2000 || refused < n/3 {
		t.Errorf("%d variants, %d refused", n, refused)
	}
	t.Logf("%d variants, %d refused", n, refused)
}

// withoutLookahead takes out the patterns that Go's expressions do not have: they
// refuse CBV words that are written as URNs, which are let pass here.
func withoutLookahead(v any) {
	switch v := v.(type) {
	case map[string]any:
		if p, ok := v["pattern"].(string); ok && strings.Contains(p, "(?!") {
			delete(v, "pattern")
		}
		for _, x := range v {
			withoutLookahead(x)
		}
	case []any:
		for _, x := range v {
			withoutLookahead(x)
		}
	}
}

func brief(err error) string {
	if err == nil {
		return "nothing"
	}
	return err.Error()[:min(len(err.Error()), 400)]
}
