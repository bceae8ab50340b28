package protocol

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol/openapi"
)

// TestDocumentFieldsAreDocumented holds the decoder's tables and the schemas of
// the agent's OpenAPI document together, field by field.
func TestDocumentFieldsAreDocumented(t *testing.T) {
	type schema struct {
		Required             []string
		AdditionalProperties *bool
		Properties           map[string]struct {
			Const string
			Items struct {
				Required             []string
				AdditionalProperties *bool
				Properties           map[string]json.RawMessage
			}
		}
	}
	var doc struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(openapi.Agent(), &doc); err != nil {
		t.Fatal(err)
	}
	var bulk struct {
		OneOf []struct {
			Ref string `json:"$ref"`
		}
	}
	if err := json.Unmarshal(doc.Components.Schemas["Document"], &bulk); err != nil {
		t.Fatal(err)
	}
	inBulk := map[string]bool{}
	for _, x := range bulk.OneOf {
		inBulk[strings.TrimPrefix(x.Ref, "#/components/schemas/")] = true
	}
	names := map[Kind]string{
		KindSale: "Sale", KindReturn: "Return", KindCount: "Count", KindReceipt: "Receipt",
		KindAdjustment: "Adjustment", KindTransfer: "Transfer", KindVoid: "Void", KindStatusChange: "StatusChange", KindKit: "Kit",
	}
	if len(inBulk) != len(names) {
		t.Errorf("/v1/events takes %d kinds, documented are %d", len(names), len(inBulk))
	}
	for k, name := range names {
		if !inBulk[name] || !movements.has(k) {
			t.Errorf("%s is not for /v1/events", name)
		}
		var s schema
		if err := json.Unmarshal(doc.Components.Schemas[name], &s); err != nil {
			t.Fatal(name, err)
		}
		r := docReader{e: &Event{Kind: k}}
		var fields, needed, lines []string
		for f := docUnknown + 1; f < docFieldCount; f++ {
			if r.knows(f) {
				fields = append(fields, docRules[f].name)
			}
			if docRules[f].needed.has(k) {
				needed = append(needed, docRules[f].name)
			}
		}
		for f := lineUnknown + 1; f < lineFieldCount; f++ {
			if lineRules[f].allowed.has(k) {
				lines = append(lines, lineRules[f].name)
			}
		}
		if d := cmp.Diff(sorted(fields), keys(s.Properties)); d != "" {
			t.Errorf("%s fields: %s", name, d)
		}
		if d := cmp.Diff(sorted(needed), sorted(s.Required)); d != "" {
			t.Errorf("%s required: %s", name, d)
		}
		if s.AdditionalProperties == nil || *s.AdditionalProperties || s.Properties["kind"].Const != k.String() {
			t.Errorf("%s allows unknown fields or another kind", name)
		}
		if k == KindVoid {
			continue // its lines may only be empty
		}
		if d := cmp.Diff(sorted(lines), keys(s.Properties["lines"].Items.Properties)); d != "" {
			t.Errorf("%s lines: %s", name, d)
		}
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

func keys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	return sorted(out)
}
