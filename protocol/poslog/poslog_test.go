package poslog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"tillwire/protocol"
)

var berlin = time.FixedZone("CET", 3600)

// words writes events shortly: kind id @time flags: line sku×quantity …
func words(events []*protocol.Event) []string {
	var out []string
	for _, e := range events {
		s := fmt.Sprintf("%s %s @%s %v", e.Kind, e.DocumentID, e.EventTime.Time().Format("02T15:04Z07:00"), e.Flags.Names())
		if e.Kind == protocol.KindVoid {
			s += fmt.Sprintf(" of %s %s", e.VoidsKind, e.Voids)
		}
		for _, l := range e.Lines {
			s += fmt.Sprintf(" %d:%s×%s%s", l.Line, l.SKU, l.Quantity, l.UOM)
			if l.RawCode != "" {
				s += "(" + l.RawCode + ")"
			}
		}
		out = append(out, s)
	}
	return out
}

func decodeFile(t *testing.T, name string, o Options) *Result {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	o.Store = "S0042"
	res, p := Decode(bytes.NewReader(b), o)
	if p != nil {
		t.Fatal(p)
	}
	return res
}

func TestNCRDialect(t *testing.T) {
	res := decodeFile(t, "ncr.xml", Options{Zone: berlin})
	want := []string{
		"sale 3-17-2026-11-23 @24T00:15+01:00 [zoneless] 1:04006381333931×1(4006381333931)",
		"return 3-17-2026-11-23 @24T00:15+01:00 [zoneless] 5:54409×1 6:BOOK-1×1",
		"void 3-20-2026-11-23 @24T00:17+01:00 [zoneless] of sale 3-17-2026-11-23",
		"void 3-20-2026-11-23/2 @24T00:17+01:00 [zoneless] of return 3-17-2026-11-23",
	}
	if d := cmp.Diff(want, words(res.Events)); d != "" {
		t.Error(d)
	}
	if res.Dialect != "ncr-acs-2.1" || res.Transactions != 5 || res.Skipped != (Skipped{Control: 1, Cancelled: 1}) {
		t.Errorf("%+v", res)
	}
	if len(res.Problems) != 1 || res.Problems[0].Index != 2 || res.Problems[0].DocumentID != "3-19-2026-11-23" ||
		res.Problems[0].Problem.Errors[0].Pointer != "/Transaction/EndDateTime" {
		t.Errorf("problems %+v", res.Problems)
	}
	for _, e := range res.Events {
		if e.ID != protocol.MakeEventID("S0042", e.Kind, e.DocumentID) || e.Store != "S0042" || e.BusinessDate != "2026-11-23" || e.Register != "3" {
			t.Errorf("%+v", e)
		}
	}
}

func TestGenericDialect(t *testing.T) {
	res := decodeFile(t, "arts.xml", Options{})
	want := []string{
		"sale 1-5-2026-11-23 @23T09:00+01:00 [] 2:B×0.455KGM",
		"return 1-5-2026-11-23 @23T09:00+01:00 [] 3:C×1",
	}
	if d := cmp.Diff(want, words(res.Events)); d != "" || res.Dialect != "arts" {
		t.Error(res.Dialect, d)
	}
}

func tx(body string) string {
	return `<POSLog><Transaction><RetailStoreID>1</RetailStoreID><WorkstationID>1</WorkstationID><SequenceNumber>1</SequenceNumber><BusinessDayDate>2026-11-23</BusinessDayDate><EndDateTime>2026-11-23T10:00:00Z</EndDateTime><RetailTransaction>` + body + `</RetailTransaction></Transaction></POSLog>`
}

func TestRefusesFiles(t *testing.T) {
	for name, c := range map[string]struct{ body, word string }{
		"empty":          {``, "ends early"},
		"cut":            {tx("")[:150], "EOF"},
		"doctype":        {`<!DOCTYPE a [<!ENTITY x "y">]>` + tx(""), "DOCTYPE"},
		"entity":         {tx(`<a>&x;</a>`), "entity"},
		"external":       {`<!DOCTYPE POSLog SYSTEM "http://127.0.0.1/x.dtd"><POSLog/>`, "DOCTYPE"},
		"latin-1":        {`<?xml version="1.0" encoding="ISO-8859-1"?>` + tx(""), "UTF-8"},
		"invalid utf-8":  {tx("<a>\xff</a>"), "UTF-8"},
		"other document": {`<html></html>`, "no POSLog"},
		"deep":           {tx(strings.Repeat("<a>", 60)), "deeper"},
		"deep outside":   {`<POSLog>` + strings.Repeat("<a>", 60), "deeper"},
		"attributes":     {tx(`<a ` + strings.Repeat(`b="" `, 80) + `/>`), "attributes"},
		"json":           {`{"document_id":1}`, "ends early"},
	} {
		res, p := Decode(strings.NewReader(c.body), Options{Store: "S1"})
		if p == nil || res != nil || p.Status != 400 || p.Code != CodeMalformedXML || !strings.Contains(p.Detail, c.word) || p.Hint == "" {
			t.Errorf("%s: got %+v, want %q", name, p, c.word)
		}
	}
	if _, p := Decode(strings.NewReader(tx(strings.Repeat("<a/>", 1000))), Options{Store: "S1", BytesMax: 1000}); p == nil || p.Status != 413 {
		t.Errorf("large: %v", p)
	}
}

func TestRefusesTransactionsAlone(t *testing.T) {
	good := tx(`<LineItem><Sale><ItemID>A</ItemID></Sale></LineItem>`)
	for name, c := range map[string]struct{ from, to, ptr string }{
		"workstation":    {`<WorkstationID>1<`, `<WorkstationID><`, "/Transaction/WorkstationID"},
		"card number":    {`<SequenceNumber>1<`, `<SequenceNumber>4111111111111111<`, "/Transaction/SequenceNumber"},
		"day":            {`2026-11-23<`, `23.11.2026<`, "/Transaction/BusinessDayDate"},
		"time":           {`2026-11-23T10`, `1926-11-23T10`, "/Transaction/EndDateTime"},
		"quantity":       {`</Sale>`, `<Quantity>1,5</Quantity></Sale>`, "/Transaction/RetailTransaction/LineItem[1]/Quantity"},
		"no item":        {`<ItemID>A`, `<ItemID>`, "/Transaction/RetailTransaction/LineItem[1]/ItemID"},
		"foreign store":  {`<RetailStoreID>1`, `<RetailStoreID>2`, "/Transaction/RetailStoreID"},
		"void of nobody": {`<LineItem>`, `<TransactionLink ReasonCode="PostVoid"/><LineItem>`, "/Transaction/TransactionLink"},
	} {
		res, p := Decode(strings.NewReader(strings.Replace(good, c.from, c.to, 1)), Options{Store: "S1", RetailStore: "1"})
		if p != nil {
			t.Errorf("%s: %v", name, p)
			continue
		}
		if len(res.Events) != 0 || len(res.Problems) != 1 || res.Problems[0].Problem.Errors[0].Pointer != c.ptr {
			t.Errorf("%s: %v %+v", name, words(res.Events), res.Problems)
		}
	}
}

func TestLargeTransactionIsSplit(t *testing.T) {
	res, p := Decode(strings.NewReader(tx(strings.Repeat(`<LineItem><Sale><ItemID>A</ItemID></Sale></LineItem>`, 2500))), Options{Store: "S1"})
	if p != nil || len(res.Events) != 3 || len(res.Events[2].Lines) != 500 || res.Events[2].DocumentID != "1-1-2026-11-23/3" {
		t.Errorf("%v %v", p, len(res.Events))
	}
}

// plainSums goes over the text with string searches alone, and adds up what
// each article's item lines say: voids are negative already, a negative item
// counts back.
func plainSums(t *testing.T, s string) (sums map[string]protocol.Quantity, lines int) {
	sums = map[string]protocol.Quantity{}
	for {
		i := strings.Index(s, "<Sale ")
		if i < 0 {
			return sums, lines
		}
		s = s[i:]
		item := s[:strings.Index(s, "</Sale>")]
		s = s[len(item):]
		cut := func(a, b string) string {
			_, v, ok := strings.Cut(item, a)
			v, _, ok2 := strings.Cut(v, b)
			if !ok || !ok2 {
				t.Fatalf("no %s in %s", a, item)
			}
			return v
		}
		q := cut("<Quantity>", "<")
		neg := strings.HasPrefix(q, "-")
		w, f, _ := strings.Cut(strings.TrimPrefix(q, "-"), ".")
		v, err := strconv.ParseInt(w+(f + "000")[:3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if neg != strings.Contains(item[:60], "NegativeItem") {
			v = -v
		}
		sums[cut("<ItemID>", "<")] += protocol.Quantity(v)
		lines++
	}
}

// TestRealNCRFile proves the dialect on one store's real quarter of an hour.
func TestRealNCRFile(t *testing.T) {
	f, err := os.Open("../../../shared/data/ncr-poslog.xml.zst")
	if err != nil {
		t.Skip("the real NCR file is not there: ", err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var buf bytes.Buffer
	if _, err := buf.ReadFrom(z); err != nil {
		t.Fatal(err)
	}
	res, p := Decode(bytes.NewReader(buf.Bytes()), Options{Store: "S0009"})
	if p != nil {
		t.Fatal(p)
	}
	want, lines := plainSums(t, buf.String())
	got := map[string]protocol.Quantity{}
	kept := 0
	for _, e := range res.Events {
		for _, l := range e.Lines {
			kept++
			q := l.Quantity
			if q < 0 {
				t.Errorf("%s: negative line", e.DocumentID)
			}
			if e.Kind == protocol.KindReturn {
				q = -q
			}
			got[string(l.SKU)] += q
		}
	}
	for sku, q := range want {
		if q == 0 {
			delete(want, sku)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if res.Transactions != 51 || res.Skipped.Control != 9 || len(res.Problems) != 0 || lines != 552 || kept != 544 {
		t.Errorf("transactions %d skipped %+v problems %v lines %d kept %d", res.Transactions, res.Skipped, res.Problems, lines, kept)
	}
	ids := map[protocol.EventID]bool{}
	for _, e := range res.Events {
		if ids[e.ID] {
			t.Errorf("id twice: %s", e.DocumentID)
		}
		ids[e.ID] = true
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range [...]string{"ncr.xml", "arts.xml"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(tx(`<LineItem VoidFlag="1"><Return><ItemID>A</ItemID><Quantity>-1e3</Quantity></Return></LineItem>`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		res, p := Decode(bytes.NewReader(b), Options{Store: "S1"})
		if p != nil {
			if p.Hint == "" || res != nil {
				t.Fatalf("half a refusal: %+v", p)
			}
			return
		}
		for _, e := range res.Events {
			var back protocol.Event
			if err := protocol.DecodeEvent(protocol.AppendEvent(nil, e), &back); err != nil {
				t.Fatalf("%v: %+v", err, e)
			}
			for _, l := range e.Lines {
				if l.Quantity < 0 || l.SKU == "" {
					t.Fatalf("line %+v", l)
				}
			}
		}
	})
}

// TestWeighedBarcodes: tills that write the label's code as the article.
func TestWeighedBarcodes(t *testing.T) {
	const priced, badly, weighed = "2812345039977", "2012345828759", "2912345004552"
	schemes := protocol.Schemes{
		{Prefix: "28", ItemDigits: 5, PriceDigits: 5, Decimals: 2},
		{Prefix: "20", ItemDigits: 5, PriceDigits: 4, Verifier: true, Decimals: 2},
		{Prefix: "29", ItemDigits: 5, WeightDigits: 5, Decimals: 3},
	}
	for _, code := range []string{priced, badly, weighed} {
		if !protocol.CheckDigitOK(code) {
			t.Fatalf("%s has check digit %c", code, protocol.CheckDigit(code[:12]))
		}
	}
	item := func(element, code, more string) string {
		return "<LineItem><" + element + "><ItemID>" + code + "</ItemID>" + more + "</" + element + "></LineItem>"
	}
	const price = "<RegularSalesUnitPrice>87.85</RegularSalesUnitPrice>"
	for _, c := range []struct{ name, body, want string }{
		{"price", item("Sale", priced, price), "[derived_quantity] 1:2812345×0.455KGM(" + priced + ")"},
		{"two of a kind", item("Sale", priced, price+"<Quantity>2</Quantity>"), "[derived_quantity] 1:2812345×0.91KGM(" + priced + ")"},
		{"a return", item("Return", priced, price+"<Quantity>-1</Quantity>"), "[derived_quantity] 1:2812345×0.455KGM(" + priced + ")"},
		{"weight", item("Sale", weighed, "<Quantity UnitOfMeasureCode=\"EA\">1</Quantity>"), "[] 1:2912345×0.455KGM(" + weighed + ")"},
		{"no price", item("Sale", priced, ""), "[no_unit_price] 1:0" + priced + "×1(" + priced + ")"},
		{"a price that is none", item("Sale", priced, "<RegularSalesUnitPrice>free</RegularSalesUnitPrice>"), "[no_unit_price] 1:0" + priced + "×1(" + priced + ")"},
		{"wrong verifier", item("Sale", badly, price), "[bad_verifier] 1:0" + badly + "×1(" + badly + ")"},
		{"weighed by the till", item("Sale", priced, "<Quantity UnitOfMeasureCode=\"KGM\">0.5</Quantity>"), "[] 1:2812345×0.5KGM(" + priced + ")"},
		{"weighed by the till, no unit", item("Sale", priced, "<Quantity>0.5</Quantity>"), "[] 1:2812345×0.5KGM(" + priced + ")"},
		{"weighed, wrong verifier", item("Sale", badly, "<Quantity>0.5</Quantity>"), "[bad_verifier] 1:0" + badly + "×0.5(" + badly + ")"},
		{"beyond all", item("Sale", weighed, "<Quantity>1000000000</Quantity>"), "[] 1:0" + weighed + "×1000000000(" + weighed + ")"},
		{"another article", item("Sale", "4006381333931", price), "[] 1:04006381333931×1"},
		{"taken back", item("Sale", priced, price+"<Quantity>2</Quantity>") + item("Sale", priced, price+"<Quantity>-1</Quantity>"), "[derived_quantity] 1:2812345×0.91KGM(" + priced + ")"},
	} {
		t.Run(c.name, func(t *testing.T) {
			res, p := Decode(strings.NewReader(tx(c.body)), Options{Store: "S1", Schemes: schemes})
			if p != nil || len(res.Problems) > 0 || len(res.Events) == 0 {
				t.Fatal(p, res)
			}
			if got := words(res.Events)[0]; !strings.HasSuffix(got, c.want) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	// Without schemes such a code is an article of its own.
	res, p := Decode(strings.NewReader(tx(item("Sale", priced, price))), Options{Store: "S1"})
	if p != nil || res.Events[0].Lines[0].SKU != "0"+priced || res.Events[0].Flags != 0 {
		t.Error(p, res)
	}
}
