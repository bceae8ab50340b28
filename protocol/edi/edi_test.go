package edi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
)

var berlin = time.FixedZone("CET", 3600)

func tables() *Tables {
	return &Tables{Zone: berlin, Places: map[string]protocol.StoreID{"1234567890001": "DC1", "0042": "S0042"}}
}

// said is what a file becomes, in one line per message.
func said(raw []byte, tb *Tables) string {
	text, p := Text(raw, tb.Encoding)
	if p != nil {
		return p.Code
	}
	all, p := Split(text)
	if p != nil {
		return p.Code
	}
	var out []string
	for i := range all {
		for _, it := range tb.Read(&all[i]) {
			out = append(out, judged(&it))
		}
	}
	return strings.Join(out, "\n")
}

func judged(it *Item) string {
	switch {
	case it.Problem != nil && len(it.Problem.Errors) > 0:
		return it.Problem.Code + " " + it.Problem.Errors[0].Pointer
	case it.Problem != nil:
		return it.Problem.Code
	case it.Still != "":
		return "still: " + it.Still
	}
	s := ""
	for _, e := range it.Events {
		s += fmt.Sprintf("%s %s %s @%s", e.Kind, e.Store, e.DocumentID, time.UnixMicro(e.EventTime.US).In(berlin).Format("01-02 15:04"))
		if e.Counterparty != "" {
			s += fmt.Sprintf(" %s %s by %s", e.Direction, e.Counterparty, e.TransferID)
		}
		if e.AdviceID != "" {
			s += " advised " + e.AdviceID
		}
		if e.Voids != "" {
			s += " cancels " + e.Voids
		}
		for k := range e.Lines {
			l := &e.Lines[k]
			s += fmt.Sprintf(" %s×%s%s", l.SKU, l.Quantity, l.UOM)
			if l.Disposition != protocol.DispositionNone {
				s += "(" + l.Disposition.String() + ")"
			}
		}
	}
	return s
}

func file(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func replace(t *testing.T, s string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(s, pairs[i]) {
			t.Fatalf("the fixture has no %q", pairs[i])
		}
		s = strings.Replace(s, pairs[i], pairs[i+1], 1)
	}
	return s
}

func TestMessagesBecomeDocuments(t *testing.T) {
	x944, x945, x846 := file(t, "944.x12"), file(t, "945.x12"), file(t, "846.x12")
	desadv, recadv, invrpt := file(t, "desadv.edi"), file(t, "recadv.edi"), file(t, "invrpt.edi")
	const received = "receipt DC1 944-WAREHOUSE1-RCPT1001 @11-23 09:35 advised SHIP7788 04006381333931×24EA APPLE-RED×8EA APPLE-RED×2EA(damaged) 10614141073464×12.5KGM"
	const shipped = "transfer DC1 945-WAREHOUSE1-SHIP7790 @11-23 11:05 out S0042 by SHIP7790 04006381333931×6EA APPLE-RED×4EA"
	for _, c := range []struct {
		name, raw, want string
		change          func(*Tables)
	}{
		{"944", x944, received, nil},
		{"944 from a place of ours", replace(t, x944, "*SUP9~", "*0042~"), "transfer DC1 944-WAREHOUSE1-RCPT1001 @11-23 09:35 in S0042 by SHIP7788 04006381333931×24EA APPLE-RED×8EA APPLE-RED×2EA 10614141073464×12.5KGM", nil},
		{"944, the envelope's clock", replace(t, x944, "*8*0935", ""), strings.Replace(received, "09:35", "14:10", 1), nil},
		{"944, another day", replace(t, x944, "*8*0935", "", "W17*F*20261123", "W17*F*20261121"), "clockless_time /date", nil},
		{"944, another day by policy", replace(t, x944, "*8*0935", "", "W17*F*20261123", "W17*F*20261121"), strings.Replace(received, "11-23 09:35", "11-21 23:59", 1), func(tb *Tables) { tb.EndOfDay = true }},
		{"944, house numbers first", replace(t, x944, "EN*4006381333931", "EN*4006381333931*VN*PEN"), strings.Replace(received, "04006381333931", "PEN", 1), func(tb *Tables) { tb.ItemCodes = []string{"VN", "EN", "UK"} }},
		{"944, place by configuration", replace(t, x944, "1234567890001", "88"), received, func(tb *Tables) { tb.Location = "DC1" }},
		{"945", x945, shipped, nil},
		{"945 to a customer", replace(t, x945, "92*0042", "92*CUST9"), "unknown_destination /ST|BT", nil},
		{"945 to a customer by policy", replace(t, x945, "92*0042", "92*CUST9"), strings.Replace(strings.Replace(shipped, "transfer", "sale", 1), " out S0042 by SHIP7790", "", 1), func(tb *Tables) { tb.SaleAway = true }},
		{"846: on hand before sellable", x846, "snapshot DC1 846-WAREHOUSE1-INV20261123 @11-23 06:00 04006381333931×118EA APPLE-RED×0EA", nil},
		{"846: cancelled", replace(t, x846, "BIA*00", "BIA*01"), "unknown_code /purpose", nil},
		{"846: a qualifier of no table", replace(t, x846, "QTY*63", "QTY*6X"), "unknown_code /QTY/10", nil},
		{"DESADV of a supplier", desadv, "advice DC1 DES587441 @11-23 08:30 04006381333931×400EA APPLE-RED×20.5KGM", nil},
		{"DESADV of our own", replace(t, desadv, "NAD+DP+1234567890001", "NAD+SF+1234567890001::9'\nNAD+DP+0042", "UNT+17", "UNT+18"), "transfer DC1 desadv-5412345000013-DES587441 @11-23 08:30 out S0042 by DES587441 04006381333931×400EA APPLE-RED×20.5KGM", nil},
		{"RECADV", recadv, "receipt DC1 recadv-5412345000013-REC77 @11-24 09:40 advised DES587441 04006381333931×10EA(quarantine) 04006381333931×390EA APPLE-RED×20.5KGM", nil},
		{"RECADV cancelled", replace(t, recadv, "REC77+9", "REC77+1"), "void DC1 recadv-5412345000013-REC77-cancelled @11-24 09:40 cancels recadv-5412345000013-REC77", nil},
		{"INVRPT without UNA", invrpt, "snapshot DC1 invrpt-5412345000013-INVR9 @11-24 06:00 04006381333931×508EA APPLE-RED×38.5KGM", nil},
		{"Latin-1 as declared", replace(t, desadv, "B SUPPLIE", "B\xfcRO"), "advice DC1 DES587441 @11-23 08:30 04006381333931×400EA APPLE-RED×20.5KGM", nil},
		{"Latin-1 as agreed", replace(t, x944, "CENTRAL", "Z\xdcRICH"), received, func(tb *Tables) { tb.Encoding = "latin1" }},
		{"Latin-1 undeclared", replace(t, x944, "CENTRAL", "Z\xdcRICH"), CodeUnreadable, nil},
		{"another message", replace(t, invrpt, "INVRPT:D", "PRICAT:D"), "still: edifact PRICAT is no message about stock that is read here", nil},
		{"two interchanges", x944 + invrpt, received + "\nsnapshot DC1 invrpt-5412345000013-INVR9 @11-24 06:00 04006381333931×508EA APPLE-RED×38.5KGM", nil},
		{"number like a card's", replace(t, x944, "RCPT1001", "4111111111111111"), "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			tb := tables()
			if c.change != nil {
				c.change(tb)
			}
			got := said([]byte(c.raw), tb)
			if c.want == "" {
				if !strings.HasPrefix(got, "receipt DC1 944-") || strings.Contains(got, "4111") {
					t.Errorf("got %s", got)
				}
				return
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// TestAMessageCanBeReadAlone: what is parked is one message in its envelope, and says
// the same as in its file.
func TestAMessageCanBeReadAlone(t *testing.T) {
	for _, name := range []string{"944.x12", "945.x12", "846.x12", "desadv.edi", "recadv.edi", "invrpt.edi"} {
		all, p := Split([]byte(file(t, name)))
		if p != nil {
			t.Fatal(p)
		}
		for _, it := range tables().Read(&all[0]) {
			if got := said(it.Raw, tables()); got != judged(&it) {
				t.Errorf("%s alone: %s\nin its file: %s", name, got, judged(&it))
			}
		}
	}
}

// TestOneBadMessageStandsAlone: its neighbours are taken, groups or not, and it is
// parked as an interchange of its own.
func TestOneBadMessageStandsAlone(t *testing.T) {
	message := func(ref, number string, count int) string {
		return fmt.Sprintf("UNH+%s+INVRPT:D:96A:UN'BGM+35+%s+9'DTM+137:202611240600:203'NAD+GM+1234567890001'LIN+1++A:SA'QTY+145:5:PCE'UNT+%d+%s'", ref, number, count, ref)
	}
	body := message("1", "N1", 7) + message("2", "N2", 6) + message("3", "N3", 7)
	const want = "snapshot DC1 invrpt-S-N1 @11-24 06:00 A×5EA\ncontrol_mismatch /UNT\nsnapshot DC1 invrpt-S-N3 @11-24 06:00 A×5EA"
	for name, raw := range map[string]string{
		"plain":  "UNB+UNOC:3+S+R+261123:1410+77'" + body + "UNZ+3+77'",
		"groups": "UNB+UNOC:3+S+R+261123:1410+77'UNG+INVRPT+S+R+261123:1410+9+UN+D:96A'" + body + "UNE+3+9'UNZ+1+77'",
	} {
		if got := said([]byte(raw), tables()); got != want {
			t.Errorf("%s: %s", name, got)
		}
		all, _ := Split([]byte(raw))
		if got := said(all[0].Messages[1].Raw, tables()); got != "control_mismatch /UNT" {
			t.Errorf("%s: alone it is %s", name, got)
		}
		if got := said(all[0].Messages[2].Raw, tables()); got != "snapshot DC1 invrpt-S-N3 @11-24 06:00 A×5EA" {
			t.Errorf("%s: its neighbour alone is %s", name, got)
		}
	}
}

func TestLongMessagesAreSplit(t *testing.T) {
	var b strings.Builder
	b.WriteString("UNB+UNOC:3+S+R+261123:1410+1'UNH+1+INVRPT:D:96A:UN'BGM+35+N1+9'DTM+137:202611240600:203'NAD+GM+1234567890001'")
	for n := range 2500 {
		fmt.Fprintf(&b, "LIN+%d++A%d:SA'QTY+145:%d:PCE'", n+1, n, n)
	}
	fmt.Fprintf(&b, "UNT+%d+1'UNZ+1+1'", 2*2500+5)
	all, p := Split([]byte(b.String()))
	if p != nil {
		t.Fatal(p)
	}
	it := tables().Read(&all[0])[0]
	if it.Problem != nil || len(it.Events) != 3 || it.Events[2].DocumentID != "invrpt-S-N1/3" || it.Events[2].Session != "invrpt-S-N1" || len(it.Events[2].Lines) != 500 {
		t.Fatalf("%v, %d parts", it.Problem, len(it.Events))
	}
}

func FuzzSplit(f *testing.F) {
	for _, name := range []string{"944.x12", "945.x12", "846.x12", "desadv.edi", "recadv.edi", "invrpt.edi"} {
		f.Add([]byte(file(f, name)))
	}
	f.Add([]byte("UNA:+.? 'UNB+UNOC:3+A?+B:14+C+261123:1410+1'UNZ+0+1'"))
	f.Fuzz(func(t *testing.T, b []byte) {
		text, p := Text(b, "")
		if p != nil {
			return
		}
		all, p := Split(text)
		if (p == nil) == (len(all) == 0) {
			t.Fatalf("neither read nor refused: %v", p)
		}
		for i := range all {
			for _, it := range tables().Read(&all[i]) {
				set := 0
				for _, is := range []bool{len(it.Events) > 0, it.Still != "", it.Problem != nil} {
					if is {
						set++
					}
				}
				if set != 1 {
					t.Fatalf("judged %d times: %+v", set, it)
				}
				if it.Problem == nil && all[i].Problem == nil && said(it.Raw, tables()) != judged(&it) {
					t.Fatalf("alone it says %q, in its file %q", said(it.Raw, tables()), judged(&it))
				}
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	raw := []byte(file(b, "944.x12"))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if got := said(raw, tables()); got == "" {
			b.Fatal("nothing")
		}
	}
}
