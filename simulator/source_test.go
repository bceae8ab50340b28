package simulator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

// cjFixture has the traps of the real file: a fuel quantity, a zero line,
// identical lines, a basket across lines of others, both halves of an autumn
// hour, an hour that spring skips, an eight-digit number that happens to be a
// valid GTIN-8, and goods brought back.
const cjFixture = `ts_local,store,basket,product,qty,net,retail_disc,coupon_disc,household
2017-01-01T07:30:27,319,1001,1075313,1,1.5,0.29,0,906
2017-01-01T07:30:28,42,1002,995211,1,1.88,0.61,0,1873
2017-01-01T07:30:28,319,1001,1075313,1,1.5,0.29,0,906
2017-01-01T07:30:29,319,1001,6534178,32623,60.01,0,0,906
2017-01-01T07:31:00,319,1003,995211,0,0,0,0,906
2017-03-12T02:30:00,319,1004,96385074,2,1,0,0,7
2017-11-05T01:30:00,42,1005,96385074,3,1,0,0,7
2017-11-05T01:45:00,42,1005,1075313,-1,-1.5,0,0,7
`

// uciFixture likewise: identical lines that both count, a cancellation, a
// write-off, a quoted comma, codes that differ in case only, a long invoice.
func uciFixture() string {
	var b strings.Builder
	b.WriteString("invoice,stock_code,description,quantity,ts,unit_price,customer,country\n")
	b.WriteString("536365,85123A,\"HOLDER, WHITE\",6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n")
	b.WriteString("536365,85123A,\"HOLDER, WHITE\",6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n")
	b.WriteString("536365,85123a,OTHER,1,2010-12-01T08:26:00,2.55,17850,United Kingdom\n")
	b.WriteString("C536379,85123A,Discount,-1,2010-12-01T09:41:00,27.5,14527,United Kingdom\n")
	b.WriteString("536589,21777,,-10,2010-12-01T16:50:00,0,,United Kingdom\n")
	for i := range 1114 {
		fmt.Fprintf(&b, "540000,%05d,THING,2,2011-03-27T01:30:00,1,,France\n", 20000+i%300)
	}
	return b.String()
}

func TestTapeOfCompleteJourney(t *testing.T) {
	tp, err := readTapeFrom(strings.NewReader(cjFixture), formatAuto)
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ Store, ID, Kind, At, Lines string }
	var got []row
	for _, d := range tp.Docs {
		var ls []string
		for _, l := range d.doc.Lines {
			ls = append(ls, fmt.Sprintf("%s×%s", l.SKU, l.Quantity))
		}
		got = append(got, row{string(d.store), d.doc.DocumentID, d.doc.kind, d.doc.OccurredAt, strings.Join(ls, " ")})
	}
	want := []row{
		{"CJ-319", "1001", "sale", "2017-01-01T07:30:27-05:00", "1075313×1 1075313×1 6534178×32623"},
		{"CJ-42", "1002", "sale", "2017-01-01T07:30:28-05:00", "995211×1"},
		{"CJ-319", "1003", "sale", "2017-01-01T07:31:00-05:00", "995211×0"},
		{"CJ-319", "1004", "sale", "2017-03-12T01:30:00-05:00", "96385074×2"},
		{"CJ-42", "1005", "sale", "2017-11-05T01:30:00-04:00", "96385074×3"},
		{"CJ-42", "1005", "return", "2017-11-05T01:45:00-04:00", "1075313×1"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if tp.Format != formatCJ || tp.Lines != 8 || len(tp.Stores) != 2 {
		t.Errorf("format %s, %d lines, stores %v", tp.Format, tp.Lines, tp.Stores)
	}
}

func TestTapeOfUCISplitsLongInvoicesAndKeepsIdenticalLines(t *testing.T) {
	tp, err := readTapeFrom(strings.NewReader(uciFixture()), formatAuto)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, d := range tp.Docs {
		got = append(got, fmt.Sprintf("%s %s %d %s", d.doc.DocumentID, d.doc.kind, len(d.doc.Lines), d.doc.Reason))
	}
	want := []string{"536365 sale 3 ", "C536379 return 1 ", "536589 adjustment 1 damage", "540000 sale 1000 ", "540000/2 sale 114 "}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if q := tp.Docs[2].doc.Lines[0].Quantity; q != protocol.Units(-10) {
		t.Errorf("write-off says %s", q)
	}
}

// The two readers are written apart; where both are right they agree.
func TestPlainReaderAgreesWithDocuments(t *testing.T) {
	for _, c := range []struct{ name, format, text string }{
		{"completejourney", formatCJ, cjFixture}, {"uci", formatUCI, uciFixture()},
	} {
		t.Run(c.name, func(t *testing.T) {
			tp, err := readTapeFrom(strings.NewReader(c.text), c.format)
			if err != nil {
				t.Fatal(err)
			}
			p, err := sumReader(strings.NewReader(c.text), c.format)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]map[string]int64{}
			for _, d := range tp.Docs {
				if got[string(d.store)] == nil {
					got[string(d.store)] = map[string]int64{}
				}
				for _, e := range d.doc.effects {
					got[string(d.store)][string(e.SKU)] += int64(e.Delta)
				}
			}
			if d := cmp.Diff(p.Sums, got); d != "" {
				t.Error(d)
			}
			if p.Lines != tp.Lines {
				t.Errorf("plain reader saw %d lines, the tape %d", p.Lines, tp.Lines)
			}
		})
	}
}

func TestTapeRefusesWithLineAndRemedy(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown", "a,b,c\n1,2,3\n", "name it with --source"},
		{"quantity", "invoice,stock_code,quantity,ts\n1,2,many,2011-01-01T00:00:00\n", `line 2: quantity "many"`},
		{"time", "invoice,stock_code,quantity,ts\n1,2,3,yesterday\n", `time "yesterday" is not like`},
		{"column", "invoice,stock_code,ts\n1,2,3\n", `column "quantity" is missing`},
		{"empty article", "invoice,stock_code,quantity,ts\n1,,3,2011-01-01T00:00:00\n", "is empty"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readTapeFrom(strings.NewReader(c.text), formatAuto)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// sharedData is where real files lie on machines that have them.
func sharedData(t *testing.T, name string) string {
	t.Helper()
	p := filepath.Join("..", "..", "shared", "data", name)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("real data is absent (%s): skipped", name)
	}
	return p
}

func TestPlainReaderOnRealPOSLog(t *testing.T) {
	p, err := sumPlainly(sharedData(t, "ncr-poslog.xml.zst"), formatNCR)
	if err != nil {
		t.Fatal(err)
	}
	if p.Lines != 552 || p.Sums["9"]["00000000054409"] != 1000 {
		t.Errorf("%d lines, bottle refund moves %d", p.Lines, p.Sums["9"]["00000000054409"])
	}
}

func TestProfileFollowsTheShape(t *testing.T) {
	w := shares(400)
	sum := 0.0
	for i, x := range w {
		sum += x
		if i > 0 && x > w[i-1] {
			t.Fatalf("share %d is larger than the one before", i)
		}
	}
	if sum < 399.99 || sum > 400.01 {
		t.Errorf("shares add up to %f", sum)
	}
	saturday := time.Date(2026, time.November, 21, 0, 0, 0, 0, time.UTC)
	if peak, night := rhythm(saturday.Add(17*time.Hour+30*time.Minute)), rhythm(saturday.Add(28*time.Hour)); peak < 20*night {
		t.Errorf("peak %f, night %f", peak, night)
	}
	for _, a := range articles(700) {
		if n, err := protocol.NormalizeSKU(string(a.SKU)); err != nil || n != a.SKU || len(n) != 14 {
			t.Fatalf("article %s: %v", a.SKU, err)
		}
	}
}
