package protocol

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const saleJSON = `{"document_id":"S0042-R03-000187","register":"R03","occurred_at":"2026-11-23T10:15:02.123+01:00","business_date":"2026-11-23",
 "lines":[{"line":1,"sku":"4006381333931","quantity":2,"uom":"EA"},{"line":2,"sku":"2100045","quantity":0.455,"uom":"KGM"}]}`

var s42 = Source{Store: "S0042", Kind: KindSale}

func TestDecodeSale(t *testing.T) {
	e, p := DecodeDocument([]byte(saleJSON), s42)
	if p != nil {
		t.Fatal(p)
	}
	want := &Event{
		ID: MakeEventID("S0042", KindSale, "S0042-R03-000187"), Kind: KindSale, Store: "S0042",
		DocumentID: "S0042-R03-000187", Register: "R03",
		EventTime: Stamp{US: 1795425302123000, OffsetMin: 60}, BusinessDate: "2026-11-23",
		Lines: []Line{{Line: 1, SKU: "04006381333931", Quantity: 2000, UOM: "EA"}, {Line: 2, SKU: "2100045", Quantity: 455, UOM: "KGM"}},
	}
	if d := cmp.Diff(want, e); d != "" {
		t.Error(d)
	}
}

// doc makes a document of the common fields and more.
func doc(more string) string {
	return `{"document_id":"D1","occurred_at":"2026-11-23T10:15:02Z",` + more + `}`
}

const oneLine = `"lines":[{"sku":"A","quantity":1}]`

func TestDecodeEachKind(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		more string
		want func(e *Event) any
		is   any
	}{
		{
			KindReturn, `"original_document_id":"S1","original_store":"S0007","lines":[{"sku":"A","quantity":1},{"sku":"B","quantity":1,"disposition":"sellable"}]`,
			func(e *Event) any {
				return []any{e.OriginalDocument, e.OriginalStore, e.Lines[0].Disposition, e.Lines[1].Disposition, e.Lines[1].Line}
			},
			[]any{"S1", StoreID("S0007"), DispositionNone, DispositionSellable, 2},
		},
		{
			KindReturn, `"lines":[{"sku":"A","quantity":1,"original_document_id":"S1"},{"sku":"B","quantity":1,"original_document_id":"S1"}]`,
			func(e *Event) any { return e.OriginalDocument }, "S1",
		},
		{
			KindCount, `"scope":"zone","session":"C1","zone":"aisle 4","counted_at":"2026-11-23T10:00:00Z","lines":[{"sku":"A","quantity":0},{"sku":"B","quantity":1,"counted_at":"2026-11-23T10:01:00Z"}]`,
			func(e *Event) any {
				return []any{e.Scope, e.Session, e.Zone, e.Lines[1].CountedAt.US - e.Lines[0].CountedAt.US}
			},
			[]any{ScopeZone, "C1", "aisle 4", int64(60_000_000)},
		},
		{KindCount, oneLine, func(e *Event) any { return e.Scope }, ScopeSKU},
		{KindReceipt, `"source":"DC1","advice_id":"A1",` + oneLine, func(e *Event) any { return []string{e.Source, e.AdviceID} }, []string{"DC1", "A1"}},
		{KindAdjustment, `"reason":"shrink","lines":[{"sku":"A","quantity":-1.5}]`, func(e *Event) any { return []any{e.Reason, e.Lines[0].Quantity} }, []any{"shrink", Quantity(-1500)}},
		{KindTransfer, `"direction":"out","counterparty":"S7","transfer_id":"T1",` + oneLine, func(e *Event) any { return []any{e.Direction, e.Counterparty, e.TransferID} }, []any{DirectionOut, StoreID("S7"), "T1"}},
		{KindVoid, `"voids":"S1","voids_kind":"sale"`, func(e *Event) any { return []any{e.Voids, e.VoidsKind, e.Lines} }, []any{"S1", KindSale, []Line(nil)}},
		{KindStatusChange, `"from":"sellable","to":"damaged",` + oneLine, func(e *Event) any { return []any{e.Lines[0].From, e.Lines[0].To} }, []any{DispositionSellable, DispositionDamaged}},
		{KindSale, `"lines":[{"sku":"A","quantity":0}],"register":null,"order_id":"O1","hold_id":"H1"`, func(e *Event) any { return []any{e.OrderID, e.HoldID, e.Register} }, []any{"O1", "H1", ""}},
	} {
		e, p := DecodeDocument([]byte(doc(c.more)), Source{Store: "S1", Kind: c.kind})
		if p != nil {
			t.Errorf("%v %s: %v", c.kind, c.more, p)
			continue
		}
		if d := cmp.Diff(c.is, c.want(e)); d != "" {
			t.Errorf("%v %s: %s", c.kind, c.more, d)
		}
		// What we show of it can be read again, and is the same document.
		var back Event
		if err := DecodeEvent(AppendEvent(nil, e), &back); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff(ViewDocument(e), ViewDocument(&back)); d != "" {
			t.Error(d)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	const pan = "4111111111111111"
	manyLines := `"lines":[` + strings.TrimSuffix(strings.Repeat(`{"sku":"A","quantity":1},`, 1001), ",") + `]`
	for _, c := range []struct {
		name, body string
		src        Source
		status     int
		code, ptr  string
	}{
		{"empty", ``, s42, 400, CodeMalformedJSON, ""},
		{"cut", saleJSON[:100], s42, 400, CodeMalformedJSON, ""},
		{"array", `[]`, s42, 400, CodeMalformedJSON, ""},
		{"comma", `{"document_id":"a",}`, s42, 400, CodeMalformedJSON, ""},
		{"two documents", saleJSON + saleJSON, s42, 400, CodeMalformedJSON, ""},
		{"bom", "\ufeff" + saleJSON, s42, 400, CodeMalformedJSON, ""},
		{"invalid utf-8", doc("\"register\":\"\xff\"," + oneLine), s42, 400, CodeMalformedJSON, "/register"},
		{"name twice", doc(`"document_id":"x",` + oneLine), s42, 400, CodeDuplicateField, "/document_id"},
		{"escaped name twice", doc(`"document_i\u0064":"x",` + oneLine), s42, 400, CodeDuplicateField, "/document_id"},
		{"unknown", doc(`"pri/ce":1,` + oneLine), s42, 422, CodeUnknownField, "/pri~1ce"},
		{"unknown on line", doc(`"lines":[{"sku":"A","quantity":1,"price":3}]`), s42, 422, CodeUnknownField, "/lines/0/price"},
		{"other kind's field", doc(`"reason":"shrink",` + oneLine), s42, 422, CodeUnknownField, "/reason"},
		{"other kind's line field", doc(`"lines":[{"sku":"A","quantity":1},{"sku":"A","quantity":1,"disposition":"damaged"}]`), s42, 422, CodeUnknownField, "/lines/1/disposition"},
		{"location from a till", doc(`"location":"DC1",` + oneLine), s42, 422, CodeUnknownField, "/location"},
		{"wrong type", doc(`"register":3,` + oneLine), s42, 422, CodeInvalidField, "/register"},
		{"id is a number", `{"document_id":7,"occurred_at":"2026-11-23T10:15:02Z",` + oneLine + `}`, s42, 422, CodeInvalidField, "/document_id"},
		{"quantity is a string", doc(`"lines":[{"sku":"A","quantity":"1"}]`), s42, 422, CodeInvalidField, "/lines/0/quantity"},
		{"no quantity", doc(`"lines":[{"sku":"A"}]`), s42, 422, CodeMissingField, "/lines/0/quantity"},
		{"no lines", doc(`"register":"1"`), s42, 422, CodeMissingField, "/lines"},
		{"empty lines", doc(`"lines":[]`), s42, 422, CodeMissingField, "/lines"},
		{"lines is an object", doc(`"lines":{}`), s42, 422, CodeInvalidField, "/lines"},
		{"line is null", doc(`"lines":[null]`), s42, 422, CodeInvalidField, "/lines/0"},
		{"too many lines", doc(manyLines), s42, 422, CodeTooManyLines, "/lines"},
		{"check digit", doc(`"lines":[{"sku":"4006381333932","quantity":1}]`), s42, 422, CodeBadCheckDigit, "/lines/0/sku"},
		{"negative sale", doc(`"lines":[{"sku":"A","quantity":-1}]`), s42, 422, CodeInvalidField, "/lines/0/quantity"},
		{"negative count", doc(`"lines":[{"sku":"A","quantity":-1}]`), Source{Store: "S1", Kind: KindCount}, 422, CodeInvalidField, "/lines/0/quantity"},
		{"zero receipt", doc(`"lines":[{"sku":"A","quantity":0}]`), Source{Store: "S1", Kind: KindReceipt}, 422, CodeInvalidField, "/lines/0/quantity"},
		{"four decimals", doc(`"lines":[{"sku":"A","quantity":0.0001}]`), s42, 422, CodeInvalidField, "/lines/0/quantity"},
		{"huge", doc(`"lines":[{"sku":"A","quantity":1e12}]`), s42, 422, CodeInvalidField, "/lines/0/quantity"},
		{"line number twice", doc(`"lines":[{"line":1,"sku":"A","quantity":1},{"line":1,"sku":"A","quantity":1}]`), s42, 422, CodeInvalidField, "/lines/1/line"},
		{"uom", doc(`"lines":[{"sku":"A","quantity":1,"uom":"each"}]`), s42, 422, CodeInvalidField, "/lines/0/uom"},
		{"no zone", `{"document_id":"D","occurred_at":"2026-11-23T10:15:02",` + oneLine + `}`, s42, 422, CodeInvalidField, "/occurred_at"},
		{"absurd time", `{"document_id":"D","occurred_at":"1970-01-01T00:00:00Z",` + oneLine + `}`, s42, 422, CodeInvalidField, "/occurred_at"},
		{"business date", doc(`"business_date":"2026-02-30",` + oneLine), s42, 422, CodeInvalidField, "/business_date"},
		{"traceparent", doc(`"traceparent":"00-1-2-3",` + oneLine), s42, 422, CodeInvalidField, "/traceparent"},
		{"control character", doc(`"register":"a\u0007",` + oneLine), s42, 422, CodeInvalidField, "/register"},
		{"long id", doc(`"order_id":"` + strings.Repeat("x", 129) + `",` + oneLine), s42, 422, CodeInvalidField, "/order_id"},
		{"card number", doc(`"order_id":"` + pan + `",` + oneLine), s42, 422, CodePANDetected, "/order_id"},
		{"card number wins", doc(`"register":3,"order_id":"` + pan + `",` + oneLine), s42, 422, CodePANDetected, "/register"},
		{"no kind", doc(oneLine), Source{Store: "S1"}, 422, CodeMissingField, "/kind"},
		{"snapshot from a till", doc(`"kind":"snapshot",` + oneLine), Source{Store: "S1"}, 422, CodeInvalidField, "/kind"},
		{"hold", doc(`"kind":"hold",` + oneLine), Source{Store: "S1"}, 422, CodeInvalidField, "/kind"},
		{"another kind", doc(`"kind":"return",` + oneLine), s42, 422, CodeInvalidField, "/kind"},
		{"void with lines", doc(`"voids":"S1",` + oneLine), Source{Store: "S1", Kind: KindVoid}, 422, CodeInvalidField, "/lines"},
		{"status change without from", doc(`"to":"damaged",` + oneLine), Source{Store: "S1", Kind: KindStatusChange}, 422, CodeMissingField, "/from"},
		{"two originals", doc(`"lines":[{"sku":"A","quantity":1,"original_document_id":"1"},{"sku":"A","quantity":1,"original_document_id":"2"}]`), Source{Store: "S1", Kind: KindReturn}, 422, CodeInvalidField, "/lines/1/original_document_id"},
		{"transfer to itself", doc(`"direction":"out","counterparty":"S1","transfer_id":"T1",` + oneLine), Source{Store: "S1", Kind: KindTransfer}, 422, CodeInvalidField, "/counterparty"},
		{"feed without location", doc(oneLine), Source{Kind: KindReceipt, Feed: true}, 422, CodeMissingField, "/location"},
	} {
		e, p := DecodeDocument([]byte(c.body), c.src)
		if p == nil {
			t.Errorf("%s: was accepted: %+v", c.name, e)
			continue
		}
		if p.Status != c.status || p.Code != c.code || len(p.Errors) == 0 || p.Errors[0].Pointer != c.ptr || p.Hint == "" || p.Errors[0].Message == "" {
			t.Errorf("%s: got %d %s %+v hint %q, want %d %s at %q", c.name, p.Status, p.Code, p.Errors, p.Hint, c.status, c.code, c.ptr)
		}
		if s := fmt.Sprintf("%+v", p); strings.Contains(s, pan) {
			t.Errorf("%s: the answer repeats the card number: %s", c.name, s)
		}
	}
}

func TestDecodeCollectsErrors(t *testing.T) {
	_, p := DecodeDocument([]byte(`{"occurred_at":"x","lines":[{"sku":"","quantity":-1},{"sku":"B","quantity":-1}],"foo":1}`), s42)
	var ptrs []string
	for _, e := range p.Errors {
		ptrs = append(ptrs, e.Pointer)
	}
	want := []string{"/occurred_at", "/lines/0/sku", "/foo", "/document_id", "/lines/1/quantity"}
	if d := cmp.Diff(want, ptrs); d != "" {
		t.Error(d)
	}
}

func TestDecodeLenientAndFeed(t *testing.T) {
	e, p := DecodeDocument([]byte(doc(`"lines":[{"sku":"4006381333932","quantity":1}]`)), Source{Store: "S1", Kind: KindSale, Lenient: true})
	if p != nil || e.Lines[0].SKU != "4006381333932" || e.Flags != FlagBadCheckDigit {
		t.Errorf("lenient: %+v %v", e, p)
	}
	e, p = DecodeDocument([]byte(doc(`"kind":"receipt","location":"DC1","source":"wms",`+oneLine)), Source{Feed: true})
	if p != nil || e.Store != "DC1" || e.Kind != KindReceipt || e.ID != MakeEventID("DC1", KindReceipt, "D1") {
		t.Errorf("feed: %+v %v", e, p)
	}
	e, p = DecodeDocument([]byte(`{"snapshot_id":"N1","location":"DC1","as_of":"2026-11-23T10:15:02Z","complete":true,`+oneLine+`}`), Source{Kind: KindSnapshot, Feed: true})
	if p != nil || e.DocumentID != "N1" || !e.Complete || e.EventTime.IsZero() {
		t.Errorf("snapshot: %+v %v", e, p)
	}
}

func TestDecodeMasksTexts(t *testing.T) {
	e, p := DecodeDocument([]byte(doc(`"zone":"card 4111 1111 1111 1111 found",`+oneLine)), Source{Store: "S1", Kind: KindCount})
	if p != nil || e.Zone != "card **** **** **** 1111 found" || e.Flags != FlagMasked {
		t.Errorf("%+v %v", e, p)
	}
}

func FuzzDecodeDocument(f *testing.F) {
	f.Add([]byte(saleJSON), uint8(0))
	f.Add([]byte(doc(`"kind":"return","lines":[{"sku":"A","quantity":1,"original_document_id":"1","disposition":"damaged"}]`)), uint8(0))
	f.Add([]byte(doc(`"voids":"S1","voids_kind":"sale"`)), uint8(KindVoid))
	f.Add([]byte(doc(`"zone":";4111111111111111=25121011000","lines":[{"sku":"4006381333932","quantity":1e-3,"counted_at":"2026-11-23T10:15:02+14:00"}]`)), uint8(KindCount))
	f.Add([]byte(doc(`"kind":"sale","lines":[{"code":"`+rcn("281234503997")+`","unit_price":87.85},{"quantity":1,"code":"`+rcn("201234582875")+`"}]`)), uint8(0))
	f.Add([]byte(doc(`"action":"build",`+kitLines)), uint8(KindKit))
	f.Add(snapshotDoc(`{"S1/server":1,"DC1/feed:wms:3":2}`), uint8(KindSnapshot)|128|32)
	f.Fuzz(func(t *testing.T, b []byte, k uint8) {
		src := Source{Store: "S1", Kind: Kind(int(k&31) % (KindLimit + 1)), Feed: k > 128, Lenient: k&64 != 0, Schemes: house}
		e, p := DecodeDocument(b, src)
		if p != nil {
			if e != nil || p.Code == "" || p.Hint == "" || p.Status < 400 {
				t.Fatalf("half a refusal: %+v %+v", e, p)
			}
			return
		}
		if e.Kind != KindVoid && e.Kind != KindSnapshot && e.Kind != KindCount && len(e.Lines) == 0 || e.DocumentID == "" || e.Store == "" {
			t.Fatalf("accepted half an event: %+v", e)
		}
		enc := AppendEvent(nil, e)
		if len(enc) > RecordBytesMax {
			t.Fatalf("accepted %d bytes from %d", len(enc), len(b))
		}
		var back Event
		if err := DecodeEvent(enc, &back); err != nil {
			t.Fatal(err)
		}
		if back.ContentHash() != e.ContentHash() {
			t.Fatal("content changed on the wire")
		}
		for _, s := range []string{e.DocumentID, e.Register, e.Zone, e.Source, e.Session} {
			if FindPAN(s, true) {
				t.Fatalf("card number got through: %q", s)
			}
		}
	})
}

func BenchmarkDecodeDocument(b *testing.B) {
	var sb strings.Builder
	sb.WriteString(`{"document_id":"S0042-R03-000187","register":"R03","occurred_at":"2026-11-23T10:15:02.123+01:00","business_date":"2026-11-23","lines":[`)
	for i := range 10 {
		if i > 0 {
			sb.WriteByte(',')
		}
		fmt.Fprintf(&sb, `{"line":%d,"sku":"04006381333931","quantity":2,"uom":"EA"}`, i+1)
	}
	sb.WriteString(`]}`)
	body := []byte(sb.String())
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, p := DecodeDocument(body, s42); p != nil {
			b.Fatal(p)
		}
	}
}
