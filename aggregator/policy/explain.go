package policy

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"tillwire/protocol"
)

// holds tells whether a rule reaches a location and speaks for every channel, or
// for the one that is asked for.
func (r rule) holds(loc protocol.StoreID, group, channel string) bool {
	s := &r.Scope
	return (s.Location == "" || s.Location == loc) && (s.Group == "" || s.Group == group) && (s.Channel == "" || s.Channel == channel)
}

// first finds the value of the first rule that holds and states one. channel is
// "" for what positions have as a whole.
func first[T any](rules []rule, loc protocol.StoreID, group, channel string, value func(*protocol.PolicyValues) *T) (v T, by *protocol.Policy) {
	for _, r := range rules {
		if r.holds(loc, group, channel) {
			if x := value(&r.Values); x != nil {
				return *x, r.Policy
			}
		}
	}
	return v, nil
}

// fences finds each channel's quota, in order of channel. A quota of zero takes
// the place of less specific ones and is no fence.
func fences(rules []rule, loc protocol.StoreID, group string) (out []*protocol.Policy) {
	seen := map[string]bool{}
	for _, r := range rules {
		if c := r.Scope.Channel; r.Values.Fence != nil && c != "" && r.holds(loc, group, c) && !seen[c] {
			if seen[c] = true; *r.Values.Fence > 0 {
				out = append(out, r.Policy)
			}
		}
	}
	slices.SortFunc(out, func(a, b *protocol.Policy) int {
		if a.Scope.Channel < b.Scope.Channel {
			return -1
		}
		return 1 // no channel stands twice
	})
	return out
}

// Sourcing says how an article is sourced; "" where no policy does. No location is
// chosen yet, so that policies of single ones have no say.
func (s *Set) Sourcing(sku protocol.SKU) string {
	cat := s.category(sku)
	for _, list := range [][]rule{s.own(sku, cat), s.byCat[cat], s.general} {
		if v, by := first(list, "", "", "", sourcingOf); by != nil {
			return v
		}
	}
	return ""
}

// Resource tells whether a conflict at a position is sourced again elsewhere.
func (s *Set) Resource(sku protocol.SKU, loc protocol.StoreID) bool {
	v, _ := first(s.of(sku), loc, s.w.Group(loc), "", onConflictOf)
	return v == protocol.OnConflictSource
}

// LowAt is the quantity at or below which a position is low for a channel. What
// a Holdback says is for those without a low_at of their own.
func (s *Set) LowAt(sku protocol.SKU, loc protocol.StoreID, channel string) protocol.Quantity {
	v, _ := first(s.of(sku), loc, s.w.Group(loc), channel, lowAtOf)
	return v
}

func safetyOf(v *protocol.PolicyValues) *protocol.Quantity    { return v.SafetyStock }
func thresholdOf(v *protocol.PolicyValues) *protocol.Quantity { return v.Threshold }
func lowAtOf(v *protocol.PolicyValues) *protocol.Quantity     { return v.LowAt }
func escrowOf(v *protocol.PolicyValues) *protocol.Quantity    { return v.Escrow }
func sourcingOf(v *protocol.PolicyValues) *string             { return v.Sourcing }
func onConflictOf(v *protocol.PolicyValues) *string           { return v.OnConflict }
func levelOfService(v *protocol.PolicyValues) *float64        { return v.ServiceLevel }
func darkAfterOf(v *protocol.PolicyValues) *int64             { return v.DarkAfterS }

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
	v, by := first(rules, loc, group, "", safetyOf)
	add("safety_stock", "safety stock", v, by)
	v, by = first(rules, loc, group, "", thresholdOf)
	add("safety_stock", "threshold", v, by)
	for _, p := range fences(rules, loc, group) {
		if p.Scope.Channel != channel && channel != "" {
			add("fenced", "fence for "+p.Scope.Channel, *p.Values.Fence, p)
		}
	}
	return out
}

// Provenance is one value that holds at a position, and who says so.
type Provenance struct {
	Name      string               `json:"name"`             // as in protocol.PolicyValues
	Value     string               `json:"value"`            // a quantity, a level, seconds, or a word
	Channel   string               `json:"channel,omitzero"` // of a fence: whose quota it is
	Default   bool                 `json:"default"`          // no policy says so
	PolicyID  string               `json:"policy_id,omitzero"`
	Version   uint64               `json:"version,omitzero"`
	Scope     protocol.PolicyScope `json:"scope,omitzero"`
	ValidFrom *time.Time           `json:"valid_from,omitempty"`
	ValidTo   *time.Time           `json:"valid_to,omitempty"`
}

// Provenance lists every value that holds at a position, in the order of
// protocol.PolicyValues and the fences of all channels last, with the policy that
// gave it. low_at is the channel's.
func (s *Set) Provenance(sku protocol.SKU, loc protocol.StoreID, channel string) (out []Provenance) {
	rules, group := s.of(sku), s.w.Group(loc)
	add := func(name, value string, by *protocol.Policy) *Provenance {
		p := Provenance{Name: name, Value: value, Default: by == nil}
		if by != nil {
			p.PolicyID, p.Version, p.Scope, p.ValidFrom, p.ValidTo = by.PolicyID, by.Version, by.Scope, by.ValidFrom, by.ValidTo
		}
		out = append(out, p)
		return &out[len(out)-1]
	}
	quantity := func(name, channel string, of func(*protocol.PolicyValues) *protocol.Quantity) {
		v, by := first(rules, loc, group, channel, of)
		add(name, v.String(), by)
	}
	word := func(name, usual string, of func(*protocol.PolicyValues) *string) {
		v, by := first(rules, loc, group, "", of)
		if by == nil {
			v = usual
		}
		add(name, v, by)
	}
	quantity("safety_stock", "", safetyOf)
	quantity("threshold", "", thresholdOf)
	quantity("low_at", channel, lowAtOf)
	alpha, by := first(rules, loc, group, "", levelOfService)
	if by == nil {
		alpha = protocol.ServiceLevelUsual
	}
	add("service_level", strconv.FormatFloat(alpha, 'g', -1, 64), by)
	quantity("escrow", "", escrowOf)
	dark, by := first(rules, loc, group, "", darkAfterOf)
	if by == nil {
		dark = protocol.DarkAfterUsualS
	}
	add("dark_after_s", strconv.FormatInt(dark, 10), by)
	word("sourcing", protocol.SourcingMostStock, sourcingOf)
	word("on_conflict", protocol.OnConflictNotify, onConflictOf)
	for _, p := range fences(rules, loc, group) {
		add("fence", p.Values.Fence.String(), p).Channel = p.Scope.Channel
	}
	return out
}
