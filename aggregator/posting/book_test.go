package posting

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

func TestKeysTellDocumentsApart(t *testing.T) {
	shape := regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{16}$`)
	base := Doc{ERP: "erp", Store: "S0042", Day: 20_400, Class: ClassSale, Number: 1}
	seen := map[string]string{}
	for name, change := range map[string]func(*Doc) (generation uint64){
		"itself":     func(*Doc) uint64 { return 1 },
		"erp":        func(d *Doc) uint64 { d.ERP = "other"; return 1 },
		"store":      func(d *Doc) uint64 { d.Store = "S0043"; return 1 },
		"day":        func(d *Doc) uint64 { d.Day++; return 1 },
		"class":      func(d *Doc) uint64 { d.Class = ClassReturn; return 1 },
		"number":     func(d *Doc) uint64 { d.Number = 2; return 1 },
		"generation": func(*Doc) uint64 { return 2 },
		"border":     func(d *Doc) uint64 { d.ERP, d.Store = "erpS", "0042"; return 1 },
	} {
		d := base
		g := change(&d)
		k := keyOf(&d, g)
		if !shape.MatchString(k) || !isKey(k) {
			t.Errorf("%s: key %q has not the shape that ERPs take", name, k)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s share key %s", name, other, k)
		}
		if again := keyOf(&d, g); again != k {
			t.Errorf("%s: key is %s, then %s", name, k, again)
		}
		seen[k] = name
	}
}

func TestReferencesAreReadBack(t *testing.T) {
	d := Doc{Key: "0123456789ABCDEF", Store: "S0042", Day: 20_415, Class: ClassTransferOut}
	for _, text := range []string{d.Reference(), d.Reference() + " on 2025-11-24"} {
		got, ok := ReadReference(text)
		if diff := cmp.Diff(Found{Key: d.Key, Store: d.Store, Day: d.Day, Class: d.Class}, got); !ok || diff != "" {
			t.Errorf("%q: %v %s", text, ok, diff)
		}
	}
	for _, text := range []string{"", "PO 4711", "0123456789ABCDEF S1 2025-11-24", "0123456789abcdef S1 2025-11-24 sale", "0123456789ABCDEF S1 2025-02-30 sale", "0123456789ABCDEF S1 2025-11-24 theft"} {
		if got, ok := ReadReference(text); ok {
			t.Errorf("%q passes for %+v", text, got)
		}
	}
}

// opened is a book of the first generation with one store, and what applies changes to it.
func opened(t *testing.T) (b *Book, at *uint64, apply func(c *Change)) {
	t.Helper()
	b, at = New(), new(uint64)
	apply = func(c *Change) {
		t.Helper()
		if c == nil {
			t.Fatal("nothing was decided")
		}
		*at++
		b.Apply(c, *at)
	}
	apply(b.Generation(1, 0))
	for _, c := range b.Opened(map[protocol.StoreID]string{"S1": "erp"}, nil, 0) {
		apply(c)
	}
	return b, at, apply
}

// The ledger is restored from a copy of before a posting: the ERP has a document
// that the book does not know. Nothing is cut until a person resumes; the document
// is read back, and what the store sends again nets with it to what is really new.
func TestARestoredLedgerPostsNothingTwice(t *testing.T) {
	b, _, apply := opened(t)
	sku := func(uint32) protocol.SKU { return "A" }
	apply(b.Generation(2, 0))
	sell := func(q protocol.Quantity) {
		b.Account("S1").Add(100, 20_400, false, false, &Movement{Cell: 1, Class: ClassSale, Day: 20_400, Moved: -q, Changed: -q})
	}
	sell(3000)
	if got := b.Cut("erp", Window{NowUS: 1, Through: 20_400, Lines: 10}, sku); len(got) != 0 || !b.Held() {
		t.Fatalf("cut while held: %+v", got)
	}
	lost := &Found{Key: "0123456789ABCDEF", Store: "S1", Day: 20_400, Class: ClassSale, ERPID: "77", Lines: []Line{{SKU: "A", Qty: -5000}}}
	cell := func(s protocol.SKU) (uint32, bool) { return 1, s == "A" }
	apply(b.Adopt("erp", lost, 5, cell))
	if c := b.Adopt("erp", lost, 5, cell); c != nil {
		t.Error("adopted twice")
	}
	sell(2000) // the rest of what the lost document had
	sell(700)  // and what is new
	if _, p := b.Resume("ann", "", 6); p == nil || p.Code != "reason_required" {
		t.Errorf("resumed without a reason: %+v", p)
	}
	c, p := b.Resume("ann", "stores are back", 6)
	if p != nil {
		t.Fatal(p)
	}
	apply(c)
	for _, c := range b.Cut("erp", Window{NowUS: 7, Through: 20_400, Lines: 10}, sku) {
		apply(c)
	}
	due := b.Due("erp", 10)
	if len(due) != 1 || due[0].Quantity != -700 {
		t.Errorf("due: %+v", due)
	}
	if s := b.Stand("erp"); s.Adopted != 1 || s.Posted != 1 || s.Held {
		t.Errorf("%+v", s)
	}
}

// A restored book calls documents due or parked that its ERP has booked since, one of
// them without an article that held it up. They are posted then, and what the ERP was
// not told of is netted anew. One that the ERP has with other numbers waits: sending it
// finds out. One that it has only begun is strange where no document here will end it.
func TestARestoredLedgerLearnsWhatItsERPBooked(t *testing.T) {
	b, at, apply := opened(t)
	cells := []protocol.SKU{"", "A", "B", "C"}
	cell := func(s protocol.SKU) (uint32, bool) { n := slices.Index(cells, s); return uint32(n), n > 0 }
	moves := func(class Class, day int32, quantities ...protocol.Quantity) {
		for i, q := range quantities {
			*at++
			b.Account("S1").Add(*at, day, false, false, &Movement{Cell: uint32(i + 1), Class: class, Day: day, CountDay: day, Moved: q, Changed: q})
		}
	}
	moves(ClassSale, 20_400, -1000, -2000, -3000)
	moves(ClassReceipt, 20_400, 4000)
	moves(ClassShrink, 20_400, -5000)
	for _, c := range b.Cut("erp", Window{NowUS: 1, Through: 20_400, Lines: 10}, func(n uint32) protocol.SKU { return cells[n] }) {
		apply(c)
	}
	key := map[Class]string{}
	for _, d := range b.Due("erp", 10) {
		key[d.Class] = d.Key
	}
	apply(Parked(key[ClassReceipt], "refused", "", 2))
	apply(b.Generation(2, 0))
	found := func(class Class, lines ...Line) *Found {
		return &Found{Key: key[class], Store: "S1", Day: 20_400, Class: class, ERPID: "77", Lines: lines}
	}
	begun := &Found{Key: "0123456789ABCDEF", Store: "S1", Day: 20_400, Class: ClassSale, ERPID: "78", Begun: true}
	if c := b.Adopt("erp", begun, 3, cell); c != nil || !b.Strange(begun) {
		t.Errorf("a draft that nobody knows: %+v", c)
	}
	if begun.Key = key[ClassSale]; b.Adopt("erp", begun, 3, cell) != nil || b.Strange(begun) {
		t.Error("a draft of a document that is due is ended when that is sent")
	}
	if c := b.Adopt("erp", found(ClassShrink, Line{SKU: "A", Qty: -4000}), 3, cell); c != nil {
		t.Errorf("the ERP has 4, not 5: %+v", c)
	}
	if c := b.Adopt("other", found(ClassSale, Line{SKU: "A", Qty: -1000}), 3, cell); c != nil {
		t.Errorf("it is another ERP's: %+v", c)
	}
	apply(b.Adopt("erp", found(ClassSale, Line{SKU: "A", Qty: -1000}, Line{SKU: "C", Qty: -3000}), 3, cell))
	apply(b.Adopt("erp", found(ClassReceipt, Line{SKU: "A", Qty: 4000}), 3, cell))
	if c := b.Adopt("erp", found(ClassReceipt, Line{SKU: "A", Qty: 4000}), 3, cell); c != nil {
		t.Errorf("adopted twice: %+v", c)
	}
	if s := b.Stand("erp"); s.Adopted != 2 || s.Posted != 2 || s.Lines != 3 || s.Due != 1 || s.Parked != 0 || s.Waiting != 1 {
		t.Errorf("%+v", s)
	}
	if got, want := b.Owed("S1"), (map[uint32]protocol.Quantity{1: -5000, 2: -2000}); !maps.Equal(got, want) {
		t.Errorf("owed: %v, not %v", got, want)
	}
	again := New()
	if err := b.Chunks(func(no uint32, data []byte) {
		if err := again.Restore(no, data); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if x, y := b.Stand("erp"), again.Stand("erp"); x != y || !maps.Equal(b.Owed("S1"), again.Owed("S1")) {
		t.Errorf("%+v after a checkpoint is %+v", x, y)
	}
	resumed, _ := b.Resume("ann", "all is read back", 4)
	apply(resumed)
	for _, c := range b.Cut("erp", Window{NowUS: 5, Through: 20_400, Lines: 10}, func(n uint32) protocol.SKU { return cells[n] }) {
		apply(c)
	}
	due := b.Due("erp", 10)
	if len(due) != 2 || due[0].Key != key[ClassShrink] || due[1].Class != ClassSale || due[1].Lines[0].SKU != "B" || due[1].Quantity != -2000 || due[1].Lines[0].First == 0 {
		t.Errorf("due: %+v", due)
	}
}

// What the ERP itself told us is not told to it; what a count of ours makes of it is.
func TestTheERPsOwnWordIsNoNews(t *testing.T) {
	b := New()
	for _, c := range b.Opened(map[protocol.StoreID]string{"S1": "erp"}, nil, 0) {
		b.Apply(c, 1)
	}
	a := b.Account("S1")
	a.Add(2, 20_400, true, false, &Movement{Cell: 1, Class: ClassReceipt, Day: 20_400, Moved: 5000, Changed: 5000})
	a.Add(3, 20_400, true, true, &Movement{Cell: 1, Class: ClassCount, Day: 20_400, Changed: -2000})
	if got := b.Pending("S1", 1); got != 0 {
		t.Errorf("its receipt and its adopted statement are owed as %s", got)
	}
	a.Add(4, 20_400, true, false, &Movement{Cell: 1, Class: ClassReceipt, Day: 20_400, CountDay: 20_399, Moved: 4000}) // a count had seen these goods already
	if got := b.Pending("S1", 1); got != -4000 {
		t.Errorf("what our count says of its receipt is owed as %s, want -4", got)
	}
}

func TestChangesAreReadBackOrRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no op":               `{"op":"steal"}`,
		"a sum that is wrong": `{"op":"cut","doc":{"key":"0123456789ABCDEF","number":1,"erp":"e","store":"S1","class":1,"count":1,"quantity":5,"lines":[{"sku":"A","qty":4}]}}`,
		"both directions":     `{"op":"cut","doc":{"key":"0123456789ABCDEF","number":1,"erp":"e","store":"S1","class":1,"count":2,"quantity":0,"lines":[{"sku":"A","qty":4},{"sku":"B","qty":-4}]}}`,
		"no document":         `{"op":"cut"}`,
		"a key that is none":  `{"op":"posted","key":"x"}`,
		"a split of nothing":  `{"op":"split","key":"0123456789ABCDEF"}`,
	} {
		var c Change
		if err := json.Unmarshal([]byte(text), &c); err == nil {
			t.Errorf("%s was taken: %+v", name, c)
		}
	}
}

func FuzzRestore(f *testing.F) {
	b := New()
	for _, c := range b.Opened(map[protocol.StoreID]string{"S1": "erp"}, nil, 0) {
		b.Apply(c, 1)
	}
	b.Account("S1").Add(2, 20_400, false, false, &Movement{Cell: 1, Class: ClassSale, Day: 20_400, CountDay: 20_400, Moved: -1, Changed: 4})
	if err := b.Chunks(func(no uint32, data []byte) { f.Add(no, data) }); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(_ *testing.T, no uint32, data []byte) { _ = New().Restore(no, data) })
}

// BenchmarkAdd is what the book costs per line of a document.
func BenchmarkAdd(b *testing.B) {
	book := New()
	for _, c := range book.Opened(map[protocol.StoreID]string{"S1": "erp"}, nil, 0) {
		book.Apply(c, 1)
	}
	m := Movement{Class: ClassSale, Day: 20_400, CountDay: 20_400, Moved: -1000, Changed: -1000}
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		m.Cell = uint32(n*7919) % 5000 // the articles that a shop sells on a day
		book.Account("S1").Add(uint64(n)+1, 20_400, false, false, &m)
	}
}
