package intake

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tillwire/protocol/openapi"
)

// A reader of the part of OpenAPI 3.1 and JSON Schema 2020-12 that our document
// uses. A keyword that it does not know fails the test, so nothing in the
// document goes unchecked.

type spec struct {
	t    *testing.T
	root map[string]any
}

type operation struct {
	method, path string
	spec         map[string]any
}

func readSpec(t *testing.T) *spec {
	t.Helper()
	d := &spec{t: t}
	if err := json.Unmarshal(openapi.Agent(), &d.root); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *spec) operations() (out []operation) {
	for path, item := range d.root["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			out = append(out, operation{method, path, op.(map[string]any)})
		}
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.path, b.path) })
	return out
}

func (o operation) responses() map[string]any { return o.spec["responses"].(map[string]any) }

// resolve follows a $ref; what is none is given back.
func (d *spec) resolve(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	ref, ok := m["$ref"].(string)
	if !ok {
		return v
	}
	var at any = d.root
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		at = m[part]
	}
	return at
}

func (d *spec) eachRef(v any, fn func(string)) {
	switch v := v.(type) {
	case map[string]any:
		if ref, ok := v["$ref"].(string); ok {
			fn(ref)
		}
		for _, x := range v {
			d.eachRef(x, fn)
		}
	case []any:
		for _, x := range v {
			d.eachRef(x, fn)
		}
	}
}

// matches checks a value against a schema.
func (d *spec) matches(schema, v any, at string) error {
	s, ok := d.resolve(schema).(map[string]any)
	if !ok {
		return fmt.Errorf("%s: no schema", at)
	}
	for word, arg := range s {
		if err := d.keyword(s, word, arg, v, at); err != nil {
			return err
		}
	}
	return nil
}

func (d *spec) keyword(s map[string]any, word string, arg, v any, at string) error {
	no := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{at}, args...)...)
	}
	switch word {
	case "description", "default", "example", "minimum", "maximum", "exclusiveMinimum", "multipleOf", "format", "minLength", "maxLength", "pattern":
		return d.scalar(word, arg, v, at)
	case "type":
		types, many := arg.([]any)
		if !many {
			types = []any{arg}
		}
		if !slices.ContainsFunc(types, func(t any) bool { return isType(t, v) }) {
			return no("is %T, want %v", v, arg)
		}
	case "const":
		if v != arg {
			return no("is %v, want %v", v, arg)
		}
	case "enum":
		if !slices.Contains(arg.([]any), v) {
			return no("is %v, want one of %v", v, arg)
		}
	case "not":
		if d.matches(arg, v, at) == nil {
			return no("must not match %v", arg)
		}
	case "allOf":
		for _, x := range arg.([]any) {
			if err := d.matches(x, v, at); err != nil {
				return err
			}
		}
	case "oneOf":
		n := 0
		for _, x := range arg.([]any) {
			if d.matches(x, v, at) == nil {
				n++
			}
		}
		if n != 1 {
			return no("matches %d of oneOf", n)
		}
	case "required", "properties", "additionalProperties":
		return d.object(s, word, arg, v, at)
	case "items", "minItems", "maxItems":
		return d.array(word, arg, v, at)
	default:
		return no("keyword %s is not known to this test", word)
	}
	return nil
}

func (d *spec) object(s map[string]any, word string, arg, v any, at string) error {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	switch word {
	case "required":
		for _, name := range arg.([]any) {
			if _, there := m[name.(string)]; !there {
				return fmt.Errorf("%s: lacks %s", at, name)
			}
		}
	case "properties":
		for name, schema := range arg.(map[string]any) {
			if x, there := m[name]; there {
				if err := d.matches(schema, x, at+"/"+name); err != nil {
					return err
				}
			}
		}
		// Our own answers have nothing that is not documented.
		for name := range m {
			if _, there := arg.(map[string]any)[name]; !there {
				return fmt.Errorf("%s: has %s, which is not documented", at, name)
			}
		}
	case "additionalProperties":
		if arg != false || s["properties"] == nil {
			return fmt.Errorf("%s: additionalProperties is %v", at, arg)
		}
	}
	return nil
}

func (d *spec) array(word string, arg, v any, at string) error {
	a, ok := v.([]any)
	if !ok {
		return nil
	}
	switch {
	case word == "minItems" && len(a) < int(arg.(float64)), word == "maxItems" && len(a) > int(arg.(float64)):
		return fmt.Errorf("%s: %d items", at, len(a))
	case word == "items":
		for i, x := range a {
			if err := d.matches(arg, x, fmt.Sprint(at, "/", i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *spec) scalar(word string, arg, v any, at string) error {
	bad := false
	switch x := v.(type) {
	case float64:
		limit, _ := arg.(float64)
		bad = word == "minimum" && x < limit || word == "maximum" && x > limit || word == "exclusiveMinimum" && x <= limit ||
			word == "multipleOf" && math.Abs(x/limit-math.Round(x/limit)) > 1e-6
	case string:
		switch word {
		case "minLength":
			bad = utf8.RuneCountInString(x) < int(arg.(float64))
		case "maxLength":
			bad = utf8.RuneCountInString(x) > int(arg.(float64))
		case "pattern":
			bad = !regexp.MustCompile(arg.(string)).MatchString(x)
		case "format":
			layout := map[any]string{"date-time": time.RFC3339Nano, "date": time.DateOnly}[arg]
			_, err := time.Parse(layout, x)
			bad = layout == "" || err != nil
		}
	}
	if bad {
		return fmt.Errorf("%s: %v breaks %s %v", at, v, word, arg)
	}
	return nil
}

func isType(t, v any) bool {
	switch v := v.(type) {
	case nil:
		return t == "null"
	case bool:
		return t == "boolean"
	case string:
		return t == "string"
	case float64:
		return t == "number" || t == "integer" && v == math.Trunc(v)
	case []any:
		return t == "array"
	}
	return t == "object"
}
