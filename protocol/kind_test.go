package protocol

import (
	"encoding/json"
	"slices"
	"testing"
	"time"
)

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := KindSale; k.Valid(); k++ {
		b, err := k.MarshalText()
		var back Kind
		if err != nil || back.UnmarshalText(b) != nil || back != k || ParseKind(k.String()) != k || seen[string(b)] || len(b) == 0 {
			t.Errorf("kind %d is %s, read back as %d", uint8(k), b, back)
		}
		seen[string(b)] = true
	}
	if len(seen) != KindLimit-1 || Kind(KindLimit).Valid() || KindInvalid.Valid() {
		t.Errorf("%d kinds, limit %d", len(seen), KindLimit)
	}
	var k Kind
	for _, s := range []string{"", "Sale", "sales", "kind(99)"} {
		if k = 7; k.UnmarshalText([]byte(s)) == nil || ParseKind(s) != KindInvalid {
			t.Errorf("%q is taken for %s", s, k)
		}
	}
	if Kind(99).String() != "kind(99)" || KindInvalid.String() != "kind(0)" {
		t.Error("unknown kinds have no name")
	}
}

func TestWordsOfTheWire(t *testing.T) {
	for d := DispositionNone; d <= DispositionUnknown; d++ {
		if got, ok := ParseDisposition(d.String()); got != d || !ok {
			t.Errorf("%s is read as %s", d, got)
		}
	}
	if _, ok := ParseDisposition("broken"); ok || Disposition(9).String() != "disposition(9)" {
		t.Error("an unknown disposition has a name")
	}
	if DirectionOut.String() != "out" || DirectionIn.String() != "in" || Direction(9).String() != "" || ScopeFull.String() != "full" || Scope(9).String() != "" {
		t.Error("directions and scopes")
	}
	if got := (FlagDerivedQuantity | FlagZoneless | FlagNoUnitPrice | 1<<30).Names(); !slices.Equal(got, []string{"derived_quantity", "zoneless", "no_unit_price"}) {
		t.Error(got)
	}
}

func TestStamp(t *testing.T) {
	at := time.Date(2026, 11, 23, 10, 15, 2, 123_456_789, time.FixedZone("", 90*60))
	if s := StampOf(at); s.OffsetMin != 90 || !s.Time().Equal(at.Truncate(time.Microsecond)) || s.Time().Format("-07:00") != "+01:30" || s.IsZero() {
		t.Errorf("%+v", s)
	}
	if s := StampOf(time.Time{}); !s.IsZero() {
		t.Errorf("no time is %+v", s)
	}
	if s := StampOf(at.UTC()); s.Time().Location() != time.UTC {
		t.Error(s.Time())
	}
}

// TestHoldbacks: who is fenced off from whom, and where a location differs.
func TestHoldbacks(t *testing.T) {
	h := Holdback{Fences: []Fence{{"web", 2000}, {"app", 500}}}
	for channel, want := range map[string]Quantity{"web": 500, "app": 2000, "phone": 2500, "": 0} {
		if got := h.FencedForOthers(channel); got != want {
			t.Errorf("%q: %s is fenced for others, want %s", channel, got, want)
		}
	}
	all := Holdbacks{Default: Holdback{Safety: 1}, At: map[StoreID]*Holdback{"S1": &h}}
	if all.For("S1") != &h || all.For("S2").Safety != 1 {
		t.Error("the holdback of a location")
	}
}

func TestUnavailableBy(t *testing.T) {
	u := UnavailableOf([DispositionsUnsellable]Quantity{1, 20, 300})
	b, err := json.Marshal(UnavailableBy{Damaged: 1000})
	if u != (UnavailableBy{Damaged: 1, Quarantine: 20, Unknown: 300}) || u.Sum() != 321 || err != nil || string(b) != `{"damaged":1}` {
		t.Errorf("%+v, %s", u, b)
	}
}

func TestBand(t *testing.T) {
	for i, c := range []struct {
		p      Presence
		behind int64
		want   int
	}{
		{PresenceOnline, -1, 0},
		{PresenceOnline, 29_999_999, 0},
		{PresenceOnline, 30e6, 1},
		{PresenceStuck, 899e6, 3},
		{PresenceOnline, 21_599e6, 5},
		{PresenceOnline, 21_600e6, 6},
		{PresenceOffline, 0, 7},
	} {
		if got := Band(c.p, c.behind); got != c.want {
			t.Errorf("%d: band %d (%s), want %d", i, got, BandNames[got], c.want)
		}
	}
}

func TestErrorsInWords(t *testing.T) {
	if s := (&SizeError{"frame", 9, 8}).Error(); s != "frame has 9 bytes, at most 8 are allowed" {
		t.Error(s)
	}
	p := NewProblem(422, "c", "Title", "", "")
	if p.Error() != "c: Title" || p.Type != "urn:tillwire:problem:c" {
		t.Errorf("%+v", p)
	}
	if p.Detail = "detail"; p.Error() != "c: detail" {
		t.Error(p)
	}
}
