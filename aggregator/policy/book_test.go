package policy

import (
	"fmt"
	"testing"
	"time"

	"tillwire/protocol"
)

func TestSameMomentInAnotherZoneIsNoVersion(t *testing.T) {
	b := New()
	at := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	p := protocol.Policy{PolicyID: "promo", ValidFrom: &at, Values: protocol.PolicyValues{Threshold: q(5)}}
	put(t, b, 1, p)
	elsewhere := at.In(time.FixedZone("", 3600))
	p.ValidFrom = &elsewhere
	if put(t, b, 2, p) != nil {
		t.Error("the same moment in another zone made a version")
	}
	later := at.Add(time.Second)
	p.ValidFrom = &later
	if v := put(t, b, 3, p); v == nil || v.Version != 2 {
		t.Errorf("another moment made no version: %v", v)
	}
}

func TestEndedPolicyCanBeginAgain(t *testing.T) {
	b := New()
	p := protocol.Policy{PolicyID: "a", Values: protocol.PolicyValues{SafetyStock: q(1)}}
	put(t, b, 1, p)
	v, _ := b.Delete("a", "bob", 2)
	b.Apply(v)
	if v := put(t, b, 3, p); v == nil || v.Version != 3 || v.Deleted || len(b.List()) != 1 {
		t.Errorf("after its end: %+v", v)
	}
}

func TestAtKnowsWhatWasInForceThen(t *testing.T) {
	b := New()
	p := protocol.Policy{PolicyID: "a", Values: protocol.PolicyValues{SafetyStock: q(1)}}
	put(t, b, 100, p)
	p.Values.SafetyStock = q(2)
	put(t, b, 200, p)
	early := time.UnixMicro(1)
	put(t, b, 300, protocol.Policy{PolicyID: "backdated", ValidFrom: &early, Scope: protocol.PolicyScope{SKU: "X"}, Values: protocol.PolicyValues{SafetyStock: q(9)}})
	v, _ := b.Delete("a", "bob", 400)
	b.Apply(v)
	for _, c := range []struct{ at, x, y int64 }{{99, 0, 0}, {100, 1, 1}, {199, 1, 1}, {200, 2, 2}, {299, 2, 2}, {300, 9, 2}, {399, 9, 2}, {400, 9, 0}} {
		s := b.At(chain{}, c.at)
		if x, y := s.For("X").Default.Safety, s.For("Y").Default.Safety; x != protocol.Units(c.x) || y != protocol.Units(c.y) || s.Lacking {
			t.Errorf("at %d: X %s, want %d; Y %s, want %d; lacking %t", c.at, x, c.x, y, c.y, s.Lacking)
		}
	}
}

func TestForgottenVersionsAreSaid(t *testing.T) {
	b := New()
	for i := range int64(versionsMax + 10) {
		put(t, b, i+1, protocol.Policy{PolicyID: "a", Values: protocol.PolicyValues{SafetyStock: q(i)}})
	}
	back := New()
	if err := b.Chunks(func(no uint32, data []byte) {
		if err := back.Restore(no, data); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*Book{b, back} {
		if h := x.History("a"); len(h) != versionsMax || h[0].Version != versionsMax+10 || h[versionsMax-1].Version != 11 {
			t.Errorf("%d versions are kept", len(h))
		}
		if !x.At(chain{}, 10).Lacking || x.At(chain{}, 11).Lacking {
			t.Error("versions 1 to 10 are forgotten, 11 is not")
		}
	}
}

func TestEndedPoliciesDoNotFillTheBook(t *testing.T) {
	b := New()
	for i := range int64(endedMax + 5) {
		id := fmt.Sprintf("p%05d", i)
		b.Apply(&protocol.Policy{PolicyID: id, Version: 1, ChangedAt: time.UnixMicro(2 * i)})
		b.Apply(&protocol.Policy{PolicyID: id, Version: 2, ChangedAt: time.UnixMicro(2*i + 1), Deleted: true})
	}
	if len(b.all) != endedMax || b.versions != 2*endedMax || b.live != 0 || b.History("p00004") != nil || b.History("p00005") == nil {
		t.Errorf("%d policies and %d versions are kept, %d live", len(b.all), b.versions, b.live)
	}
}

func TestFullBookTakesChangesOnly(t *testing.T) {
	b := New()
	for i := range policiesMax {
		b.Apply(&protocol.Policy{PolicyID: fmt.Sprint(i), Version: 1})
	}
	state := protocol.PolicyValues{SafetyStock: q(1)}
	if _, p := b.Put(&protocol.Policy{PolicyID: "new", Values: state}, "ann", 1); p == nil || p.Code != "too_many_policies" {
		t.Errorf("one more: %v", p)
	}
	if v, p := b.Put(&protocol.Policy{PolicyID: "7", Values: state}, "ann", 1); p != nil || v.Version != 2 {
		t.Errorf("a change: %v, %v", v, p)
	}
	v, _ := b.Delete("7", "ann", 2)
	b.Apply(v)
	if _, p := b.Put(&protocol.Policy{PolicyID: "new", Values: state}, "ann", 3); p != nil {
		t.Errorf("in the place of one that ended: %v", p)
	}
}

func TestRestoreRefusesWhatDoesNotBelong(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Policy{PolicyID: "a", Values: protocol.PolicyValues{SafetyStock: q(1)}})
	_ = b.Chunks(func(no uint32, data []byte) {
		for name, err := range map[string]error{
			"another shard": New().Restore(no+1, data), "cut short": New().Restore(no, data[:len(data)-1]),
			"nothing": New().Restore(no, nil), "another version": New().Restore(no, append([]byte{99}, data[1:]...)), "twice": b.Restore(no, data),
		} {
			if err == nil {
				t.Errorf("%s was taken", name)
			}
		}
	})
}
