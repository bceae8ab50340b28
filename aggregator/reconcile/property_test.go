package reconcile

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// chunks are a book's whole state.
func chunks(t interface{ Fatal(...any) }, b *Book) map[uint32]string {
	out := map[uint32]string{}
	if err := b.Chunks(func(no uint32, data []byte) { out[no] = string(data) }); err != nil {
		t.Fatal(err)
	}
	return out
}

// everything makes a book write everything, whatever it believes to have changed.
func everything(t interface{ Fatal(...any) }, b *Book) map[uint32]string {
	for s := range uint16(rowShards) {
		b.dirtyRows[s] = b.heads[s] != nil
	}
	maps.DeleteFunc(b.dirtyRows, func(_ uint16, on bool) bool { return !on })
	for loc := range b.places {
		b.dirtyPlaces[hash(placeShards, string(loc))] = true
	}
	for id := range b.decided {
		b.dirtyResidues[hash(residueShards, id)] = true
	}
	b.dirtyBook = b.drops != Dropped{}
	return chunks(t, b)
}

// plainRow is what the rules make of one article of one source, told once more
// without the book's economies.
type plainRow struct {
	asOf, diff int64
	cycles     int
	state      string
}

// plain judges a line the slow way.
func (p *plainRow) plain(asOf int64, l *Line, owned bool) bool {
	diff := int64(l.Stated - l.Book)
	live := p.state == "open" || p.state == "dismissed"
	if asOf < p.asOf {
		return owned && (diff == 0 || !l.Anchored || !l.Foreign)
	}
	repeated := live && asOf == p.asOf && diff == p.diff
	switch {
	case diff == 0:
		if live {
			*p = plainRow{asOf, 0, p.cycles, "settled"}
		}
		return owned
	case owned && (!l.Anchored || !l.Foreign):
		if live {
			*p = plainRow{asOf, diff, p.cycles, "adopted"}
		}
		return true
	case repeated:
		return false
	case live && diff == p.diff:
		p.asOf, p.cycles = asOf, p.cycles+1
	default:
		*p = plainRow{asOf, diff, 1, "open"}
	}
	if owned && p.cycles >= 2 && p.state == "open" {
		p.state = "adopted"
		return true
	}
	return false
}

// TestBookIsItsChanges plays histories of statements and decisions. The book must
// judge as the plain reading does; its changes, through their own JSON and over a
// restart at any place, must make the same book.
func TestBookIsItsChanges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rules := Rules{Owners: []Owner{{Source: "wms"}}}
		b, back := New(rules), New(rules)
		model := map[string]*plainRow{}
		replay := func(c *Change) {
			b.Apply(c)
			body, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var again Change
			if err := json.Unmarshal(body, &again); err != nil {
				t.Fatal(err)
			}
			back.Apply(&again)
		}
		all, disk := map[uint32]string{}, map[uint32]string{}
		newest := int64(0)
		for n := range rapid.IntRange(1, 25).Draw(t, "steps") {
			at := rapid.Int64Range(1, 30).Draw(t, "as of")
			l := Line{
				SKU:    protocol.SKU(rapid.SampledFrom([]string{"X", "Y"}).Draw(t, "sku")),
				Stated: q(rapid.Int64Range(0, 2).Draw(t, "stated")), Book: q(1), Anchored: rapid.Bool().Draw(t, "anchored"), Foreign: rapid.Bool().Draw(t, "foreign"),
			}
			source := rapid.SampledFrom([]string{"wms", "erp"}).Draw(t, "source")
			st := says(source, at, l)
			st.NowUS = int64(100 + n)
			id := fmt.Sprintf("%s/DC1/%s", source, l.SKU)
			if model[id] == nil {
				model[id] = &plainRow{}
			}
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				if c, p := b.Decide(id, rapid.SampledFrom([]string{protocol.DecideAdopt, protocol.DecideDismiss}).Draw(t, "action"), "ann", "so", st.NowUS); p == nil && c != nil {
					replay(c)
					r, _ := b.Get(id)
					if model[id].state = r.State; r.State == "adopted" {
						newest = max(newest, r.AsOf.UnixMicro())
					}
				}
			case 1: // sometimes approved
				st.Zeroed, st.NonZero = 90, 100
				for _, c := range b.Judge(st).Changes {
					if source == "wms" {
						replay(c)
					}
				}
			case 2:
				b.Moved("DC1", source)
				back.Moved("DC1", source)
			case 3: // a restart
				maps.Copy(disk, chunks(t, back))
				back = New(rules)
				for no, data := range disk {
					if err := back.Restore(no, []byte(data)); err != nil {
						t.Fatal(err)
					}
				}
			default:
				j := b.Judge(st)
				if older := source == "wms" && at < newest; older != (j.Refused == RefusedOlder) {
					t.Fatalf("as of %d, newest taken %d: %+v", at, newest, j)
				}
				if j.Refused != "" {
					break
				}
				taken := model[id].plain(at, &l, source == "wms")
				if got := j.Stances[0] == protocol.StanceAnchor; got != taken {
					t.Fatalf("%s as of %d %+v: taken %v, want %v", id, at, l, got, taken)
				}
				if taken {
					newest = max(newest, at)
				}
				for _, c := range j.Changes {
					replay(c)
				}
			}
			open := 0
			for id, m := range model {
				r, ok := b.Get(id)
				if ok && m.state == "open" {
					open++
				}
				if got := (plainRow{r.AsOf.UnixMicro(), int64(r.Difference), r.Cycles, r.State}); ok != (m.state != "") || ok && got != *m {
					t.Fatalf("%s: %+v, want %+v", id, got, *m)
				}
			}
			if w, ok := b.Get("wms/DC1"); ok && w.State == "open" {
				open++
			}
			if b.Open() != open {
				t.Fatalf("%d open, want %d", b.Open(), open)
			}
			maps.Copy(all, chunks(t, b))
			if more := chunks(t, b); len(more) != 0 {
				t.Fatalf("nothing changed, and chunks %v are written", slices.Collect(maps.Keys(more)))
			}
		}
		maps.Copy(disk, chunks(t, back))
		if d := cmp.Diff(all, disk); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(everything(t, b), all); d != "" {
			t.Fatalf("checkpoints missed a change: %s", d)
		}
		if d := cmp.Diff(b.List(Filter{}), back.List(Filter{})); d != "" {
			t.Fatal(d)
		}
	})
}

func TestRowsAreBounded(t *testing.T) {
	b := New(Rules{})
	fill := func(from, n int, asOf, book int64) {
		for at := from; at < from+n; at += 1000 {
			st := says("wms", asOf)
			for k := at; k < min(at+1000, from+n); k++ {
				st.Lines = append(st.Lines, uncertain(fmt.Sprintf("%06d", k), 1, book))
			}
			judge(b, st)
		}
	}
	fill(0, 30_000, 10, 2) // open
	fill(0, 5_000, 20, 1)  // of which these agree
	fill(30_000, 70_000, 30, 2)
	if d := b.Dropped(); b.Len() != locationRowsMax || d != (Dropped{}) {
		t.Fatalf("%d rows, %+v dropped before the bound", b.Len(), d)
	}
	decide(t, b, "wms/DC1/005000", protocol.DecideDismiss)
	disk := chunks(t, b)
	fill(100_000, 1, 40, 2)
	want := Dropped{Agreeing: 5000, Dismissed: 1, Open: locationRowsMax/dropShare + 1 - 5001}
	if d := cmp.Diff(want, b.Dropped()); d != "" || b.Len() != locationRowsMax-locationRowsMax/dropShare {
		t.Errorf("%d rows: %s", b.Len(), d)
	}
	if _, ok := b.Get("wms/DC1/010001"); !ok {
		t.Error("a younger row went before an older one")
	}
	if _, ok := b.Get("wms/DC1/005001"); ok {
		t.Error("the oldest open row stayed")
	}
	maps.Copy(disk, chunks(t, b))
	for no, data := range everything(t, b) {
		if disk[no] != data {
			t.Fatalf("checkpoints missed a change of chunk %d", no)
		}
	}
	back := New(Rules{})
	for no, data := range disk {
		if err := back.Restore(no, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if back.Len() != b.Len() || back.Open() != b.Open() || back.Dropped() != b.Dropped() {
		t.Errorf("restored: %d rows, %d open, %+v", back.Len(), back.Open(), back.Dropped())
	}
}

func TestDecisionsOfResiduesAreBounded(t *testing.T) {
	b := New(Rules{})
	for n := range residueDecidedMax + 1 {
		b.Apply(&Change{NowUS: int64(n), Decided: &Decision{ID: fmt.Sprintf("transfer:%d/S1/X", n), Action: protocol.DecideDismiss, Residue: true}})
	}
	if n := len(b.decided); n != residueDecidedMax*(dropShare-1)/dropShare+1 || b.Dropped().Decided != residueDecidedMax/dropShare {
		t.Errorf("%d are remembered, %+v", n, b.Dropped())
	}
	if b.decided["transfer:0/S1/X"] != nil || b.decided[fmt.Sprintf("transfer:%d/S1/X", residueDecidedMax)] == nil {
		t.Error("not the oldest were forgotten")
	}
}

func TestLocationsAreBounded(t *testing.T) {
	b := New(Rules{})
	for n := range pairsMax + 10 {
		b.Moved(protocol.StoreID(fmt.Sprintf("L%d", n)), "wms")
	}
	if len(b.places) != pairsMax {
		t.Errorf("%d locations", len(b.places))
	}
	b.pairs = make([]*pair, pairsMax)
	if j := b.Judge(says("wms", 10)); j.Refused != RefusedLocations || len(j.Changes) != 0 {
		t.Errorf("%+v", j)
	}
}

func TestDamagedChangesAreRefused(t *testing.T) {
	for name, body := range map[string]string{
		"no source":               `{"location":"DC1","now_us":1}`,
		"a row without article":   `{"source":"wms","location":"DC1","now_us":1,"skus":[""],"ops":"o","cuts":"w","stated":[1],"book":[1],"cycles":[1]}`,
		"a step that nobody took": `{"source":"wms","location":"DC1","now_us":1,"skus":["X"],"ops":"?","cuts":"w","stated":[1],"book":[1],"cycles":[1]}`,
		"columns of two lengths":  `{"source":"wms","location":"DC1","now_us":1,"skus":["X"],"ops":"o","cuts":"w","stated":[1,2],"book":[1],"cycles":[1]}`,
		"a decision of nothing":   `{"now_us":1,"decided":{"id":"x","action":"write_off","who":"ann","residue":true}}`,
		"an action nobody knows":  `{"source":"wms","location":"DC1","now_us":1,"decided":{"id":"wms/DC1/X","action":"burn","who":"ann"}}`,
	} {
		if err := json.Unmarshal([]byte(body), &Change{}); err == nil {
			t.Errorf("%s is believed", name)
		}
	}
	b := New(Rules{})
	b.Apply(&Change{Source: "wms", Location: "DC1", Decided: &Decision{ID: "wms/DC1/X", SKU: "X", Action: protocol.DecideDismiss}})
	if b.Len() != 0 {
		t.Error("a decision of a row that was dropped made one")
	}
}

func FuzzRestoreEveryKind(f *testing.F) {
	b := New(Rules{})
	judge(b, says("wms", 10, uncertain("X", 1, 2)))
	judge(b, zeroing(says("wms", 20), 90, 100))
	b.Residue([]ResidueRow{{Kind: ResidueTransfer, Name: "T", Location: "S1", SKU: "X", Quantity: 1}}, 1)
	decide(f, b, "transfer:T/S1/X", protocol.DecideDismiss)
	decide(f, b, "wms/DC1/X", protocol.DecideDismiss)
	b.dirtyBook = true
	for no, data := range chunks(f, b) {
		f.Add(no, []byte(data))
	}
	f.Fuzz(func(t *testing.T, no uint32, data []byte) {
		b := New(Rules{})
		if b.Restore(no, data) != nil {
			return
		}
		b.List(Filter{})
		for s := range uint16(rowShards) { // what is believed is written again
			if b.heads[s] != nil {
				b.dirtyRows[s] = true
			}
		}
		for got, again := range chunks(t, b) {
			if err := New(Rules{}).Restore(got, []byte(again)); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzChange(f *testing.F) {
	b := New(Rules{})
	for _, c := range b.Judge(says("wms", 10, uncertain("X", 1, 2))).Changes {
		body, _ := json.Marshal(c)
		f.Add(body)
	}
	f.Fuzz(func(_ *testing.T, body []byte) {
		var c Change
		if json.Unmarshal(body, &c) == nil {
			b := New(Rules{})
			b.Apply(&c)
			b.Apply(&c)
			b.List(Filter{})
		}
	})
}

func BenchmarkJudge1000(b *testing.B) {
	book := New(Rules{Owners: []Owner{{Source: "wms"}}})
	st := says("erp", 1)
	for n := range 1000 {
		st.Lines = append(st.Lines, uncertain(fmt.Sprintf("%06d", n), 1, 2))
	}
	b.ReportAllocs()
	for b.Loop() {
		st.AsOfUS++
		st.NowUS++
		for _, c := range book.Judge(st).Changes {
			book.Apply(c)
		}
	}
}
