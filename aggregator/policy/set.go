package policy

import (
	"cmp"
	"slices"

	"tillwire/protocol"
)

// World tells what scopes refer to. A Set asks it at any time, from any goroutine.
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
	Lacking bool  // of the past: versions that may have been in force are forgotten here
	w       World
	bySKU   map[protocol.SKU][]rule // by precedence
	byCat   map[string][]rule
	general []rule
	members map[string][]protocol.StoreID  // of groups that policies name
	plain   *protocol.Holdbacks            // of articles that no policy and no category's names
	shared  map[string]*protocol.Holdbacks // per category that policies name
}

// rule is a policy in force.
type rule struct {
	*protocol.Policy
	rank int
}

// ruleOf ranks a policy: the SKU before its category before any; then the
// location before its group before any; then a channel before any.
func ruleOf(p *protocol.Policy) rule {
	s, rank := &p.Scope, 0
	for _, named := range [][2]bool{{s.SKU != "", s.Category != ""}, {s.Location != "", s.Group != ""}, {s.Channel != "", false}} {
		rank *= 3
		if named[0] {
			rank += 2
		} else if named[1] {
			rank++
		}
	}
	return rule{p, rank}
}

// precede orders rules by rank, then the newer first.
func precede(a, b rule) int {
	return cmp.Or(cmp.Compare(b.rank, a.rank), b.ChangedAt.Compare(a.ChangedAt), cmp.Compare(a.PolicyID, b.PolicyID))
}

// Snapshot compiles what is in force at nowUS.
func (b *Book) Snapshot(w World, nowUS int64) *Set {
	return b.compile(w, nowUS, func(v []protocol.Policy) *protocol.Policy { return &v[len(v)-1] })
}

// At compiles what was in force at a past moment: the versions made by then. What
// was stated later, even with an earlier valid_from, did not act then.
func (b *Book) At(w World, us int64) *Set {
	s := b.compile(w, us, func(v []protocol.Policy) *protocol.Policy {
		for i := range slices.Backward(v) {
			if v[i].ChangedAt.UnixMicro() <= us {
				return &v[i]
			}
		}
		return nil
	})
	s.Lacking = us < b.goneUS
	return s
}

func (b *Book) compile(w World, us int64, version func([]protocol.Policy) *protocol.Policy) *Set {
	s := &Set{Rev: b.rev, w: w, bySKU: map[protocol.SKU][]rule{}, byCat: map[string][]rule{}, members: map[string][]protocol.StoreID{}, shared: map[string]*protocol.Holdbacks{}}
	var rules []rule
	for _, v := range b.all {
		if p := version(v); p != nil && !p.Deleted && s.dated(p, us) {
			c := *p
			rules = append(rules, ruleOf(&c))
		}
	}
	slices.SortFunc(rules, precede)
	for _, r := range rules {
		if g := r.Scope.Group; g != "" && s.members[g] == nil {
			s.members[g] = w.In(g)
		}
		switch {
		case r.Scope.SKU != "":
			s.bySKU[r.Scope.SKU] = append(s.bySKU[r.Scope.SKU], r)
		case r.Scope.Category != "":
			s.byCat[r.Scope.Category] = append(s.byCat[r.Scope.Category], r)
		default:
			s.general = append(s.general, r)
		}
	}
	s.plain = s.overlay(&protocol.Holdbacks{
		Rev: s.Rev, UntilUS: s.UntilUS,
		Default: protocol.Holdback{Alpha: protocol.ServiceLevelUsual, DarkAfterS: protocol.DarkAfterUsualS},
	}, s.general)
	for cat, list := range s.byCat {
		s.shared[cat] = s.overlay(s.plain, list)
	}
	return s
}

// dated tells whether a policy's dates hold, and bounds the Set by them.
func (s *Set) dated(p *protocol.Policy, us int64) bool {
	if p.ValidFrom != nil && p.ValidFrom.UnixMicro() > us {
		s.until(p.ValidFrom.UnixMicro())
		return false
	}
	if p.ValidTo == nil {
		return true
	}
	if p.ValidTo.UnixMicro() <= us {
		return false
	}
	s.until(p.ValidTo.UnixMicro())
	return true
}

func (s *Set) until(us int64) {
	if s.UntilUS == 0 || us < s.UntilUS {
		s.UntilUS = us
	}
}

// category is asked of the world only where a policy could depend on it.
func (s *Set) category(sku protocol.SKU) string {
	if len(s.byCat) == 0 && s.bySKU[sku] == nil {
		return ""
	}
	return s.w.Category(sku)
}

// own lists the policies of an article itself, by precedence. One that names a
// category as well holds only while the article is in it.
func (s *Set) own(sku protocol.SKU, cat string) []rule {
	elsewhere := func(r rule) bool { return r.Scope.Category != "" && r.Scope.Category != cat }
	list := s.bySKU[sku]
	if slices.ContainsFunc(list, elsewhere) {
		list = slices.DeleteFunc(slices.Clone(list), elsewhere)
	}
	return list
}

// of lists the rules that concern an article, by precedence.
func (s *Set) of(sku protocol.SKU) []rule {
	cat := s.category(sku)
	return slices.Concat(s.own(sku, cat), s.byCat[cat], s.general)
}

// For gives what is held back of an article. Articles without a policy of their
// own share their category's.
func (s *Set) For(sku protocol.SKU) *protocol.Holdbacks {
	cat := s.category(sku)
	base := s.plain
	if h := s.shared[cat]; h != nil {
		base = h
	}
	return s.overlay(base, s.own(sku, cat))
}
