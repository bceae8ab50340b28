package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"tillwire/protocol"
)

// World tells what scopes refer to.
type World interface {
	Category(sku protocol.SKU) string
	Group(loc protocol.StoreID) string
	In(group string) []protocol.StoreID // a group's locations
}

// Set is the policies compiled for one stretch of time: immutable, for any
// goroutine. From UntilUS on another must be made.
type Set struct {
	Rev     uint64
	UntilUS int64 // 0: for ever
	w       World
	rules   []rule // all in force, by precedence
	bySKU   map[protocol.SKU][]rule
	byCat   map[string][]rule
	general []rule
	shared  map[string]*protocol.Holdbacks // per category that policies name; "" the rest
}

// rule is a policy in force.
type rule struct{ *protocol.Policy }

// rank orders rules: the SKU before its category before any; then the location
// before its group before any; then a channel before any; then the newer.
func (r rule) rank() [3]int {
	s := &r.Scope
	return [3]int{level(s.SKU != "", s.Category != ""), level(s.Location != "", s.Group != ""), level(s.Channel != "", false)}
}

func level(exact, wide bool) int {
	switch {
	case exact:
		return 2
	case wide:
		return 1
	}
	return 0
}

func precede(a, b rule) int {
	x, y := a.rank(), b.rank()
	return cmp.Or(
		cmp.Compare(y[0], x[0]), cmp.Compare(y[1], x[1]), cmp.Compare(y[2], x[2]),
		b.ChangedAt.Compare(a.ChangedAt), cmp.Compare(a.PolicyID, b.PolicyID),
	)
}

// Snapshot compiles what is in force at nowUS.
func (b *Book) Snapshot(w World, nowUS int64) *Set {
	s := &Set{Rev: b.rev, w: w, bySKU: map[protocol.SKU][]rule{}, byCat: map[string][]rule{}, shared: map[string]*protocol.Holdbacks{}}
	for _, v := range b.all {
		p := &v[len(v)-1]
		if p.Deleted {
			continue
		}
		if p.ValidFrom != nil && p.ValidFrom.UnixMicro() > nowUS {
			s.until(p.ValidFrom.UnixMicro())
			continue
		}
		if p.ValidTo != nil {
			if p.ValidTo.UnixMicro() <= nowUS {
				continue
			}
			s.until(p.ValidTo.UnixMicro())
		}
		c := *p
		s.rules = append(s.rules, rule{&c})
	}
	slices.SortFunc(s.rules, precede)
	for _, r := range s.rules {
		switch {
		case r.Scope.SKU != "":
			s.bySKU[r.Scope.SKU] = append(s.bySKU[r.Scope.SKU], r)
		case r.Scope.Category != "":
			s.byCat[r.Scope.Category] = append(s.byCat[r.Scope.Category], r)
		default:
			s.general = append(s.general, r)
		}
	}
	s.shared[""] = s.compile(s.general)
	for cat, list := range s.byCat {
		s.shared[cat] = s.compile(slices.Concat(list, s.general))
	}
	return s
}

func (s *Set) until(us int64) {
	if s.UntilUS == 0 || us < s.UntilUS {
		s.UntilUS = us
	}
}

// of lists the rules that concern an article, by precedence.
func (s *Set) of(sku protocol.SKU) []rule {
	cat := ""
	if len(s.byCat) > 0 {
		cat = s.w.Category(sku)
	}
	return slices.Concat(s.bySKU[sku], s.byCat[cat], s.general)
}

// For gives what is held back of an article. Articles without a policy of their
// own share their category's.
func (s *Set) For(sku protocol.SKU) *protocol.Holdbacks {
	if len(s.bySKU[sku]) > 0 {
		return s.compile(s.of(sku))
	}
	if len(s.byCat) > 0 {
		if h := s.shared[s.w.Category(sku)]; h != nil {
			return h
		}
	}
	return s.shared[""]
}

// compile resolves rules for every location that any of them names.
func (s *Set) compile(rules []rule) *protocol.Holdbacks {
	h := &protocol.Holdbacks{Rev: s.Rev, UntilUS: s.UntilUS, Default: resolve(rules, "", "")}
	named := map[protocol.StoreID]bool{}
	for _, r := range rules {
		if r.Scope.Location != "" {
			named[r.Scope.Location] = true
		}
		if r.Scope.Group != "" {
			for _, loc := range s.w.In(r.Scope.Group) {
				named[loc] = true
			}
		}
	}
	for loc := range named {
		x := resolve(rules, loc, s.w.Group(loc))
		if !equal(&x, &h.Default) {
			if h.At == nil {
				h.At = map[protocol.StoreID]*protocol.Holdback{}
			}
			h.At[loc] = &x
		}
	}
	return h
}

func equal(a, b *protocol.Holdback) bool {
	return a.Safety == b.Safety && a.Threshold == b.Threshold && a.Escrow == b.Escrow && a.LowAt == b.LowAt &&
		a.Alpha == b.Alpha && a.DarkAfterS == b.DarkAfterS && slices.Equal(a.Fences, b.Fences)
}

func (r rule) holds(loc protocol.StoreID, group string) bool {
	s := &r.Scope
	return (s.Location == "" || s.Location == loc) && (s.Group == "" || s.Group == group)
}

// first finds the value of the first rule that holds and states one.
func first[T any](rules []rule, loc protocol.StoreID, group string, value func(*protocol.PolicyValues) *T) (v T, by *protocol.Policy) {
	for _, r := range rules {
		if r.holds(loc, group) {
			if x := value(&r.Values); x != nil {
				return *x, r.Policy
			}
		}
	}
	return v, nil
}

func resolve(rules []rule, loc protocol.StoreID, group string) protocol.Holdback {
	h := protocol.Holdback{Alpha: protocol.ServiceLevelUsual, DarkAfterS: protocol.DarkAfterUsualS}
	h.Safety, _ = first(rules, loc, group, func(v *protocol.PolicyValues) *protocol.Quantity { return v.SafetyStock })
	h.Threshold, _ = first(rules, loc, group, func(v *protocol.PolicyValues) *protocol.Quantity { return v.Threshold })
	h.Escrow, _ = first(rules, loc, group, func(v *protocol.PolicyValues) *protocol.Quantity { return v.Escrow })
	h.LowAt, _ = first(rules, loc, group, func(v *protocol.PolicyValues) *protocol.Quantity { return v.LowAt })
	if a, by := first(rules, loc, group, func(v *protocol.PolicyValues) *float64 { return v.ServiceLevel }); by != nil {
		h.Alpha = a
	}
	if d, by := first(rules, loc, group, func(v *protocol.PolicyValues) *int64 { return v.DarkAfterS }); by != nil {
		h.DarkAfterS = d
	}
	for _, c := range fences(rules, loc, group) {
		h.Fences = append(h.Fences, protocol.Fence{Channel: c.Scope.Channel, Quantity: *c.Values.Fence})
	}
	return h
}

// fences finds each channel's quota, in order of channel.
func fences(rules []rule, loc protocol.StoreID, group string) []*protocol.Policy {
	by := map[string]*protocol.Policy{}
	for _, r := range rules {
		if r.Values.Fence != nil && r.holds(loc, group) && by[r.Scope.Channel] == nil {
			by[r.Scope.Channel] = r.Policy
		}
	}
	var out []*protocol.Policy
	for _, c := range slices.Sorted(maps.Keys(by)) {
		if *by[c].Values.Fence > 0 {
			out = append(out, by[c])
		}
	}
	return out
}

// Sourcing and Resource say how an article is sourced, and whether a promise that
// stock no longer covers is sourced again.
func (s *Set) Sourcing(sku protocol.SKU) string {
	v, _ := first(s.of(sku), "", "", func(v *protocol.PolicyValues) *string { return v.Sourcing })
	return v
}

// Resource tells whether a conflict at a position is sourced again elsewhere.
func (s *Set) Resource(sku protocol.SKU, loc protocol.StoreID) bool {
	v, _ := first(s.of(sku), loc, s.w.Group(loc), func(v *protocol.PolicyValues) *string { return v.OnConflict })
	return v == protocol.OnConflictSource
}

// Explain names the policies behind a position's hold-backs: safety stock and
// threshold, and what is fenced for channels other than the one that asks.
func (s *Set) Explain(sku protocol.SKU, loc protocol.StoreID, channel string) (out []protocol.ExplainBuffer) {
	rules, group := s.of(sku), s.w.Group(loc)
	add := func(quantity, what string, v protocol.Quantity, by *protocol.Policy) {
		if by != nil && v != 0 {
			out = append(out, protocol.ExplainBuffer{
				Quantity: quantity, Value: v, PolicyID: by.PolicyID, Version: by.Version,
				Reason: fmt.Sprintf("%s of policy %s, version %d", what, by.PolicyID, by.Version),
			})
		}
	}
	v, by := first(rules, loc, group, func(v *protocol.PolicyValues) *protocol.Quantity { return v.SafetyStock })
	add("safety_stock", "safety stock", v, by)
	v, by = first(rules, loc, group, func(v *protocol.PolicyValues) *protocol.Quantity { return v.Threshold })
	add("safety_stock", "threshold", v, by)
	for _, p := range fences(rules, loc, group) {
		if p.Scope.Channel != channel && channel != "" {
			add("fenced", "fence for "+p.Scope.Channel, *p.Values.Fence, p)
		}
	}
	return out
}
