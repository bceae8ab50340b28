package policy

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

type chain struct{}

func (chain) Category(sku protocol.SKU) string {
	return map[protocol.SKU]string{"X": "food", "Y": "food", "Z": "toys"}[sku]
}

func (chain) Group(loc protocol.StoreID) string {
	return map[protocol.StoreID]string{"S1": "North", "S2": "North", "S3": "South"}[loc]
}

func (chain) In(g string) []protocol.StoreID {
	return map[string][]protocol.StoreID{"North": {"S1", "S2"}, "South": {"S3"}}[g]
}

func q(n int64) *protocol.Quantity { v := protocol.Units(n); return &v }

func put(t interface{ Fatal(...any) }, b *Book, us int64, p protocol.Policy) *protocol.Policy {
	v, bad := b.Put(&p, "ann", us)
	if bad != nil {
		t.Fatal(bad)
	}
	if v != nil {
		b.Apply(v)
	}
	return v
}

func TestPrecedence(t *testing.T) {
	b := New()
	for i, p := range []struct {
		scope protocol.PolicyScope
		v     int64
	}{
		{protocol.PolicyScope{}, 1},
		{protocol.PolicyScope{Group: "North"}, 2},
		{protocol.PolicyScope{Location: "S1"}, 3},
		{protocol.PolicyScope{Category: "food"}, 4},
		{protocol.PolicyScope{Category: "food", Group: "North"}, 5},
		{protocol.PolicyScope{Category: "food", Location: "S2"}, 6},
		{protocol.PolicyScope{SKU: "X"}, 7},
		{protocol.PolicyScope{SKU: "X", Location: "S1"}, 8},
	} {
		put(t, b, int64(i), protocol.Policy{PolicyID: fmt.Sprint("p", i), Scope: p.scope, Values: protocol.PolicyValues{SafetyStock: q(p.v)}})
	}
	s := b.Snapshot(chain{}, 100)
	for _, c := range []struct {
		sku, loc string
		want     int64
	}{
		{"Z", "S3", 1}, {"Z", "S2", 2}, {"Z", "S1", 3}, {"Y", "S3", 4}, {"Y", "S1", 5}, {"Y", "S2", 6}, {"X", "S2", 7}, {"X", "S1", 8}, {"new", "unheard", 1},
	} {
		if got := s.For(protocol.SKU(c.sku)).For(protocol.StoreID(c.loc)).Safety; got != protocol.Units(c.want) {
			t.Errorf("%s at %s: %s, want %d", c.sku, c.loc, got, c.want)
		}
	}
	if s.For("Z") != s.For("new") {
		t.Error("articles without a policy do not share")
	}
	put(t, b, 200, protocol.Policy{PolicyID: "newer", Values: protocol.PolicyValues{SafetyStock: q(9)}})
	if got := b.Snapshot(chain{}, 300).For("Z").Default.Safety; got != protocol.Units(9) {
		t.Errorf("the newer of two equals: %s", got)
	}
}

func TestDatedThresholdsCompeteOnlyInTheirTime(t *testing.T) {
	b := New()
	from, to := time.UnixMicro(1000), time.UnixMicro(2000)
	put(t, b, 1, protocol.Policy{PolicyID: "promo", Scope: protocol.PolicyScope{SKU: "X"}, ValidFrom: &from, ValidTo: &to, Values: protocol.PolicyValues{Threshold: q(5)}})
	for _, c := range []struct{ at, until, want int64 }{{999, 1000, 0}, {1000, 2000, 5}, {1999, 2000, 5}, {2000, 0, 0}} {
		s := b.Snapshot(chain{}, c.at)
		if got := s.For("X").Default.Threshold; got != protocol.Units(c.want) || s.UntilUS != c.until {
			t.Errorf("at %d: %s until %d", c.at, got, s.UntilUS)
		}
	}
}

func TestFencesArePerChannel(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Policy{PolicyID: "web", Scope: protocol.PolicyScope{Channel: "web"}, Values: protocol.PolicyValues{Fence: q(3)}})
	put(t, b, 1, protocol.Policy{PolicyID: "app", Scope: protocol.PolicyScope{Channel: "app", Location: "S1"}, Values: protocol.PolicyValues{Fence: q(2)}})
	h := b.Snapshot(chain{}, 5).For("X")
	for _, c := range []struct {
		loc, channel string
		want         int64
	}{{"S1", "web", 2}, {"S1", "app", 3}, {"S1", "", 0}, {"S2", "app", 3}, {"S2", "web", 0}} {
		if got := h.For(protocol.StoreID(c.loc)).FencedForOthers(c.channel); got != protocol.Units(c.want) {
			t.Errorf("%s at %s: %s fenced for others, want %d", c.channel, c.loc, got, c.want)
		}
	}
	if _, p := b.Put(&protocol.Policy{PolicyID: "bad", Scope: protocol.PolicyScope{Channel: "web"}, Values: protocol.PolicyValues{SafetyStock: q(1)}}, "ann", 1); p == nil {
		t.Error("a channel's safety stock was taken")
	}
}

func TestVersions(t *testing.T) {
	b := New()
	p := protocol.Policy{PolicyID: "a", Values: protocol.PolicyValues{SafetyStock: q(1)}}
	put(t, b, 1, p)
	if put(t, b, 2, p) != nil {
		t.Error("the same again made a version")
	}
	p.Values.SafetyStock = q(2)
	put(t, b, 3, p)
	v, _ := b.Delete("a", "bob", 4)
	b.Apply(v)
	if again, bad := b.Delete("a", "bob", 5); again != nil || bad != nil {
		t.Error("ended twice")
	}
	if _, bad := b.Delete("nobody", "bob", 5); bad == nil || bad.Status != 404 {
		t.Error(bad)
	}
	if len(b.List()) != 0 {
		t.Error("an ended policy is listed")
	}
	var got []string
	for _, h := range b.History("a") {
		got = append(got, fmt.Sprintf("%d by %s, ended %t", h.Version, h.ChangedBy, h.Deleted))
	}
	if d := cmp.Diff([]string{"3 by bob, ended true", "2 by ann, ended false", "1 by ann, ended false"}, got); d != "" {
		t.Error(d)
	}
}

func TestExplainSumsToWhatIsHeldBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New()
		opt := func(name string) *protocol.Quantity {
			if rapid.Bool().Draw(t, name) {
				return q(rapid.Int64Range(0, 9).Draw(t, name))
			}
			return nil
		}
		pick := func(name string, of ...string) string { return rapid.SampledFrom(append(of, "")).Draw(t, name) }
		for i := range rapid.IntRange(0, 12).Draw(t, "policies") {
			p := protocol.Policy{PolicyID: fmt.Sprint("p", i), Scope: protocol.PolicyScope{
				SKU: protocol.SKU(pick("sku", "X", "Y")), Category: pick("category", "food"), Location: protocol.StoreID(pick("location", "S1", "S3")), Group: pick("group", "North"),
			}}
			if ch := pick("channel", "web", "app"); ch != "" {
				p.Scope.Channel, p.Values.Fence = ch, opt("fence")
			} else {
				p.Values.SafetyStock, p.Values.Threshold = opt("safety"), opt("threshold")
			}
			put(t, b, int64(rapid.IntRange(0, 3).Draw(t, "when")), p)
		}
		back := New()
		if err := b.Chunks(func(no uint32, data []byte) {
			if err := back.Restore(no, data); err != nil {
				t.Fatal(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		s, s2 := b.Snapshot(chain{}, 9), back.Snapshot(chain{}, 9)
		for _, sku := range []protocol.SKU{"X", "Y", "Z"} {
			for _, loc := range []protocol.StoreID{"S1", "S2", "S3", "S9"} {
				h := s.For(sku).For(loc)
				if !equal(h, s2.For(sku).For(loc)) {
					t.Fatalf("%s at %s differs when restored", sku, loc)
				}
				naive := plain(s.of(sku), loc, chain{}.Group(loc))
				if !equal(h, &naive) {
					t.Fatalf("%s at %s: compiled %+v, plain %+v", sku, loc, h, naive)
				}
				var safety, fenced protocol.Quantity
				for _, x := range s.Explain(sku, loc, "web") {
					if x.Quantity == "fenced" {
						fenced += x.Value
					} else {
						safety += x.Value
					}
				}
				if safety != h.Safety+h.Threshold || fenced != h.FencedForOthers("web") {
					t.Fatalf("%s at %s: explained %s and %s, held back %+v", sku, loc, safety, fenced, h)
				}
			}
		}
	})
}

func FuzzRestore(f *testing.F) {
	b := New()
	put(f, b, 1, protocol.Policy{PolicyID: "a", Values: protocol.PolicyValues{SafetyStock: q(1)}})
	_ = b.Chunks(func(no uint32, data []byte) { f.Add(no, data) })
	f.Fuzz(func(_ *testing.T, no uint32, data []byte) { _ = New().Restore(no, data) })
}

// plain resolves a position by asking each value of the whole list.
func plain(rules []rule, loc protocol.StoreID, group string) protocol.Holdback {
	h := protocol.Holdback{Alpha: protocol.ServiceLevelUsual, DarkAfterS: protocol.DarkAfterUsualS}
	h.Safety, _ = first(rules, loc, group, "", safetyOf)
	h.Threshold, _ = first(rules, loc, group, "", thresholdOf)
	h.Escrow, _ = first(rules, loc, group, "", escrowOf)
	h.LowAt, _ = first(rules, loc, group, "", lowAtOf)
	if a, by := first(rules, loc, group, "", levelOfService); by != nil {
		h.Alpha = a
	}
	if d, by := first(rules, loc, group, "", darkAfterOf); by != nil {
		h.DarkAfterS = d
	}
	for _, p := range fences(rules, loc, group) {
		h.Fences = append(h.Fences, protocol.Fence{Channel: p.Scope.Channel, Quantity: *p.Values.Fence})
	}
	return h
}
