package protocol

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	reservationJSON = `{"reservation_id":"web-100234","channel":"web","ttl_s":900,"mode":"all_or_nothing","fulfilment":"pickup","lines":[{"sku":"4006381333931","quantity":1,"location":"S0042"}]}`
	itemJSON        = `{"sku":"BASKET","name":"Hamper","category":"gifts","base_unit":"EA","units":[{"uom":"CS","factor":6}],"kit":[{"sku":"4006381333931","quantity":2},{"sku":"HAM","quantity":0.25}]}`
	policyJSON      = `{"policy_id":"p1","scope":{"sku":"4006381333931","location":"S0042","channel":"web"},"values":{"safety_stock":1,"fence":2.5,"service_level":0.95,"dark_after_s":600,"sourcing":"nearest","on_conflict":"notify"},"valid_from":"2026-11-23T00:00:00Z","valid_to":"2026-11-30T00:00:00+01:00","note":"week"}`
	testCard        = "4111111111111111"
)

func TestDecodesRequests(t *testing.T) {
	r, p := DecodeReservation([]byte(reservationJSON))
	want := &ReservationRequest{
		ReservationID: "web-100234", Channel: "web", TTLS: 900, Mode: ModeAllOrNothing, Fulfilment: FulfilmentPickup,
		Lines: []ReservationRequestLine{{SKU: "04006381333931", Quantity: 1000, Location: "S0042"}},
	}
	if d := cmp.Diff(r, want); d != "" || p != nil {
		t.Error(p, d)
	}
	it, p := DecodeItem([]byte(itemJSON))
	item := &Item{
		SKU: "BASKET", Name: "Hamper", Category: "gifts", BaseUnit: "EA", Units: []UnitOfItem{{"CS", 6000}},
		Kit: []KitComponent{{"04006381333931", 2000}, {"HAM", 250}},
	}
	if d := cmp.Diff(it, item); d != "" || p != nil {
		t.Error(p, d)
	}
	pol, p := DecodePolicy([]byte(policyJSON))
	if p != nil {
		t.Fatal(p)
	}
	v := pol.Values
	if pol.Scope != (PolicyScope{SKU: "04006381333931", Location: "S0042", Channel: "web"}) || *v.SafetyStock != 1000 || *v.Fence != 2500 || *v.ServiceLevel != 0.95 ||
		*v.DarkAfterS != 600 || *v.Sourcing != SourcingNearest || *v.OnConflict != OnConflictNotify || v.LowAt != nil || pol.Note != "week" ||
		!pol.ValidTo.Equal(time.Date(2026, 11, 29, 23, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", pol)
	}
	for _, least := range []string{
		`{"reservation_id":"1","channel":"web","lines":[{"sku":"A","quantity":0.001}]}`,
		`{"reservation_id":"1","channel":"web","order_id":null,"lines":[{"sku":"A","quantity":1,"location":null}]}`,
	} {
		if _, p := DecodeReservation([]byte(least)); p != nil {
			t.Error(least, p)
		}
	}
	if it, p := DecodeItem([]byte(`{"sku":"A"}`)); p != nil || it.BaseUnit != "" {
		t.Error(p)
	}
	if _, p := DecodePolicy([]byte(`{"policy_id":"off","values":{"service_level":0}}`)); p != nil {
		t.Error(p)
	}
}

// refusal3 is what one of the three decoders says.
func refusal3(what, body string) *Problem {
	switch what {
	case "item":
		_, p := DecodeItem([]byte(body))
		return p
	case "policy":
		_, p := DecodePolicy([]byte(body))
		return p
	}
	_, p := DecodeReservation([]byte(body))
	return p
}

func TestRefusesRequests(t *testing.T) {
	base := map[string]string{"reservation": reservationJSON, "item": itemJSON, "policy": policyJSON}
	long := strings.Repeat("x", 600)
	lines := strings.TrimSuffix(strings.Repeat(`{"sku":"A","quantity":1},`, ReservationLinesMax+1), ",")
	for _, c := range []struct {
		what, old, with string // a change of the good one; old "" = the whole
		code, ptr       string
	}{
		{"reservation", "", ``, CodeMalformedJSON, ""},
		{"reservation", "", `null`, CodeMalformedJSON, ""},
		{"reservation", "", `[]`, CodeMalformedJSON, ""},
		{"reservation", "", `[`, CodeMalformedJSON, ""},
		{"reservation", "", `"x"`, CodeMalformedJSON, ""},
		{"reservation", "", `nonsense`, CodeMalformedJSON, ""},
		{"reservation", "", reservationJSON + "{}", CodeMalformedJSON, ""},
		{"reservation", "", reservationJSON[:60], CodeMalformedJSON, ""},
		{"reservation", `"channel"`, `"channel":"b","channel"`, CodeDuplicateField, "/channel"},
		{"reservation", `"channel"`, `"Channel"`, CodeUnknownField, "/Channel"},
		{"reservation", `"sku"`, `"price":1,"sku"`, CodeUnknownField, "/lines/0/price"},
		{"reservation", `"web-100234"`, `7`, CodeInvalidField, "/reservation_id"},
		{"reservation", `"quantity":1`, `"quantity":"1"`, CodeInvalidField, "/lines/0/quantity"},
		{"reservation", `"quantity":1`, `"quantity":1.0001`, CodeInvalidField, "/lines/0/quantity"},
		{"reservation", `"quantity":1`, `"quantity":1e12`, CodeInvalidField, "/lines/0/quantity"},
		{"reservation", `"quantity":1,`, ``, CodeInvalidField, "/lines/0/quantity"},
		{"reservation", `"quantity":1`, `"quantity":-1`, CodeInvalidField, "/lines/0/quantity"},
		{"reservation", `900`, `9.5`, CodeInvalidField, "/ttl_s"},
		{"reservation", `900`, `-1`, CodeInvalidField, "/ttl_s"},
		{"reservation", `900`, `604801`, CodeInvalidField, "/ttl_s"},
		{"reservation", `"web-100234"`, `""`, CodeMissingField, "/reservation_id"},
		{"reservation", `"web-100234"`, `"` + long[:ReservationIDBytes+1] + `"`, CodeInvalidField, "/reservation_id"},
		{"reservation", `"web-100234"`, `"` + testCard + `"`, CodePANDetected, "/reservation_id"},
		{"reservation", `"web-100234"`, `"a\u0007"`, CodeInvalidField, "/reservation_id"},
		{"reservation", `"web"`, `""`, CodeMissingField, "/channel"},
		{"reservation", `"web"`, `"the web"`, CodeInvalidField, "/channel"},
		{"reservation", `"web"`, `"` + testCard + `"`, CodePANDetected, "/channel"},
		{"reservation", `"mode":"all_or_nothing"`, `"mode":"most"`, CodeInvalidField, "/mode"},
		{"reservation", `"pickup"`, `"drone"`, CodeInvalidField, "/fulfilment"},
		{"reservation", `"mode"`, `"sourcing":"dice","mode"`, CodeInvalidField, "/sourcing"},
		{"reservation", `"mode"`, `"group":"` + long[:129] + `","mode"`, CodeInvalidField, "/group"},
		{"reservation", `"mode"`, `"order_id":"` + testCard + `","mode"`, CodePANDetected, "/order_id"},
		{"reservation", `"mode"`, `"traceparent":"00-1-2-3","mode"`, CodeInvalidField, "/traceparent"},
		{"reservation", `"S0042"`, `"S/42"`, CodeInvalidField, "/lines/0/location"},
		{"reservation", `"4006381333931"`, `"4006381333932"`, CodeBadCheckDigit, "/lines/0/sku"},
		{"reservation", `"4006381333931"`, `""`, CodeMissingField, "/lines/0/sku"},
		{"reservation", `"4006381333931"`, `" A"`, CodeInvalidField, "/lines/0/sku"},
		{"reservation", reservationJSON[strings.Index(reservationJSON, `[`):], `[]}`, CodeMissingField, "/lines"},
		{"reservation", reservationJSON[strings.Index(reservationJSON, `[`):], `{}}`, CodeInvalidField, "/lines"},
		{"reservation", reservationJSON[strings.Index(reservationJSON, `[`):], `[7]}`, CodeInvalidField, "/lines/0"},
		{"reservation", reservationJSON[strings.Index(reservationJSON, `[`):], `[` + lines + `]}`, CodeInvalidField, "/lines"},

		{"item", `"BASKET"`, `""`, CodeMissingField, "/sku"},
		{"item", `"Hamper"`, `"` + long[:ItemNameBytesMax+1] + `"`, CodeInvalidField, "/name"},
		{"item", `"gifts"`, `"` + testCard + `"`, CodePANDetected, "/category"},
		{"item", `"EA"`, `"each"`, CodeInvalidField, "/base_unit"},
		{"item", `"uom":"CS"`, `"uom":"EA"`, CodeInvalidField, "/units/0/uom"},
		{"item", `"base_unit":"EA","units":[{"uom":"CS"`, `"units":[{"uom":"EA"`, CodeInvalidField, "/units/0/uom"},
		{"item", `{"uom":"CS","factor":6}`, `{"uom":"CS","factor":6},{"uom":"CS","factor":6}`, CodeInvalidField, "/units/1/uom"},
		{"item", `"uom":"CS"`, `"uom":"case"`, CodeInvalidField, "/units/0/uom"},
		{"item", `"uom":"CS",`, ``, CodeMissingField, "/units/0/uom"},
		{"item", `"factor":6`, `"factor":0`, CodeInvalidField, "/units/0/factor"},
		{"item", `"factor":6`, `"factor":-6`, CodeInvalidField, "/units/0/factor"},
		{"item", `"factor":6`, `"factor":null`, CodeInvalidField, "/units/0/factor"},
		{"item", `"sku":"HAM"`, `"sku":"BASKET"`, CodeInvalidField, "/kit/1/sku"},
		{"item", `"sku":"HAM"`, `"sku":"04006381333931"`, CodeInvalidField, "/kit/1/sku"},
		{"item", `"sku":"HAM",`, ``, CodeMissingField, "/kit/1/sku"},
		{"item", `"quantity":2`, `"quantity":0`, CodeInvalidField, "/kit/0/quantity"},
		{"item", `"name"`, `"version":1,"name"`, CodeInvalidField, "/version"},
		{"item", `"name"`, `"changed_by":"me","name"`, CodeInvalidField, "/changed_by"},
		{"item", `"name"`, `"changed_at":"2026-11-23T00:00:00Z","name"`, CodeInvalidField, "/changed_at"},
		{"item", `"name"`, `"changed_at":"yesterday","name"`, CodeInvalidField, "/changed_at"},
		{"item", `{"uom":"CS","factor":6}`, strings.Repeat(`{"uom":"CS","factor":6},`, ItemUnitsMax) + `{}`, CodeInvalidField, "/units"},
		{"item", `{"sku":"HAM","quantity":0.25}`, strings.Repeat(`{"sku":"HAM","quantity":1},`, KitPartsMax) + `{}`, CodeInvalidField, "/kit"},

		{"policy", `"p1"`, `""`, CodeMissingField, "/policy_id"},
		{"policy", `"week"`, `"` + long[:PolicyNoteBytesMax+1] + `"`, CodeInvalidField, "/note"},
		{"policy", `"4006381333931"`, `"4006381333932"`, CodeBadCheckDigit, "/scope/sku"},
		{"policy", `"sku":"4006381333931"`, `"category":" x"`, CodeInvalidField, "/scope/category"},
		{"policy", `"S0042"`, `"S 42"`, CodeInvalidField, "/scope/location"},
		{"policy", `"location":"S0042"`, `"group":"x "`, CodeInvalidField, "/scope/group"},
		{"policy", `"scope"`, `"scoop"`, CodeUnknownField, "/scoop"},
		{"policy", `"safety_stock":1`, `"safety":1`, CodeUnknownField, "/values/safety"},
		{"policy", `"safety_stock":1`, `"safety_stock":-1`, CodeInvalidField, "/values/safety_stock"},
		{"policy", `,"channel":"web"`, ``, CodeMissingField, "/scope/channel"},
		{"policy", `0.95`, `0.4`, CodeInvalidField, "/values/service_level"},
		{"policy", `0.95`, `1`, CodeInvalidField, "/values/service_level"},
		{"policy", `0.95`, `"high"`, CodeInvalidField, "/values/service_level"},
		{"policy", `600`, `0`, CodeInvalidField, "/values/dark_after_s"},
		{"policy", `600`, `40000000`, CodeInvalidField, "/values/dark_after_s"},
		{"policy", `"nearest"`, `"dice"`, CodeInvalidField, "/values/sourcing"},
		{"policy", `"nearest"`, `""`, CodeInvalidField, "/values/sourcing"},
		{"policy", `"notify"`, `"panic"`, CodeInvalidField, "/values/on_conflict"},
		{"policy", `"2026-11-30T00:00:00+01:00"`, `"2026-11-23T01:00:00+01:00"`, CodeInvalidField, "/valid_to"},
		{"policy", `"note"`, `"deleted":true,"note"`, CodeInvalidField, "/deleted"},
		{"policy", `"note"`, `"deleted":1,"note"`, CodeInvalidField, "/deleted"},
		{"policy", `"note"`, `"version":-1,"note"`, CodeInvalidField, "/version"},
		{"policy", "", `{"policy_id":"p","values":{}}`, CodeMissingField, "/values"},
		{"policy", "", `{"policy_id":"p","values":7}`, CodeInvalidField, "/values"},
	} {
		body := c.with
		if c.old != "" {
			if body = strings.Replace(base[c.what], c.old, c.with, 1); body == base[c.what] {
				t.Fatalf("%s has no %s", c.what, c.old)
			}
		}
		p := refusal3(c.what, body)
		if p == nil {
			t.Errorf("%s: %.200s was accepted", c.what, body)
			continue
		}
		if p.Code != c.code || len(p.Errors) == 0 || p.Errors[0].Pointer != c.ptr || p.Errors[0].Message == "" || p.Hint == "" || p.Status < 400 || p.Error() == "" {
			t.Errorf("%s: %.200s: got %s %+v, want %s at %q", c.what, body, p.Code, p.Errors, c.code, c.ptr)
		}
		if s := fmt.Sprintf("%+v", p); strings.Contains(s, testCard) {
			t.Errorf("the answer repeats the card number: %s", s)
		}
	}
}

// TestRequestErrorsTogether: several errors are told at once, and not too many.
func TestRequestErrorsTogether(t *testing.T) {
	r := &ReservationRequest{TTLS: -1, Lines: make([]ReservationRequestLine, ReservationLinesMax)}
	p := r.Check()
	if p == nil || len(p.Errors) != fieldErrorsMax || p.Code != CodeMissingField {
		t.Fatalf("%+v", p)
	}
	var ptrs []string
	for _, e := range p.Errors[:5] {
		ptrs = append(ptrs, e.Pointer)
	}
	if d := cmp.Diff(ptrs, []string{"/reservation_id", "/channel", "/ttl_s", "/lines/0/sku", "/lines/0/quantity"}); d != "" {
		t.Error(d)
	}
	it, p := DecodeItem([]byte(`{"sku":"A","base_unit":"each"}`))
	if p == nil || it == nil || it.SKU != "A" {
		t.Errorf("a refused item is not named: %+v", it)
	}
}

// TestWrongTypesInWords: each type that a request may have is told in words.
func TestWrongTypesInWords(t *testing.T) {
	type all struct {
		S string         `json:"s"`
		B bool           `json:"b"`
		I int64          `json:"i"`
		U uint64         `json:"u"`
		F float64        `json:"f"`
		L []string       `json:"l"`
		M map[string]int `json:"m"`
		P *string        `json:"p"`
		T time.Time      `json:"t"`
		Q Quantity       `json:"q"`
		C chan int       `json:"c"`
	}
	for body, want := range map[string]string{
		`{"s":1}`: "must be a string", `{"b":"x"}`: "must be true or false", `{"i":1.5}`: "must be a whole number of at most 63 bits",
		`{"i":9223372036854775808}`: "must be a whole number of at most 63 bits", `{"u":-1}`: "must be a whole number from 0",
		`{"f":"x"}`: "must be a number", `{"l":{}}`: "must be an array", `{"m":[]}`: "must be an object", `{"p":1}`: "must be a string",
		`{"t":"x"}`: errStampForm.Error(), `{"t":1}`: errStampForm.Error(), `{"q":"1"}`: errQuantitySyntax.Error(), `{"q":0.0001}`: errQuantityScale.Error(),
		`{"c":1}`: "has a value that cannot be read",
	} {
		if p := DecodeStrict([]byte(body), &all{}); p == nil || p.Code != CodeInvalidField || p.Errors[0].Message != want {
			t.Errorf("%s: %+v, want %q", body, p, want)
		}
	}
}

// FuzzDecodeStrict: nothing panics, and what is accepted keeps the limits.
func FuzzDecodeStrict(f *testing.F) {
	for _, s := range []string{reservationJSON, itemJSON, policyJSON, `null`, `{"lines":[{}]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, p := DecodeReservation(b); p == nil {
			if r.ReservationID == "" || len(r.Lines) == 0 || len(r.Lines) > ReservationLinesMax || r.TTLS < 0 || FindPAN(r.ReservationID, true) {
				t.Fatalf("%+v", r)
			}
			for _, l := range r.Lines {
				if sku, err := NormalizeSKU(string(l.SKU)); err != nil || sku != l.SKU || l.Quantity <= 0 || l.Quantity > QuantityMax {
					t.Fatalf("%+v", l)
				}
			}
			if p := r.Check(); p != nil {
				t.Fatalf("accepted, and then not: %v", p)
			}
		} else if p.Code == "" || p.Hint == "" || p.Status < 400 || r != nil {
			t.Fatalf("half a refusal: %+v", p)
		}
		if it, p := DecodeItem(b); p == nil {
			if _, p := DecodeItem(b); p != nil || it.SKU == "" || len(it.Kit) > KitPartsMax || len(it.Units) > ItemUnitsMax {
				t.Fatalf("%+v", it)
			}
		}
		if pol, p := DecodePolicy(b); p == nil && (pol.PolicyID == "" || pol.Values == PolicyValues{}) {
			t.Fatalf("%+v", pol)
		}
	})
}
