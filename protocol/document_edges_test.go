package protocol

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// richest documents touch every field that their kind has.
var richest = map[string]Source{
	`{"kind":"return","location":"S1","source":"pos","document_id":"D1","register":"R1","occurred_at":"2026-11-23T10:15:02Z","business_date":"2026-11-23",
	  "traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","lines":[{"line":7,"sku":"A","quantity":1.5,"uom":"KGM","disposition":"damaged",
	  "original_document_id":"S1","original_store":"S7"},{"code":"` + rcn("291234500455") + `","unit_price":2.5}]}`: {Feed: true, Schemes: house},
	`{"document_id":"D1","occurred_at":"2026-11-23T10:15:02Z","scope":"zone","session":"s","zone":"caf\u00e9","counted_at":"2026-11-23T10:15:02Z","lines":[{"sku":"A","quantity":1,"counted_at":"2026-11-23T10:15:02Z","zone":"z"}]}`: {Store: "S1", Kind: KindCount},
	string(snapshotDoc(`{"S1/server":1}`)): statement,
}

// TestCutDocuments: a document that ends early is malformed wherever it ends.
func TestCutDocuments(t *testing.T) {
	for body, src := range richest {
		if _, p := DecodeDocument([]byte(body), src); p != nil {
			t.Fatal(p)
		}
		for cut := range len(body) {
			if e, p := DecodeDocument([]byte(body[:cut]), src); p == nil || p.Code != CodeMalformedJSON || e != nil {
				t.Fatalf("%q: %+v %v", body[:cut], e, p)
			}
		}
	}
}

func TestRefusesWrongWords(t *testing.T) {
	of := func(k Kind) Source { return Source{Store: "S1", Kind: k} }
	transfer := func(direction, counterparty string) string {
		return doc(`"direction":"` + direction + `","counterparty":"` + counterparty + `","transfer_id":"T1",` + oneLine)
	}
	for _, c := range []struct {
		name, body string
		src        Source
		code, ptr  string
	}{
		{"direction", transfer("up", "S7"), of(KindTransfer), CodeInvalidField, "/direction"},
		{"counterparty", transfer("in", "S 7"), of(KindTransfer), CodeInvalidField, "/counterparty"},
		{"counterparty is a card", transfer("in", "4111111111111111"), of(KindTransfer), CodePANDetected, "/counterparty"},
		{"location", doc(`"kind":"sale","location":"DC/1",` + oneLine), feed, CodeInvalidField, "/location"},
		{"scope", doc(`"scope":"all",` + oneLine), of(KindCount), CodeInvalidField, "/scope"},
		{"reason", doc(`"reason":"because",` + oneLine), of(KindAdjustment), CodeInvalidField, "/reason"},
		{"voids_kind", doc(`"voids":"S1","voids_kind":"void"`), of(KindVoid), CodeInvalidField, "/voids_kind"},
		{"voids_kind of a feed", doc(`"voids":"S1","voids_kind":"advice"`), of(KindVoid), CodeInvalidField, "/voids_kind"},
		{"disposition", doc(`"lines":[{"sku":"A","quantity":1,"disposition":"wet"}]`), of(KindReturn), CodeInvalidField, "/lines/0/disposition"},
		{"disposition of nothing", doc(`"lines":[{"sku":"A","quantity":1,"disposition":""}]`), of(KindReturn), CodeInvalidField, "/lines/0/disposition"},
		{"no to", doc(`"from":"sellable",` + oneLine), of(KindStatusChange), CodeMissingField, "/to"},
		{"from is to", doc(`"from":"damaged","lines":[{"sku":"A","quantity":1,"to":"damaged"}]`), of(KindStatusChange), CodeInvalidField, "/lines/0/to"},
		{"empty id", doc(`"register":"",` + oneLine), s42, CodeInvalidField, "/register"},
		{"unprintable", doc(`"register":"a\u200bb",` + oneLine), s42, CodeInvalidField, "/register"},
		{"zone of control characters", doc(`"zone":"a\tb",` + oneLine), of(KindCount), CodeInvalidField, "/zone"},
		{"uom of five", doc(`"lines":[{"sku":"A","quantity":1,"uom":"EACHS"}]`), s42, CodeInvalidField, "/lines/0/uom"},
		{"line 0", doc(`"lines":[{"line":0,"sku":"A","quantity":1}]`), s42, CodeInvalidField, "/lines/0/line"},
		{"line of a half", doc(`"lines":[{"line":1.5,"sku":"A","quantity":1}]`), s42, CodeInvalidField, "/lines/0/line"},
		{"line in quotes", doc(`"lines":[{"line":"1","sku":"A","quantity":1}]`), s42, CodeInvalidField, "/lines/0/line"},
		{"two original stores", doc(`"lines":[{"sku":"A","quantity":1,"original_store":"S2"},{"sku":"A","quantity":1,"original_store":"S3"}]`), of(KindReturn), CodeInvalidField, "/lines/1/original_store"},
		{"complete in quotes", strings.Replace(string(snapshotDoc("{}")), "true", `"true"`, 1), statement, CodeInvalidField, "/complete"},
		{"snapshot with two ids", strings.Replace(string(snapshotDoc("{}")), `{`, `{"document_id":"D",`, 1), statement, CodeUnknownField, "/snapshot_id"},
		{"snapshot without id", `{"location":"DC1","as_of":"2026-11-23T10:15:02Z",` + oneLine + `}`, statement, CodeMissingField, "/snapshot_id"},
		{"snapshot of no moment", `{"location":"DC1","snapshot_id":"N",` + oneLine + `}`, statement, CodeMissingField, "/as_of"},
		{"negative statement", `{"location":"DC1","snapshot_id":"N","as_of":"2026-11-23T10:15:02Z","lines":[{"sku":"A","quantity":-1}]}`, statement, CodeInvalidField, "/lines/0/quantity"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, p := DecodeDocument([]byte(c.body), c.src)
			if p == nil {
				t.Fatalf("was accepted: %+v", e)
			}
			if p.Code != c.code || p.Errors[0].Pointer != c.ptr {
				t.Errorf("got %s %+v, want %s at %q", p.Code, p.Errors, c.code, c.ptr)
			}
		})
	}
	if e, p := DecodeDocument([]byte(strings.Replace(string(snapshotDoc("{}")), "true", `null`, 1)), statement); p != nil || e.Complete {
		t.Error("complete is optional:", p)
	}
}

// TestDocumentTooLarge: what keeps to every other limit may still be more than a
// record holds: statements of many journals. It is refused, and told how much it
// is; the fullest count of all fits.
func TestDocumentTooLarge(t *testing.T) {
	acks := func(n int) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"S%063d/%s":1`, i, strings.Repeat("a", 64))
		}
		return snapshotDoc("{" + b.String()[1:] + "}")
	}
	if e, p := DecodeDocument(acks(2000), statement); p == nil || p.Code != CodeDocumentLarge || p.Status != 413 || e != nil {
		t.Errorf("%v", p)
	}
	if e, p := DecodeDocument(acks(1600), statement); p != nil || len(AppendRecord(nil, 1<<62, e)) > RecordBytesMax {
		t.Errorf("%v", p)
	}
	var b strings.Builder
	for i := range DocumentLinesMax {
		fmt.Fprintf(&b, `,{"line":%d,"sku":"%064d","quantity":1000000000,"uom":"KGM","zone":"%s","counted_at":"2099-12-31T23:59:59.999999-12:00"}`, 900_000+i, i, strings.Repeat("z", 128))
	}
	e, p := DecodeDocument([]byte(doc(`"lines":[`+b.String()[1:]+`]`)), Source{Store: "S1", Kind: KindCount})
	if p != nil {
		t.Fatal(p)
	}
	if n := len(AppendRecord(nil, 1<<62, e)); n > RecordBytesMax || n < RecordBytesMax*9/10 {
		t.Errorf("the fullest count takes %d bytes of %d", n, RecordBytesMax)
	}
}

func TestTraceparent(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for s, want := range map[string]bool{
		good: true, "01" + good[2:] + "-more": true, "cc" + good[2:]: true, "": false, good[:54]: false, good + "-more": false, "01" + good[2:] + "more": false,
		"ff" + good[2:]: false, strings.ToUpper(good): false, "00-" + strings.Repeat("0", 32) + good[35:]: false, good[:36] + strings.Repeat("0", 16) + "-01": false,
		strings.Replace(good, "4b", "4g", 1): false, strings.Replace(good, "-", "_", 1): false, "01" + good[2:] + "-a b": false,
		"01" + good[2:] + "-" + strings.Repeat("x", 128): false, "0g" + good[2:]: false,
	} {
		if ValidTraceparent(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

func TestSplitsLongDocuments(t *testing.T) {
	e := &Event{Store: "S1", Kind: KindSale, DocumentID: "D", Lines: make([]Line, 2*DocumentLinesMax+1)}
	for i := range e.Lines {
		e.Lines[i] = Line{Line: i + 1, SKU: "A", Quantity: 1}
	}
	parts := SplitDocument(e)
	var lines []Line
	for i, p := range parts {
		id := "D"
		if i > 0 {
			id += "/" + strconv.Itoa(i+1)
		}
		if p.DocumentID != id || p.ID != MakeEventID("S1", KindSale, id) || len(p.Lines) > DocumentLinesMax {
			t.Errorf("part %d is %s with %d lines", i, p.DocumentID, len(p.Lines))
		}
		lines = append(lines, p.Lines...)
	}
	if d := cmp.Diff(lines, e.Lines); len(parts) != 3 || d != "" {
		t.Errorf("%d parts: %s", len(parts), d)
	}
	e.Lines = e.Lines[:DocumentLinesMax]
	if parts := SplitDocument(e); len(parts) != 1 || parts[0] != e || e.ID != MakeEventID("S1", KindSale, "D") {
		t.Error("a document that fits is split")
	}
}

func TestSplitDocumentsRefuses(t *testing.T) {
	many := strings.Repeat("{},", BulkEventsMax)
	for body, code := range map[string]string{
		"": CodeMalformedJSON, " \n": CodeMalformedJSON, "7": CodeMalformedJSON, "[": CodeMalformedJSON, "[]": CodeMalformedJSON, "[{},": CodeMalformedJSON,
		"[{}": CodeMalformedJSON, "[{}] {}": CodeMalformedJSON, "[{} {}]": CodeMalformedJSON, "[{}}": CodeMalformedJSON,
		"[" + many + "{}]": CodeTooManyDocuments, strings.ReplaceAll(many, ",", "\n") + "{}": CodeTooManyDocuments,
	} {
		if docs, p := SplitDocuments([]byte(body)); p == nil || p.Code != code || docs != nil || p.Hint == "" || p.Errors[0].Message == "" {
			t.Errorf("%.20q: %d documents, %+v, want %s", body, len(docs), p, code)
		}
	}
	for _, body := range []string{"[" + strings.TrimSuffix(many, ",") + "]", strings.ReplaceAll(many, ",", "\r\n\n")} {
		if docs, p := SplitDocuments([]byte(body)); p != nil || len(docs) != BulkEventsMax {
			t.Errorf("%.20q: %d documents, %v", body, len(docs), p)
		}
	}
}
