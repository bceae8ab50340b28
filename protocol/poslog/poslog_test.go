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
