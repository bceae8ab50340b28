package epcis

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"tillwire/protocol"
)

const head = `"type":"ObjectEvent","eventTime":"2026-11-23T09:00:00.000+01:00","eventTimeZoneOffset":"+01:00","action":"OBSERVE"`

const documentHead = `{"@context":["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"],"type":"EPCISDocument","schemaVersion":"2.0","creationDate":"2026-11-23T10:00:01Z",`

var places = &Options{SaleAway: true, Places: Places{"9521321000010": "DC1", "https://wms.example/loc/7": "DC7", "urn:epc:id:sgln:952132.100002.0": "S2"}}

func obj(rest string) string { return "{" + head + "," + rest + "}" }

// said is a judgement in one line.
func said(it Item) string {
	switch {
	case it.Problem != nil:
		return it.Problem.Code + " " + it.Problem.Errors[0].Pointer
	case it.Event == nil:
		return "still: " + it.Still
	}
	e := it.Event
	s := fmt.Sprintf("%s %s", e.Kind, e.Store)
	if e.Counterparty != "" {
		s += " to " + string(e.Counterparty) + " by " + e.TransferID
	}
	for _, l := range e.Lines {
		s += fmt.Sprintf(" %s×%s", l.SKU, l.Quantity)
		if l.Disposition != 0 {
			s += " " + l.Disposition.String()
		}
	}
	return s
}

func TestEventsBecomeDocuments(t *testing.T) {
	const at = `"bizLocation":{"id":"https://id.gs1.org/414/9521321000010"}`
	const three = `"quantityList":[{"epcClass":"https://id.gs1.org/01/05901234123457","quantity":3}]`
	for _, c := range []struct{ name, event, want string }{
		{"bare word", obj(`"bizStep":"receiving",` + at + "," + three), "receipt DC1 05901234123457×3"},
		{"URN word", obj(`"bizStep":"urn:epcglobal:cbv:bizstep:receiving",` + at + "," + three), "receipt DC1 05901234123457×3"},
		{"Web word", obj(`"bizStep":"https://ref.gs1.org/cbv/BizStep-receiving",` + at + "," + three), "receipt DC1 05901234123457×3"},
		{"instances add up", obj(`"bizStep":"receiving",` + at + `,"epcList":["urn:epc:id:sgtin:0614141.107346.2017","urn:epc:id:sgtin:0614141.107346.2018","urn:epc:id:sscc:0614141.1234567890"]`), "receipt DC1 10614141073464×2"},
		{"a class with a lot, weighed", obj(`"bizStep":"receiving",` + at + `,"quantityList":[{"epcClass":"urn:epc:class:lgtin:4012345.012345.998877","quantity":20.5,"uom":"KGM"}]`), "receipt DC1 04012345123456×20.5"},
		{"damaged on arrival", obj(`"bizStep":"receiving","disposition":"damaged",` + at + "," + three), "receipt DC1 05901234123457×3 damaged"},
		{"shipped to nobody known", obj(`"bizStep":"shipping",` + at + "," + three), "sale DC1 05901234123457×3"},
		{"shipped to a store", obj(`"bizStep":"shipping",` + at + "," + three + `,"bizTransactionList":[{"type":"desadv","bizTransaction":"urn:epcglobal:cbv:bt:9521321000010:D77"}],"destinationList":[{"type":"location","destination":"urn:epc:id:sgln:952132.100002.0"}]`), "transfer DC1 to S2 by D77 05901234123457×3"},
		{"picked", obj(`"bizStep":"picking",` + at + "," + three), "still: bizStep picking moves no stock"},
		{"counted", obj(`"bizStep":"cycle_counting",` + at + "," + three), "count DC1 05901234123457×3"},
		{"destroyed", obj(`"bizStep":"destroying",` + at + "," + three), "adjustment DC1 05901234123457×-3"},
		{"found damaged", obj(`"bizStep":"inspecting","disposition":"damaged",` + at + "," + three), "status_change DC1 05901234123457×3"},
		{"place of the table", obj(`"bizStep":"receiving","readPoint":{"id":"https://wms.example/loc/7"},` + three), "receipt DC7 05901234123457×3"},
		{"place by its GLN and extension", obj(`"bizStep":"receiving","readPoint":{"id":"https://id.gs1.org/414/9521321000010/254/S001"},` + three), "receipt 9521321000010-S001 05901234123457×3"},
		{"no place", obj(`"bizStep":"receiving",` + three), "unknown_place /bizLocation"},
		{"strange place", obj(`"bizStep":"receiving","readPoint":{"id":"geo:1,2"},` + three), "unknown_place /readPoint/id"},
		{"strange word", obj(`"bizStep":"https://x.example/juggling",` + at + "," + three), "unknown_biz_step /bizStep"},
		{"no GTIN", obj(`"bizStep":"receiving",` + at + `,"quantityList":[{"epcClass":"https://x.example/apples","quantity":1}]`), "unknown_class /quantityList/0/epcClass"},
		{"no quantity", obj(`"bizStep":"receiving",` + at + `,"quantityList":[{"epcClass":"https://id.gs1.org/01/05901234123457"}]`), "invalid_epcis /quantityList/0/quantity"},
		{"no clock", `{"type":"ObjectEvent","action":"ADD","eventTime":"2026-11-23T09:00:00","eventTimeZoneOffset":"+01:00","epcList":[]}`, "invalid_epcis /eventTime"},
		{"error", obj(`"bizStep":"receiving","eventID":"urn:uuid:a","errorDeclaration":{"declarationTime":"2026-11-24T09:00:00Z"},` + at + "," + three), "void DC1"},
		{"transformed", `{"type":"TransformationEvent","eventTime":"2026-11-23T09:00:00Z","eventTimeZoneOffset":"+00:00",` + at + `,"inputQuantityList":[{"epcClass":"https://id.gs1.org/01/05901234123457","quantity":2}],"outputQuantityList":[{"epcClass":"https://id.gs1.org/01/04006381333931","quantity":8}]}`, "adjustment DC1 05901234123457×-2 04006381333931×8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := said(ReadEvent([]byte(c.event), places)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAnErrorVoidsWhatWasCaptured(t *testing.T) {
	rest := `"bizStep":"receiving","bizLocation":{"id":"https://id.gs1.org/414/9521321000010"},"quantityList":[{"epcClass":"https://id.gs1.org/01/05901234123457","quantity":3}]`
	for _, id := range []string{"", `"eventID":"ni:///sha-256;df7bb3c352fef055578554f09f5e2aa41782150ced7bd0b8af24dd3ccb30ba69?ver=CBV2.0",`} {
		first := ReadEvent([]byte(obj(id+rest)), places)
		wrong := ReadEvent([]byte(obj(id+rest+`,"errorDeclaration":{"declarationTime":"2026-11-24T09:00:00Z"}`)), places)
		if first.Event == nil || wrong.Event == nil || wrong.Event.Voids != first.Event.DocumentID || wrong.Event.VoidsKind != protocol.KindReceipt {
			t.Errorf("%q: %+v is voided by %+v", id, first.Problem, wrong.Problem)
		}
	}
	long := ReadEvent([]byte(obj(`"eventID":"ni:///sha-256;4111111111111111aaaa",`+rest)), places)
	if long.Event == nil || !strings.HasPrefix(long.Event.DocumentID, "epcis:") {
		t.Errorf("an id with digits like a card's: %v", long.Problem)
	}
}

// TestOfficialExamples judges each JSON-LD example of the standard where they
// are at hand: none is unreadable or refused but for the reasons named here.
func TestOfficialExamples(t *testing.T) {
	want := map[string]string{
		"EPCISQueryDocument.jsonld":                      "unreadable_epcis /type", // no capture
		"Example-TransactionEvents-2020_07_03y.jsonld/0": "unknown_biz_step /epcisBody/eventList/0/bizStep",
	}
	files := 0
	for name, b := range official(t) {
		if !strings.HasSuffix(name, ".jsonld") {
			continue
		}
		files++
		items, p := ReadDocument(b, places)
		if p != nil && said(Item{Problem: p}) != want[name] {
			t.Errorf("%s: %s", name, said(Item{Problem: p}))
		}
		for i, it := range items {
			at := fmt.Sprintf("%s/%d", name, i)
			t.Log(at, said(it))
			if it.Problem != nil && said(it) != want[at] {
				t.Errorf("%s: %s", at, said(it))
			}
		}
	}
	if files != 47 {
		t.Errorf("%d examples, the standard has 47", files)
	}
}

func FuzzReadDocument(f *testing.F) {
	f.Add([]byte(documentHead + `"epcisBody":{"eventList":[` + obj(`"bizStep":"receiving","readPoint":{"id":"urn:epc:id:sgln:0614141.00777.0"},"epcList":["urn:epc:id:sgtin:0614141.107346.2017"]`) + `]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		items, p := ReadDocument(b, places)
		if (p == nil) == (len(items) == 0) {
			t.Fatalf("neither read nor refused: %v", p)
		}
		for _, it := range items {
			set := 0
			for _, is := range []bool{it.Event != nil, it.Still != "", it.Problem != nil} {
				if is {
					set++
				}
			}
			if set != 1 {
				t.Fatalf("judged %d times: %+v", set, it)
			}
		}
	})
}

func BenchmarkReadDocument(b *testing.B) {
	const events = 100
	var list []string
	for i := range events {
		list = append(list, obj(fmt.Sprintf(`"eventID":"urn:uuid:%d","bizStep":"receiving","bizLocation":{"id":"https://id.gs1.org/414/9521321000010"},"quantityList":[{"epcClass":"https://id.gs1.org/01/05901234123457","quantity":3}]`, i)))
	}
	body := []byte(documentHead + `"epcisBody":{"eventList":[` + strings.Join(list, ",") + `]}}`)
	if !json.Valid(body) {
		b.Fatal("broken fixture")
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, p := ReadDocument(body, places); p != nil {
			b.Fatal(p)
		}
	}
	b.ReportMetric(float64(b.N)*events/b.Elapsed().Seconds(), "events/s")
}
