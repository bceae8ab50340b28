package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var feed = Source{Feed: true}

// feedDoc is a document of a feed, of a kind.
func feedDoc(kind, more string) string { return doc(`"kind":"` + kind + `","location":"DC1",` + more) }

func TestDecodeAdvice(t *testing.T) {
	e, p := DecodeDocument([]byte(feedDoc("advice", `"source":"wms","expected_at":"2026-11-25T06:00:00+01:00",`+oneLine)), feed)
	if p != nil {
		t.Fatal(p)
	}
	if e.Kind != KindAdvice || e.Store != "DC1" || e.DocumentID != "D1" || e.ExpectedAt != (Stamp{1795582800000000, 60}) || e.Source != "wms" {
		t.Errorf("%+v", e)
	}
	if v := ViewDocument(e); v["expected_at"] != "2026-11-25T06:00:00+01:00" {
		t.Error(v)
	}
	if e, p = DecodeDocument([]byte(feedDoc("advice", oneLine)), feed); p != nil || !e.ExpectedAt.IsZero() {
		t.Error("expected_at is optional:", p)
	}
}

const kitLines = `"lines":[{"sku":"BASKET","quantity":2},{"sku":"WINE","quantity":-2},{"sku":"HAM","quantity":-0.5,"uom":"KGM"}]`

func TestDecodeKit(t *testing.T) {
	for _, src := range []Source{{Store: "S1"}, {Store: "S1", Kind: KindKit}, feed} {
		body := doc(`"kind":"kit","action":"build",` + kitLines)
		if src.Feed {
			body = feedDoc("kit", `"action":"build",`+kitLines)
		}
		e, p := DecodeDocument([]byte(body), src)
		if p != nil {
			t.Fatal(p)
		}
		want := []Line{{Line: 1, SKU: "BASKET", Quantity: 2000}, {Line: 2, SKU: "WINE", Quantity: -2000}, {Line: 3, SKU: "HAM", Quantity: -500, UOM: "KGM"}}
		if d := cmp.Diff(e.Lines, want); d != "" || e.Action != KitBuild {
			t.Errorf("%s: %s", e.Action, d)
		}
	}
	// Broken up: the same lines, another word.
	if e, p := DecodeDocument([]byte(doc(`"action":"break",`+kitLines)), Source{Store: "S1", Kind: KindKit}); p != nil || e.Action != KitBreak || e.Lines[0].Quantity != 2000 {
		t.Error(p)
	}
	// A void may name a kit.
	if e, p := DecodeDocument([]byte(doc(`"voids":"K1","voids_kind":"kit"`)), Source{Store: "S1", Kind: KindVoid}); p != nil || e.VoidsKind != KindKit {
		t.Error(p)
	}
}

func snapshotDoc(acks string) []byte {
	return []byte(`{"snapshot_id":"N1","location":"DC1","as_of":"2026-11-23T10:15:02Z","complete":true,"acknowledged":` + acks + `,` + oneLine + `}`)
}

var statement = Source{Kind: KindSnapshot, Feed: true}

func TestDecodeAcknowledged(t *testing.T) {
	e, p := DecodeDocument(snapshotDoc(`{"S0042/till-03":12,"S0042/server":187,"DC1/feed:wms":18446744073709551615,"S0042/server:2":5,"DC1/feed:wms:7":0}`), statement)
	if p != nil {
		t.Fatal(p)
	}
	want := []JournalAck{
		{Origin{"DC1", "feed:wms"}, 0, 1<<64 - 1},
		{Origin{"DC1", "feed:wms"}, 7, 0},
		{Origin{"S0042", "server"}, 0, 187},
		{Origin{"S0042", "server"}, 2, 5},
		{Origin{"S0042", "till-03"}, 0, 12},
	}
	if d := cmp.Diff(e.Acks, want); d != "" {
		t.Error(d)
	}
	if e.EventTime != (Stamp{US: 1795428902000000}) {
		t.Error("a statement's time is its as_of:", e.EventTime)
	}
	// The order of members is nothing that JSON tells.
	other, p := DecodeDocument(snapshotDoc(`{"DC1/feed:wms:7":0,"S0042/server:2":5,"DC1/feed:wms":18446744073709551615,"S0042/server":187,"S0042/till-03":12}`), statement)
	if p != nil || other.ContentHash() != e.ContentHash() {
		t.Error("the order of members changed the statement", p)
	}
	if d := cmp.Diff(ViewDocument(e)["acknowledged"], map[string]any{
		"DC1/feed:wms": uint64(1<<64 - 1), "DC1/feed:wms:7": uint64(0), "S0042/server": uint64(187), "S0042/server:2": uint64(5), "S0042/till-03": uint64(12),
	}); d != "" {
		t.Error(d)
	}
	for _, none := range []string{"null", "{}"} {
		if e, p := DecodeDocument(snapshotDoc(none), statement); p != nil || e.Acks != nil {
			t.Errorf("%s: %v %v", none, e, p)
		}
	}
}

func manyAcks(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"S%d/server":1`, i)
	}
	return "{" + b.String()[1:] + "}"
}

func TestRefusesNewKinds(t *testing.T) {
	kit, till := Source{Store: "S1", Kind: KindKit}, Source{Store: "S1"}
	transfer := `"direction":"out","counterparty":"S7","transfer_id":"T1",`
	for _, c := range []struct {
		name, body string
		src        Source
		code, ptr  string
	}{
		{"advice from a till", doc(`"kind":"advice",` + oneLine), till, CodeInvalidField, "/kind"},
		{"advice of nothing", feedDoc("advice", `"lines":[{"sku":"A","quantity":0}]`), feed, CodeInvalidField, "/lines/0/quantity"},
		{"advice without lines", feedDoc("advice", `"lines":[]`), feed, CodeMissingField, "/lines"},
		{"advice without id", strings.Replace(feedDoc("advice", oneLine), `"document_id":"D1",`, "", 1), feed, CodeMissingField, "/document_id"},
		{"advice takes goods away", feedDoc("advice", `"lines":[{"sku":"A","quantity":-1}]`), feed, CodeInvalidField, "/lines/0/quantity"},
		{"advice at no time", feedDoc("advice", `"expected_at":"soon",`+oneLine), feed, CodeInvalidField, "/expected_at"},
		{"sale expected", doc(`"expected_at":"2026-11-25T06:00:00Z",` + oneLine), s42, CodeUnknownField, "/expected_at"},
		{"kit without action", doc(kitLines), kit, CodeMissingField, "/action"},
		{"kit that is picked", doc(`"action":"picked",` + kitLines), kit, CodeInvalidField, "/action"},
		{"kit that is written off", doc(`"action":"write_off",` + kitLines), kit, CodeInvalidField, "/action"},
		{"transfer that is written off", doc(transfer + `"action":"write_off",` + oneLine), Source{Store: "S1", Kind: KindTransfer}, CodeUnknownField, "/action"},
		{"kit of no parts", doc(`"action":"build",` + oneLine), kit, CodeInvalidField, "/lines"},
		{"parts of no kit", doc(`"action":"build","lines":[{"sku":"A","quantity":-1}]`), kit, CodeInvalidField, "/lines"},
		{"kit of itself", doc(`"action":"build","lines":[{"sku":"4006381333931","quantity":1},{"sku":"04006381333931","quantity":-1}]`), kit, CodeInvalidField, "/lines/1/sku"},
		{"kit with a line of nothing", doc(`"action":"build","lines":[{"sku":"A","quantity":1},{"sku":"B","quantity":0}]`), kit, CodeInvalidField, "/lines/1/quantity"},
		{"count with cuts", doc(`"lines":[{"sku":"A","quantity":1,"cuts":[{"agent":"till-02","seq":9}]}]`), Source{Store: "S1", Kind: KindCount}, CodeUnknownField, "/lines/0/cuts"},
		{"count with a cut", doc(`"lines":[{"sku":"A","quantity":1,"cut":9}]`), Source{Store: "S1", Kind: KindCount}, CodeUnknownField, "/lines/0/cut"},
		{"sale that acknowledges", doc(`"acknowledged":{"S1/server":1},` + oneLine), s42, CodeUnknownField, "/acknowledged"},
		{"acks in a list", string(snapshotDoc(`["S1/server"]`)), statement, CodeInvalidField, "/acknowledged"},
		{"ack of no journal", string(snapshotDoc(`{"S1":1}`)), statement, CodeInvalidField, "/acknowledged/S1"},
		{"ack of epoch 0", string(snapshotDoc(`{"S1/server:0":1}`)), statement, CodeInvalidField, "/acknowledged/S1~1server:0"},
		{"ack of a feed of no name", string(snapshotDoc(`{"S1/feed:":1}`)), statement, CodeInvalidField, "/acknowledged/S1~1feed:"},
		{"ack of a half", string(snapshotDoc(`{"S1/server":1.5}`)), statement, CodeInvalidField, "/acknowledged/S1~1server"},
		{"ack below zero", string(snapshotDoc(`{"S1/server":-1}`)), statement, CodeInvalidField, "/acknowledged/S1~1server"},
		{"ack that is text", string(snapshotDoc(`{"S1/server":"1"}`)), statement, CodeInvalidField, "/acknowledged/S1~1server"},
		{"ack twice by epoch", string(snapshotDoc(`{"S1/server":1,"S1/server:1":2}`)), statement, CodeInvalidField, "/acknowledged/S1~1server:1"},
		{"ack twice by name", string(snapshotDoc(`{"S1/server":1,"S1/server":2}`)), statement, CodeDuplicateField, "/acknowledged/S1~1server"},
		{"acks that end early", `{"acknowledged":{"S1/server":`, statement, CodeMalformedJSON, "/acknowledged/S1~1server"},
		{"too many acks", string(snapshotDoc(manyAcks(AcksMax + 2))), statement, CodeInvalidField, "/acknowledged"},
		{"a clock", doc(oneLine), Source{Store: "S1", Kind: KindClock}, CodeInvalidField, "/kind"},
		{"a reservation by a feed", feedDoc("reservation", oneLine), feed, CodeInvalidField, "/kind"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, p := DecodeDocument([]byte(c.body), c.src)
			if p == nil {
				t.Fatalf("was accepted: %+v", e)
			}
			if p.Code != c.code || len(p.Errors) == 0 || p.Errors[0].Pointer != c.ptr || p.Hint == "" {
				t.Errorf("got %s %+v, want %s at %q", p.Code, p.Errors, c.code, c.ptr)
			}
		})
	}
	if e, p := DecodeDocument(snapshotDoc(manyAcks(AcksMax)), statement); p != nil || len(e.Acks) != AcksMax {
		t.Errorf("as many as may be: %v", p)
	}
}

func TestDecodeScannedCodes(t *testing.T) {
	priced, badly, weighed := rcn("281234503997"), rcn("201234582875"), rcn("291234500455")
	line := func(more string) string { return doc(`"lines":[{` + more + `}]`) }
	sale := Source{Store: "S1", Kind: KindSale, Schemes: house}
	lenient := sale
	lenient.Lenient = true
	for _, c := range []struct {
		name, body string
		src        Source
		want       Line
		flags      EventFlags
	}{
		{"price-embedded", line(`"code":"` + priced + `","unit_price":87.85`), sale, Line{SKU: "2812345", Quantity: 455, UOM: "KGM", RawCode: priced}, FlagDerivedQuantity},
		{"weight-embedded", line(`"unit_price":null,"code":"` + weighed + `"`), sale, Line{SKU: "2912345", Quantity: 455, UOM: "KGM", RawCode: weighed}, 0},
		{"its SKU is known better", line(`"sku":"HAM","code":"` + weighed + `"`), sale, Line{SKU: "HAM", Quantity: 455, UOM: "KGM", RawCode: weighed}, 0},
		{"the till weighed it", line(`"code":"` + priced + `","quantity":0.5`), sale, Line{SKU: "2812345", Quantity: 500, UOM: "KGM", RawCode: priced}, 0},
		{"the till weighed it in its own unit", line(`"uom":"GRM","code":"` + priced + `","quantity":500`), sale, Line{SKU: "2812345", Quantity: 500_000, UOM: "GRM", RawCode: priced}, 0},
		{"no unit price", line(`"code":"` + priced + `"`), sale, Line{SKU: SKU("0" + priced), Quantity: 1000, RawCode: priced}, FlagNoUnitPrice},
		{"bad verifier", line(`"code":"` + badly + `","unit_price":10`), sale, Line{SKU: SKU("0" + badly), Quantity: 1000, RawCode: badly}, FlagBadVerifier},
		{"bad verifier, weighed", line(`"code":"` + badly + `","quantity":0.3,"uom":"KGM"`), sale, Line{SKU: SKU("0" + badly), Quantity: 300, UOM: "KGM", RawCode: badly}, FlagBadVerifier},
		{"all is stated: the code is kept", line(`"sku":"HAM","quantity":1,"code":"anything at all"`), s42, Line{SKU: "HAM", Quantity: 1000, RawCode: "anything at all"}, 0},
		{"all is stated: a code that is the SKU", line(`"sku":"4006381333931","quantity":1,"code":"04006381333931"`), s42, Line{SKU: "04006381333931", Quantity: 1000}, 0},
		{"a GTIN that looks like a card", line(`"sku":"A","quantity":1,"code":"4000000000006"`), s42, Line{SKU: "A", Quantity: 1000, RawCode: "4000000000006"}, 0},
		{"check digit, legacy", line(`"code":"2812345039970"`), lenient, Line{SKU: "2812345039970", Quantity: 1000, RawCode: "2812345039970"}, FlagBadCheckDigit},
		{"check digit, legacy, weighed", line(`"code":"2812345039970","quantity":0.2`), lenient, Line{SKU: "2812345039970", Quantity: 200, RawCode: "2812345039970"}, FlagBadCheckDigit},
		{"a return of a weighed piece", strings.Replace(line(`"code":"`+weighed+`"`), `{`, `{"kind":"return",`, 1), Source{Store: "S1", Schemes: house}, Line{SKU: "2912345", Quantity: 455, UOM: "KGM", RawCode: weighed}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, p := DecodeDocument([]byte(c.body), c.src)
			if p != nil {
				t.Fatal(p)
			}
			c.want.Line = 1
			if d := cmp.Diff(e.Lines, []Line{c.want}); d != "" || e.Flags != c.flags {
				t.Errorf("flags %v, want %v: %s", e.Flags.Names(), c.flags.Names(), d)
			}
		})
	}
}

func TestRefusesScannedCodes(t *testing.T) {
	priced := rcn("281234503997")
	line := func(more string) string { return doc(`"lines":[{"sku":"A","quantity":1},{` + more + `}]`) }
	sale := Source{Store: "S1", Kind: KindSale, Schemes: house}
	for _, c := range []struct {
		name, body string
		src        Source
		code, ptr  string
	}{
		{"nothing is configured", line(`"code":"` + priced + `","unit_price":10`), s42, CodeMissingField, "/lines/1/sku"},
		{"not of a scheme", line(`"code":"4006381333931"`), sale, CodeMissingField, "/lines/1/sku"},
		{"not of a scheme, weighed", line(`"code":"4006381333931","quantity":1`), sale, CodeMissingField, "/lines/1/sku"},
		{"check digit", line(`"code":"2812345039970","unit_price":10`), sale, CodeBadCheckDigit, "/lines/1/code"},
		{"a card", line(`"sku":"A","quantity":1,"code":"4111111111111111"`), sale, CodePANDetected, "/lines/1/code"},
		{"too long", line(`"sku":"A","quantity":1,"code":"` + strings.Repeat("x", 65) + `"`), sale, CodeInvalidField, "/lines/1/code"},
		{"a number", line(`"sku":"A","quantity":1,"code":2812345039977`), sale, CodeInvalidField, "/lines/1/code"},
		{"negative unit price", line(`"code":"` + priced + `","unit_price":-1`), sale, CodeInvalidField, "/lines/1/unit_price"},
		{"unit price of 4 decimals", line(`"code":"` + priced + `","unit_price":1.0001`), sale, CodeInvalidField, "/lines/1/unit_price"},
		{"unit price in quotes", line(`"code":"` + priced + `","unit_price":"1"`), sale, CodeInvalidField, "/lines/1/unit_price"},
		{"a count scans", line(`"code":"` + priced + `"`), Source{Store: "S1", Kind: KindCount, Schemes: house}, CodeUnknownField, "/lines/1/code"},
		{"a price of nothing returned", doc(`"lines":[{"code":"` + rcn("291234500000") + `"}]`), Source{Store: "S1", Kind: KindReturn, Schemes: house}, CodeInvalidField, "/lines/0/quantity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, p := DecodeDocument([]byte(c.body), c.src)
			if p == nil {
				t.Fatalf("was accepted: %+v", e)
			}
			if p.Code != c.code || p.Errors[0].Pointer != c.ptr {
				t.Errorf("got %s %+v, want %s at %q", p.Code, p.Errors, c.code, c.ptr)
			}
			if s := fmt.Sprintf("%+v", p); strings.Contains(s, "4111111111111111") {
				t.Error("the answer repeats the card number:", s)
			}
		})
	}
	// The price of one line is not that of the next.
	e, p := DecodeDocument([]byte(doc(`"lines":[{"code":"`+priced+`","unit_price":87.85},{"code":"`+priced+`"}]`)), sale)
	if p != nil || e.Lines[0].Quantity != 455 || e.Lines[1].SKU != SKU("0"+priced) || e.Flags != FlagDerivedQuantity|FlagNoUnitPrice {
		t.Errorf("%+v %v", e, p)
	}
}

// TestViewsEveryField: what an event holds, people can see.
func TestViewsEveryField(t *testing.T) {
	by := map[string]map[string]any{}
	for _, g := range goldenEvents() {
		by[g.Name] = ViewDocument(&g.Event)
	}
	line := func(name string, i int) map[string]any { return by[name]["lines"].([]any)[i].(map[string]any) }
	for what, c := range map[string]struct{ got, want any }{
		"clock":   {[]any{by["clock"]["clock_offset_us"], by["clock"]["clock_error_us"]}, []any{int64(-2500), int64(900)}},
		"late":    {by["sale-late"]["clock_offset_us"], int64(120_000_000)},
		"in time": {by["sale"]["clock_offset_us"], nil},
		"flags":   {by["sale-late"]["flags"], []string{"bad_verifier", "no_unit_price"}},
		"stance":  {[]any{line("snapshot", 0)["stance"], line("snapshot", 1)["stance"]}, []any{nil, "drift"}},
		"cuts":    {line("count-siblings", 0)["sibling_cuts"], map[string]any{"till-02:1": uint64(12), "till-03:300": uint64(1<<63 + 3), "till-04:0": uint64(0)}},
		"body":    {fmt.Sprintf("%s", by["decision"]["body"]), `{"id":"wms/DC1/2100045","decision":"adopt"}`},
		"action":  {by["kit"]["action"], "build"},
		"bodies":  {by["sale"]["body"], nil},
	} {
		if d := cmp.Diff(c.got, c.want); d != "" {
			t.Errorf("%s: %s", what, d)
		}
	}
}
