package policy

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tillwire/protocol"
)

// naive resolves one value as the comment of protocol.Policy says: of those that
// match and state it, the most specific, then the newer. It knows neither index
// nor levels.
func naive[T any](b *Book, sku protocol.SKU, loc protocol.StoreID, channel string, us int64, of func(*protocol.PolicyValues) *T) (best *protocol.Policy) {
	class := func(exact, wide bool) int {
		if exact {
			return 2
		} else if wide {
			return 1
		}
		return 0
	}
	rank := func(p *protocol.Policy) int {
		s := &p.Scope
		return class(s.SKU != "", s.Category != "")*100 + class(s.Location != "", s.Group != "")*10 + class(s.Channel != "", false)
	}
	w, list := chain{}, b.List()
	for i := range list {
		p := &list[i]
		s := &p.Scope
		matches := (s.SKU == "" || s.SKU == sku) && (s.Category == "" || s.Category == w.Category(sku)) &&
			(s.Location == "" || s.Location == loc) && (s.Group == "" || s.Group == w.Group(loc)) && (s.Channel == "" || s.Channel == channel)
		dated := (p.ValidFrom == nil || p.ValidFrom.UnixMicro() <= us) && (p.ValidTo == nil || us < p.ValidTo.UnixMicro())
		if !matches || !dated || of(&p.Values) == nil {
			continue
		}
		if best == nil || rank(p) > rank(best) || rank(p) == rank(best) && p.ChangedAt.After(best.ChangedAt) {
			best = p
		}
	}
	return best
}

func drawPolicies(t *rapid.T) *Book {
	b := New()
	opt := func(name string) *protocol.Quantity {
		if rapid.Bool().Draw(t, name) {
			return q(rapid.Int64Range(0, 3).Draw(t, name))
		}
		return nil
	}
	pick := func(name string, of ...string) string { return rapid.SampledFrom(append(of, "")).Draw(t, name) }
	when := func(name string) *time.Time {
		if us := rapid.Int64Range(0, 8).Draw(t, name); us > 4 {
			x := time.UnixMicro(us * 10)
			return &x
		}
		return nil
	}
	for i := range rapid.IntRange(0, 16).Draw(t, "policies") {
		p := protocol.Policy{PolicyID: fmt.Sprint("p", rapid.IntRange(0, 12).Draw(t, "id")), ValidFrom: when("from"), ValidTo: when("to"), Scope: protocol.PolicyScope{
			SKU: protocol.SKU(pick("sku", "X", "Y")), Category: pick("category", "food", "toys"),
			Location: protocol.StoreID(pick("location", "S1", "S3", "S9")), Group: pick("group", "North", "South"), Channel: pick("channel", "web", "app"),
		}}
		p.Values.LowAt = opt("low")
		if p.Scope.Channel != "" {
			p.Values.Fence = opt("fence")
		} else {
			p.Values.SafetyStock, p.Values.Escrow = opt("safety"), opt("escrow")
			if alpha := opt("alpha"); alpha != nil {
				a := float64(*alpha) / 4000
				p.Values.ServiceLevel = &a
			}
		}
		put(t, b, int64(i), p)
	}
	return b
}

func valueOr(p *protocol.Policy, of func(*protocol.PolicyValues) *protocol.Quantity) protocol.Quantity {
	if p == nil {
		return 0
	}
	return *of(&p.Values)
}

func TestTablesAgreeWithTheRuleOfPrecedence(t *testing.T) {
	fence := func(v *protocol.PolicyValues) *protocol.Quantity { return v.Fence }
	rapid.Check(t, func(t *rapid.T) {
		b := drawPolicies(t)
		us := rapid.Int64Range(40, 90).Draw(t, "now")
		s := b.Snapshot(chain{}, us)
		for _, sku := range []protocol.SKU{"X", "Y", "Z", "uncategorised"} {
			for _, loc := range []protocol.StoreID{"S1", "S2", "S3", "S9", "unheard"} {
				h := s.For(sku).For(loc)
				for _, c := range []struct {
					name string
					got  protocol.Quantity
					of   func(*protocol.PolicyValues) *protocol.Quantity
				}{{"safety_stock", h.Safety, safetyOf}, {"escrow", h.Escrow, escrowOf}, {"low_at", h.LowAt, lowAtOf}} {
					if want := valueOr(naive(b, sku, loc, "", us, c.of), c.of); c.got != want {
						t.Fatalf("%s of %s at %s: %s, want %s", c.name, sku, loc, c.got, want)
					}
				}
				alpha := protocol.ServiceLevelUsual
				if p := naive(b, sku, loc, "", us, levelOfService); p != nil {
					alpha = *p.Values.ServiceLevel
				}
				if h.Alpha != alpha {
					t.Fatalf("service level of %s at %s: %g, want %g", sku, loc, h.Alpha, alpha)
				}
				for channel, other := range map[string]string{"web": "app", "app": "web"} {
					if got, want := h.FencedForOthers(channel), valueOr(naive(b, sku, loc, other, us, fence), fence); got != want {
						t.Fatalf("%s at %s: %s fenced from %s, want %s", sku, loc, got, channel, want)
					}
					if got, want := s.LowAt(sku, loc, channel), valueOr(naive(b, sku, loc, channel, us, lowAtOf), lowAtOf); got != want {
						t.Fatalf("%s at %s: low for %s at %s, want %s", sku, loc, channel, got, want)
					}
				}
			}
		}
	})
}

func TestOneChannelsLowIsNotEverybodys(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Policy{PolicyID: "all", Values: protocol.PolicyValues{LowAt: q(2)}})
	put(t, b, 2, protocol.Policy{PolicyID: "web", Scope: protocol.PolicyScope{Channel: "web"}, Values: protocol.PolicyValues{LowAt: q(50)}})
	s := b.Snapshot(chain{}, 9)
	if all, web, app := s.For("X").Default.LowAt, s.LowAt("X", "S1", "web"), s.LowAt("X", "S1", "app"); all != 2000 || web != 50_000 || app != 2000 {
		t.Errorf("all %s, web %s, app %s", all, web, app)
	}
}

func TestLocationsLikeTheDefaultAreLeftOut(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Policy{PolicyID: "north", Scope: protocol.PolicyScope{Group: "North"}, Values: protocol.PolicyValues{SafetyStock: q(2)}})
	put(t, b, 2, protocol.Policy{PolicyID: "x", Scope: protocol.PolicyScope{SKU: "X"}, Values: protocol.PolicyValues{SafetyStock: q(5)}})
	s := b.Snapshot(chain{}, 9)
	if n := len(s.For("X").At); n != 0 {
		t.Errorf("%d locations differ from a value that overrides theirs", n)
	}
	if y := s.For("Y"); len(y.At) != 2 || y.At["S1"] != y.At["S2"] {
		t.Errorf("locations of one group do not share: %v", y.At)
	}
}

func TestProvenanceNamesEachValue(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Policy{PolicyID: "all", Values: protocol.PolicyValues{SafetyStock: q(1), LowAt: q(2)}})
	put(t, b, 2, protocol.Policy{PolicyID: "web", Scope: protocol.PolicyScope{Channel: "web", Location: "S1"}, Values: protocol.PolicyValues{LowAt: q(9), Fence: q(3)}})
	put(t, b, 3, protocol.Policy{PolicyID: "all", Values: protocol.PolicyValues{SafetyStock: q(4), LowAt: q(2)}})
	var got []string
	for _, p := range b.Snapshot(chain{}, 9).Provenance("X", "S1", "web") {
		by := fmt.Sprintf("%s/%d", p.PolicyID, p.Version)
		if p.Default {
			by = "default"
		}
		got = append(got, fmt.Sprintf("%s=%s by %s", p.Name, p.Value, by))
	}
	want := "[safety_stock=4 by all/2 threshold=0 by default low_at=9 by web/1 service_level=0.95 by default escrow=0 by default" +
		" dark_after_s=900 by default sourcing=most_stock by default on_conflict=notify by default fence=3 by web/1]"
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
}

// large is a chain of 5,000 locations in 20 groups and 200 categories.
type large struct {
	locs   []protocol.StoreID
	groups map[protocol.StoreID]string
	in     map[string][]protocol.StoreID
}

func (large) Category(sku protocol.SKU) string     { return "c" + string(sku[len(sku)-2:]) }
func (l large) Group(loc protocol.StoreID) string  { return l.groups[loc] }
func (l large) In(group string) []protocol.StoreID { return l.in[group] }
func (l large) policies(b testing.TB, of int) *Book {
	book := New()
	for i := range of {
		p := protocol.Policy{PolicyID: fmt.Sprint("p", i), Values: protocol.PolicyValues{SafetyStock: q(int64(i%5 + 1))}}
		switch i % 20 {
		case 0: // 500 of 10,000: a location's escrow
			p.Scope.Location, p.Values = l.locs[i/20%len(l.locs)], protocol.PolicyValues{Escrow: q(int64(i/20%3 + 1))}
		case 1:
			p.Scope.Category = fmt.Sprintf("c%02d", i/20%100)
		case 2:
			p.Scope.Category, p.Scope.Group = fmt.Sprintf("c%02d", i/20%100), fmt.Sprint("g", i/20%20)
		default:
			p.Scope.SKU = protocol.SKU(fmt.Sprintf("A%05d", i))
		}
		put(b, book, int64(i), p)
	}
	return book
}

func newLarge() large {
	l := large{groups: map[protocol.StoreID]string{}, in: map[string][]protocol.StoreID{}}
	for i := range 5000 {
		loc, g := protocol.StoreID(fmt.Sprintf("S%04d", i)), fmt.Sprint("g", i%20)
		l.locs, l.groups[loc], l.in[g] = append(l.locs, loc), g, append(l.in[g], loc)
	}
	return l
}

// BenchmarkResolve: 10,000 policies, 5,000 locations.
func BenchmarkResolve(b *testing.B) {
	l := newLarge()
	book := l.policies(b, 10_000)
	s := book.Snapshot(l, 1e6)
	b.Run("snapshot", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = book.Snapshot(l, 1e6)
		}
	})
	for name, sku := range map[string]protocol.SKU{"for=shared": "B00007", "for=own": "A00007"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = s.For(sku)
			}
		})
	}
	b.Run("sourcing", func(b *testing.B) {
		for b.Loop() {
			_ = s.Sourcing("A00007")
		}
	})
}
