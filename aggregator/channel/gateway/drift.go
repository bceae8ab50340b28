package gateway

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"tillwire/protocol"
)

// Shape is what of a partner's document is known: fields by JSON pointer, * for any
// index. A pointer that ends in /** knows all below it. Required are those without
// which the document cannot take effect.
type Shape struct {
	Known    []string
	Required []string
}

// Fields lists the pointers of a JSON value, each once.
func Fields(v any) []string {
	seen := map[string]bool{}
	fields("", v, seen)
	out := make([]string, 0, len(seen))
	for p := range seen {
		out = append(out, p)
	}
	sort.Strings(out)
	return out
}

func fields(at string, v any, seen map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			p := at + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k)
			seen[p] = true
			fields(p, x, seen)
		}
	case []any:
		for _, x := range v {
			fields(at+"/*", x, seen)
		}
	}
}

// Judge tells which fields of a document are not known, and which are missing. A
// field of an array's items is missing where one item lacks it.
func (s *Shape) Judge(doc []byte) (unknown, missing []string, err error) {
	var v any
	if err := json.Unmarshal(doc, &v); err != nil {
		return nil, nil, fmt.Errorf("decode: %w", err)
	}
	for _, p := range Fields(v) {
		if !s.knows(p) {
			unknown = append(unknown, p)
		}
	}
	for _, p := range s.Required {
		if !present(v, strings.Split(strings.TrimPrefix(p, "/"), "/")) {
			missing = append(missing, p)
		}
	}
	return unknown, missing, nil
}

func (s *Shape) knows(p string) bool {
	return slices.ContainsFunc(s.Known, func(k string) bool {
		if below, all := strings.CutSuffix(k, "/**"); all {
			return p == below || strings.HasPrefix(p, below+"/") || strings.HasPrefix(below, p+"/")
		}
		return k == p || strings.HasPrefix(k, p+"/")
	})
}

func present(v any, path []string) bool {
	if len(path) == 0 {
		return v != nil
	}
	switch v := v.(type) {
	case map[string]any:
		x, ok := v[path[0]]
		return ok && present(x, path[1:])
	case []any:
		return path[0] == "*" && !slices.ContainsFunc(v, func(x any) bool { return !present(x, path[1:]) })
	}
	return false
}

// Drift is what a partner sends beyond what is known of it.
type Drift struct {
	m map[[2]string]*protocol.SchemaDrift
}

// Note counts fields; it tells those that are new.
func (d *Drift) Note(where string, unknown []string, at time.Time) (fresh []string) {
	for _, f := range unknown {
		k := [2]string{where, f}
		x := d.m[k]
		if x == nil {
			if len(d.m) >= driftMax {
				continue
			}
			if d.m == nil {
				d.m = map[[2]string]*protocol.SchemaDrift{}
			}
			x = &protocol.SchemaDrift{Where: where, Field: f, FirstAt: at}
			d.m[k] = x
			fresh = append(fresh, f)
		}
		x.Count++
		x.LastAt = at
	}
	return fresh
}

// List tells them in order.
func (d *Drift) List() []protocol.SchemaDrift {
	out := make([]protocol.SchemaDrift, 0, len(d.m))
	for _, x := range d.m {
		out = append(out, *x)
	}
	slices.SortFunc(out, func(a, b protocol.SchemaDrift) int { return strings.Compare(a.Where+a.Field, b.Where+b.Field) })
	return out
}
