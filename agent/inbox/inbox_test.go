package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/protocol/csvdoc"
	"tillwire/store/journal"
)

var testNow = time.Date(2026, 11, 23, 10, 20, 0, 0, time.UTC)

type shop struct {
	t   *testing.T
	j   *journal.Journal
	b   *Inbox
	dir string
}

func newShop(t *testing.T, m csvdoc.Mapping) *shop {
	t.Helper()
	j, err := journal.Open(journal.Options{
		Path: filepath.Join(t.TempDir(), "journal.db"), Now: func() time.Time { return testNow }, Log: zerolog.Nop(), BallastBytes: -1,
		DiskFree: func() (uint64, uint64, error) { return 50 << 30, 100 << 30, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &shop{t: t, j: j, dir: filepath.Join(t.TempDir(), "in")}
	s.restart(m)
	return s
}

// restart makes a new Inbox over the same folder and journal, as after a crash.
func (s *shop) restart(m csvdoc.Mapping) {
	s.t.Helper()
	var err error
	s.b, err = New(Options{Dir: s.dir, Store: "S0042", Journal: s.j, Log: zerolog.Nop(), Mapping: m, Zone: time.FixedZone("CET", 3600), Poll: time.Millisecond})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) drop(name, content string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path+".tmp", []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		s.t.Fatal(err)
	}
}

// look looks twice: the first sight of a file is not enough.
func (s *shop) look() {
	s.t.Helper()
	for range 2 {
		if err := s.b.look(context.Background()); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *shop) files() []string {
	s.t.Helper()
	var out []string
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(s.dir, path)
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *shop) events() []string {
	s.t.Helper()
	var out []string
	err := s.j.Scan(1, func(_ uint64, _ int64, rec []byte) error {
		var e protocol.Event
		if _, err := protocol.DecodeRecord(rec, &e); err != nil {
			return err
		}
		w := fmt.Sprintf("%s %s %s", e.Kind, e.DocumentID, e.EventTime.Time().Format("15:04Z07:00"))
		for i, l := range e.Lines {
			if i == 3 {
				w += fmt.Sprintf(" … %d", len(e.Lines))
				break
			}
			w += fmt.Sprintf(" %s×%s", l.SKU, l.Quantity)
		}
		out = append(out, w)
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *shop) report(name string) (r Report) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "failed", name+".reason.json"))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &r); err != nil {
		s.t.Fatal(err)
	}
	return r
}

const plainCSV = `document_id,register,occurred_at,sku,quantity
1,R1,2026-11-23 10:00:00,4006381333931,2
1,R1,2026-11-23 10:00:00,A,0.5
2,R1,2026-11-23T10:01:00+01:00,"B, large",1
`

func TestCSVOnceAndAgain(t *testing.T) {
	s := newShop(t, csvdoc.Mapping{})
	s.drop("sales.csv", plainCSV)
	if err := s.b.look(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := s.events(); got != nil {
		t.Errorf("taken at first sight: %v", got)
	}
	s.look()
	want := []string{"sale 1 10:00+01:00 04006381333931×2 A×0.5", "sale 2 10:01+01:00 B, large×1"}
	if d := cmp.Diff(want, s.events()); d != "" {
		t.Error(d)
	}
	// The same again: a crash before the move, or a person who drops it twice.
	s.drop("sales.csv", plainCSV)
	s.restart(csvdoc.Mapping{})
	s.look()
	if d := cmp.Diff(want, s.events()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"done/sales-2.csv", "done/sales.csv"}, s.files()); d != "" {
		t.Error(d)
	}
}

func TestUnfinishedFilesAreLeft(t *testing.T) {
	s := newShop(t, csvdoc.Mapping{})
	for _, name := range []string{"a.csv.tmp", ".hidden.csv", "b.part"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(plainCSV), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	grown := filepath.Join(s.dir, "growing.csv")
	for i := range 4 {
		if err := os.WriteFile(grown, []byte(plainCSV[:60+i]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.b.look(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.events(); got != nil {
		t.Error(got)
	}
	if d := cmp.Diff([]string{".hidden.csv", "a.csv.tmp", "b.part", "growing.csv"}, s.files()); d != "" {
		t.Error(d)
	}
}

func TestMappedCSV(t *testing.T) {
	m := csvdoc.Mapping{
		Delimiter: ";", DecimalComma: true, TimeLayout: "02.01.2006 15:04", DateLayout: "02.01.2006", NegativeSales: true,
		Columns:  map[string]string{"Bon": "document_id", "Zeit": "occurred_at", "Tag": "business_date", "Artikel": "sku", "Menge": "quantity", "Preis": "-"},
		Defaults: map[string]string{"register": "K1"},
	}
	s := newShop(t, m)
	s.drop("bons.csv", "\ufeffBon;Zeit;Tag;Artikel;Menge;Preis;Kommentar\n"+
		"7;23.11.2026 09:30;23.11.2026;4006381333932;1.000,25;9,99;x\n"+
		"7;23.11.2026 09:30;23.11.2026;B;-2;9,99;x\n")
	s.look()
	want := []string{"sale 7 09:30+01:00 4006381333932×1000.25", "return 7 09:30+01:00 B×2"}
	if d := cmp.Diff(want, s.events()); d != "" {
		t.Error(d, s.files())
	}
}

func TestPartlyBadCSV(t *testing.T) {
	s := newShop(t, csvdoc.Mapping{})
	s.drop("mixed.csv", `document_id,occurred_at,sku,quantity,register
good,2026-11-23T10:00:00Z,A,1,R1
minus,2026-11-23T10:00:00Z,A,1,R1
minus,2026-11-23T10:00:00Z,B,-1,R1
word,2026-11-23T10:00:00Z,B,two,R1
when,yesterday,B,1,R1
two,2026-11-23T10:00:00Z,B,1,R1
two,2026-11-23T10:00:00Z,B,1,R2
good,2026-11-23T10:00:00Z,B,1,R1
before,2026-11-23T10:00:00Z,A,1,R1
short,line
behind,2026-11-23T10:00:00Z,A,1,R1
fine,2026-11-23T10:00:00Z,A,1,R1
`)
	s.look()
	want := []string{"sale good 10:00Z A×1", "sale fine 10:00Z A×1"}
	if d := cmp.Diff(want, s.events()); d != "" {
		t.Error(d)
	}
	rep := s.report("mixed.csv")
	var got []string
	for _, r := range rep.Reasons {
		got = append(got, fmt.Sprint(r.Line, " ", r.DocumentID, " ", r.Field, " ", r.Code))
		if r.Problem == "" || r.Remedy == "" {
			t.Errorf("no words: %+v", r)
		}
	}
	wantReasons := []string{
		"4 minus quantity invalid_field", "5 word quantity invalid_field", "6 when occurred_at invalid_field",
		"8 two register contradiction", "9 good document_id rows_apart", "11   wrong_cells", "11   wrong_cells",
	}
	if d := cmp.Diff(wantReasons, got); d != "" {
		t.Error(d)
	}
	if rep.Journaled != 2 || rep.Refused != 7 || rep.Duplicates != 0 || rep.Remedy == "" {
		t.Errorf("%+v", rep)
	}
	if d := cmp.Diff([]string{"failed/mixed.csv", "failed/mixed.csv.reason.json"}, s.files()); d != "" {
		t.Error(d)
	}
}

func TestBadFiles(t *testing.T) {
	for name, c := range map[string]struct {
		file, content, code string
	}{
		"empty":          {"a.csv", "", "no_header"},
		"unknown column": {"a.csv", "document_id,price\n1,2\n", "bad_header"},
		"no ids":         {"a.csv", "sku,quantity\nA,2\n", "bad_header"},
		"column twice":   {"a.csv", "document_id,sku,sku\n1,2,3\n", "bad_header"},
		"many columns":   {"a.csv", strings.Repeat("a,", 300) + "\n", "too_many_columns"},
		"bad quotes":     {"a.csv", "document_id,sku\n1,\"a\"b\n", "malformed_csv"},
		"latin-1":        {"a.csv", "document_id,sku,quantity,occurred_at\n1,\xe4,1,2026-11-23T10:00:00Z\n", "encoding"},
		"cut off":        {"a.csv", "document_id,sku,quantity,occurred_at\n1,A,1,2026-11-23T10:00:00Z", "half_file"},
		"another store":  {"a.csv", "document_id,location,sku,quantity,occurred_at\n1,S0099,A,1,2026-11-23T10:00:00Z\n", "unknown_place"},
		"type":           {"a.pdf", "x", "unknown_type"},
		"not POSLog":     {"a.xml", "<html/>", "malformed_xml"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShop(t, csvdoc.Mapping{})
			s.drop(c.file, c.content)
			s.look()
			rep := s.report(c.file)
			if len(rep.Reasons) == 0 || rep.Reasons[0].Code != c.code || rep.Reasons[0].Remedy == "" || s.events() != nil {
				t.Errorf("%+v %v", rep, s.events())
			}
		})
	}
}

func TestLargeDocumentAndReusedID(t *testing.T) {
	s := newShop(t, csvdoc.Mapping{})
	head := "document_id,occurred_at,sku,quantity\n"
	s.drop("large.csv", head+strings.Repeat("L,2026-11-23T10:00:00Z,A,1\n", 1114))
	s.look()
	want := []string{"sale L 10:00Z A×1 A×1 A×1 … 1000", "sale L/2 10:00Z A×1 A×1 A×1 … 114"}
	if d := cmp.Diff(want, s.events()); d != "" {
		t.Error(d)
	}
	s.drop("other.csv", head+"L/2,2026-11-23T10:00:00Z,A,7\n")
	s.look()
	if rep := s.report("other.csv"); rep.Reasons[0].Code != "id_reused" || rep.Reasons[0].Line != 2 {
		t.Errorf("%+v", rep)
	}
}

func TestVoidsAndCounts(t *testing.T) {
	s := newShop(t, csvdoc.Mapping{Kind: "count", Defaults: map[string]string{"scope": "zone"}})
	s.drop("c.csv", "document_id,kind,occurred_at,sku,quantity,counted_at,voids\nC,,2026-11-23T10:00:00Z,A,0,2026-11-23T09:59:00Z,\nV,void,2026-11-23T10:00:00Z,,,,1\n")
	s.look()
	// scope is a default of every row here, which a void does not know: it is told.
	if d := cmp.Diff([]string{"count C 10:00Z A×0"}, s.events()); d != "" {
		t.Error(d)
	}
	if rep := s.report("c.csv"); len(rep.Reasons) != 1 || rep.Reasons[0].Field != "scope" || rep.Reasons[0].Line != 3 {
		t.Errorf("%+v", rep)
	}
	s.restart(csvdoc.Mapping{})
	s.drop("v.csv", "document_id,kind,occurred_at,voids\nV,void,2026-11-23T10:00:00Z,1\n")
	s.look()
	if got := s.events(); len(got) != 2 || got[1] != "void V 10:00Z" {
		t.Error(got)
	}
}

func TestPOSLogFile(t *testing.T) {
	b, err := os.ReadFile("../../protocol/poslog/testdata/ncr.xml")
	if err != nil {
		t.Fatal(err)
	}
	s := newShop(t, csvdoc.Mapping{})
	s.drop("till.xml", string(b))
	s.look()
	if rep := s.report("till.xml"); rep.Journaled != 4 || rep.Refused != 1 || rep.Reasons[0].DocumentID != "3-19-2026-11-23" {
		t.Errorf("%+v", rep)
	}
	s.drop("till.xml", string(b))
	s.look()
	if rep := s.report("till-2.xml"); rep.Journaled != 0 || rep.Duplicates != 4 {
		t.Errorf("again: %+v", rep)
	}
}

// flaky is a real journal that takes nothing at first.
type flaky struct {
	*journal.Journal
	left int
}

func (f *flaky) AppendAll(ctx context.Context, events []*protocol.Event) ([]journal.Receipt, []error) {
	if f.left--; f.left < 0 {
		return f.Journal.AppendAll(ctx, events)
	}
	errs := make([]error, len(events))
	for i := range errs {
		errs[i] = journal.ErrFull
	}
	return make([]journal.Receipt, len(events)), errs
}

func TestRunWaitsForTheDisk(t *testing.T) {
	s := newShop(t, csvdoc.Mapping{})
	s.b.o.Journal = &flaky{Journal: s.j, left: 1}
	s.drop("sales.csv", plainCSV)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.b.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for len(s.files()) == 0 || !strings.HasPrefix(s.files()[0], "done/") {
		if time.Now().After(deadline) {
			t.Fatalf("still there: %v", s.files())
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := s.events(); len(got) != 2 {
		t.Error(got)
	}
}

func TestStoppedWhileWaiting(t *testing.T) {
	s := newShop(t, csvdoc.Mapping{})
	s.b.o.Journal = &flaky{Journal: s.j, left: 1000}
	s.drop("sales.csv", plainCSV)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	if err := s.b.Run(ctx); err != nil {
		t.Error(err)
	}
	if d := cmp.Diff([]string{"sales.csv"}, s.files()); d != "" {
		t.Error(d)
	}
}

func TestMappingCheck(t *testing.T) {
	for _, m := range []csvdoc.Mapping{
		{Delimiter: ";;"},
		{Delimiter: `"`},
		{Kind: "basket"},
		{Columns: map[string]string{"Bon": "receipt_no"}},
		{NoHeader: []string{"x"}},
		{Defaults: map[string]string{"price": "1"}},
	} {
		if err := m.Check(); err == nil {
			t.Errorf("%+v was accepted", m)
		}
		if _, err := New(Options{Dir: t.TempDir(), Mapping: m}); err == nil {
			t.Errorf("%+v was accepted by New", m)
		}
	}
	m := csvdoc.Mapping{NoHeader: []string{"document_id", "occurred_at", "sku", "quantity", "-"}}
	s := newShop(t, m)
	s.drop("n.csv", "1,2026-11-23T10:00:00Z,A,1,x\n")
	s.look()
	if got := s.events(); len(got) != 1 {
		t.Error(got, s.files())
	}
}
