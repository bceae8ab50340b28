package policy

import (
	"cmp"
	"maps"
	"slices"

	"tillwire/protocol"
)

// tier holds the rules of one SKU, of one category, or of any article, by where
// they hold; lists stand by precedence.
type tier struct {
	all   []rule
	group map[string][]rule
	loc   map[protocol.StoreID][]rule
}

func tierOf(rules []rule) *tier {
	l := &tier{group: map[string][]rule{}, loc: map[protocol.StoreID][]rule{}}
	for _, r := range rules {
		switch s := &r.Scope; {
		case s.Location != "":
			l.loc[s.Location] = append(l.loc[s.Location], r)
		case s.Group != "":
			l.group[s.Group] = append(l.group[s.Group], r)
		default:
			l.all = append(l.all, r)
		}
	}
	return l
}

// overlay lays rules of one tier over what less specific levels gave. Each of
// them is stronger than every rule below, so that a value is either theirs or
// stays. Each location is looked at once, with the few rules that hold there;
// locations that come to the default are left out, and those that had one answer
// below and get the same rules share one again.
func (s *Set) overlay(base *protocol.Holdbacks, rules []rule) *protocol.Holdbacks {
	if len(rules) == 0 {
		return base
	}
	o := overlaying{s: s, base: base, l: tierOf(rules), blends: map[blend]*protocol.Holdback{}, ones: map[numbers]*protocol.Holdback{}}
	all := stated{}
	all.take(o.l.all)
	o.out = &protocol.Holdbacks{Rev: s.Rev, UntilUS: s.UntilUS, Default: all.over(&base.Default)}
	if len(o.l.all) == 0 && len(o.l.group) == 0 { // rules of single locations: the others stay
		o.out.At = maps.Clone(base.At)
	} else {
		for loc := range base.At {
			o.put(loc)
		}
	}
	for g := range o.l.group {
		for _, loc := range s.members[g] {
			o.put(loc)
		}
	}
	for loc := range o.l.loc {
		o.put(loc)
	}
	return o.out
}

// overlaying is one run of overlay.
type overlaying struct {
	s      *Set
	base   *protocol.Holdbacks
	l      *tier
	out    *protocol.Holdbacks
	blends map[blend]*protocol.Holdback
	ones   map[numbers]*protocol.Holdback
}

// blend names what locations without rules of their own have in common.
type blend struct {
	base  *protocol.Holdback
	group string
}

// put resolves one location.
func (o *overlaying) put(loc protocol.StoreID) {
	own, group := o.l.loc[loc], ""
	if own != nil || len(o.l.group) > 0 {
		group = o.s.w.Group(loc)
	}
	key := blend{o.base.For(loc), group}
	if o.l.group[group] == nil {
		key.group = ""
	}
	h := o.blends[key]
	if own != nil || h == nil {
		var k stated
		for _, r := range own {
			if r.Scope.Group == "" || r.Scope.Group == group {
				k.take([]rule{r})
			}
		}
		if key.group != "" {
			k.take(o.l.group[group])
		}
		k.take(o.l.all)
		if h = o.one(k.over(key.base)); own == nil {
			o.blends[key] = h
		}
	}
	if equal(h, &o.out.Default) {
		delete(o.out.At, loc)
		return
	}
	if o.out.At == nil {
		o.out.At = make(map[protocol.StoreID]*protocol.Holdback, max(len(o.base.At), len(o.l.loc)))
	}
	o.out.At[loc] = h
}

// numbers are a Holdback that fences nothing.
type numbers struct {
	safety, threshold, escrow, lowAt protocol.Quantity
	alpha                            float64
	darkAfterS                       int64
}

// one gives equal answers one address, so that thousands of locations with rules
// of their own need no more room than they have different values. Those with
// fences are shared by blend alone.
func (o *overlaying) one(h protocol.Holdback) *protocol.Holdback {
	if h.Fences != nil {
		return &h
	}
	key := numbers{h.Safety, h.Threshold, h.Escrow, h.LowAt, h.Alpha, h.DarkAfterS}
	if o.ones[key] == nil {
		o.ones[key] = &h
	}
	return o.ones[key]
}

// stated is what rules state together: the first that states a value gives it.
type stated struct {
	v      protocol.PolicyValues
	fences []protocol.Fence
}

func (k *stated) take(list []rule) {
	for _, r := range list {
		v := &r.Values
		if r.Scope.Channel != "" {
			if c := r.Scope.Channel; v.Fence != nil && !slices.ContainsFunc(k.fences, func(f protocol.Fence) bool { return f.Channel == c }) {
				k.fences = append(k.fences, protocol.Fence{Channel: c, Quantity: *v.Fence})
			}
			continue
		}
		k.v.SafetyStock = cmp.Or(k.v.SafetyStock, v.SafetyStock)
		k.v.Threshold = cmp.Or(k.v.Threshold, v.Threshold)
		k.v.Escrow = cmp.Or(k.v.Escrow, v.Escrow)
		k.v.LowAt = cmp.Or(k.v.LowAt, v.LowAt)
		k.v.ServiceLevel = cmp.Or(k.v.ServiceLevel, v.ServiceLevel)
		k.v.DarkAfterS = cmp.Or(k.v.DarkAfterS, v.DarkAfterS)
	}
}

// over gives base with what is stated in its place.
func (k *stated) over(base *protocol.Holdback) protocol.Holdback {
	return protocol.Holdback{
		Safety: or(k.v.SafetyStock, base.Safety), Threshold: or(k.v.Threshold, base.Threshold), Escrow: or(k.v.Escrow, base.Escrow),
		LowAt: or(k.v.LowAt, base.LowAt), Alpha: or(k.v.ServiceLevel, base.Alpha), DarkAfterS: or(k.v.DarkAfterS, base.DarkAfterS),
		Fences: k.fenced(base.Fences),
	}
}

// fenced replaces or adds quotas by channel. A quota of zero is none.
func (k *stated) fenced(base []protocol.Fence) []protocol.Fence {
	if len(k.fences) == 0 {
		return base
	}
	out := slices.Clone(k.fences)
	for _, f := range base {
		if !slices.ContainsFunc(k.fences, func(x protocol.Fence) bool { return x.Channel == f.Channel }) {
			out = append(out, f)
		}
	}
	out = slices.DeleteFunc(out, func(f protocol.Fence) bool { return f.Quantity <= 0 })
	if len(out) == 0 {
		return nil
	}
	slices.SortFunc(out, func(a, b protocol.Fence) int { return cmp.Compare(a.Channel, b.Channel) })
	return out
}

func or[T any](v *T, usual T) T {
	if v == nil {
		return usual
	}
	return *v
}

func equal(a, b *protocol.Holdback) bool {
	return a.Safety == b.Safety && a.Threshold == b.Threshold && a.Escrow == b.Escrow && a.LowAt == b.LowAt &&
		a.Alpha == b.Alpha && a.DarkAfterS == b.DarkAfterS && slices.Equal(a.Fences, b.Fences)
}
