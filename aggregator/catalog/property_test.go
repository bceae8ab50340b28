package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// plain is the book told once more, with nothing shared: every version of every
// item, in the order of the log.
type plain []Version

func (p plain) at(sku protocol.SKU, pos uint64) (found *protocol.Item) {
	for i := range p {
		if p[i].Item.SKU == sku && p[i].From < pos {
			found = &p[i].Item
		}
	}
	return found
}

// explode is the reading of a kit without thrift; nothing here overflows.
func (p plain) explode(sku protocol.SKU, qty protocol.Quantity, pos uint64) []protocol.HoldLine {
	it := p.at(sku, pos)
	if it == nil || len(it.Kit) == 0 {
		return []protocol.HoldLine{{SKU: sku, Quantity: qty}}
	}
	var out []protocol.HoldLine
	for _, c := range it.Kit {
		out = append(out, p.explode(c.SKU, qty*c.Quantity/1000, pos)...)
	}
	return out
}

func (p plain) skus() []protocol.SKU {
	seen := map[protocol.SKU]bool{}
	for i := range p {
		seen[p[i].Item.SKU] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// kitsWith asks every kit whether it comes to the article.
func (p plain) kitsWith(sku protocol.SKU) (out []protocol.SKU) {
	var has func(protocol.SKU) bool
	has = func(kit protocol.SKU) bool {
		it := p.at(kit, ^uint64(0))
		return it != nil && slices.ContainsFunc(it.Kit, func(c protocol.KitComponent) bool { return c.SKU == sku || has(c.SKU) })
	}
	for _, kit := range p.skus() {
		if has(kit) {
			out = append(out, kit)
		}
	}
	return out
}

func items(s *Set, p plain) string {
	if d := cmp.Diff(len(p.skus()), s.Len()); d != "" {
		return "items " + d
	}
	var want []protocol.SKU
	for _, it := range s.List("", 99) {
		want = append(want, it.SKU)
	}
	if d := cmp.Diff(p.skus(), want); d != "" {
		return "list " + d
	}
	const top = 16 // more than there are steps
	for _, sku := range append(p.skus(), "none") {
		for pos := range uint64(top + 1) {
			got, _ := s.Resolve(sku, 4000, "", pos, true, nil)
			if d := cmp.Diff(p.explode(sku, 4000, pos), got); d != "" {
				return fmt.Sprintf("%s at %d: %s", sku, pos, d)
			}
		}
		if d := cmp.Diff(p.kitsWith(sku), s.KitsWith(sku)); d != "" {
			return fmt.Sprintf("kits with %s: %s", sku, d)
		}
		sums := map[protocol.SKU]protocol.Quantity{}
		if it := p.at(sku, top); it != nil && len(it.Kit) > 0 {
			for _, l := range p.explode(sku, 1000, top) {
				sums[l.SKU] += l.Quantity
			}
		}
		got := map[protocol.SKU]protocol.Quantity{}
		for _, c := range s.Kit(sku) {
			got[c.SKU] += c.Quantity
		}
		if d := cmp.Diff(sums, got); d != "" {
			return fmt.Sprintf("kit %s: %s", sku, d)
		}
	}
	return ""
}

// TestSetsNeverChange puts items at random. The book, each Set taken on the way
// and the book restored from its checkpoints must read as a plain log does.
func TestSetsNeverChange(t *testing.T) {
	names := []protocol.SKU{"A", "B", "C", "D", "E", "04006381333931", "04006381333948", "a-long-name-of-an-article", "a-long-name-of-an-articlf"}
	rapid.Check(t, func(t *rapid.T) {
		b := New()
		var p plain
		type taken struct {
			s *Set
			p plain
		}
		var sets []taken
		disk := map[uint32][]byte{}
		save := func() {
			if err := b.Chunks(func(no uint32, data []byte) { disk[no] = data }); err != nil {
				t.Fatal(err)
			}
		}
		for n := range rapid.IntRange(1, 14).Draw(t, "steps") {
			it := protocol.Item{SKU: rapid.SampledFrom(names).Draw(t, "sku"), Name: rapid.SampledFrom([]string{"", "x"}).Draw(t, "name")}
			for range rapid.IntRange(0, 3).Draw(t, "parts") {
				it.Kit = append(it.Kit, protocol.KitComponent{SKU: rapid.SampledFrom(names).Draw(t, "part"), Quantity: protocol.Units(rapid.Int64Range(1, 3).Draw(t, "quantity"))})
			}
			next, bad := b.Put(&it, "ann", int64(n))
			if cyclic := slices.ContainsFunc(it.Kit, func(c protocol.KitComponent) bool {
				return c.SKU == it.SKU || slices.Contains(p.kitsWith(it.SKU), c.SKU)
			}); cyclic != (bad != nil && bad.Code == "kit_cycle") {
				t.Fatalf("%+v: %v, want a cycle %v", it, bad, cyclic)
			}
			if next != nil {
				touched := b.Apply(next, uint64(n+1))
				p = append(slices.Clip(p), Version{From: uint64(n + 1), Item: *next})
				if want := append(p.kitsWith(it.SKU), it.SKU); !slices.Equal(slices.Sorted(slices.Values(want)), touched) {
					t.Fatalf("touched %v, want %v", touched, want)
				}
			}
			if rapid.Bool().Draw(t, "take") {
				sets = append(sets, taken{b.Snapshot(), p})
			}
			if rapid.Bool().Draw(t, "save") {
				save()
			}
		}
		save()
		if err := b.Chunks(func(no uint32, _ []byte) { t.Fatalf("chunk %d is written again", no) }); err != nil {
			t.Fatal(err)
		}
		back := New()
		for no, data := range disk {
			if err := back.Restore(no, data); err != nil {
				t.Fatal(err)
			}
		}
		sets = append(sets, taken{&b.Set, p}, taken{&back.Set, p})
		for _, x := range sets {
			if d := items(x.s, x.p); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// TestIndexKeepsItsOrder fills blocks beyond their size, in any order, with Sets
// taken in between.
func TestIndexKeepsItsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var l blocks
		want := map[protocol.SKU]bool{}
		var was blocks
		var wasList []protocol.SKU
		flat := func(l blocks) (out []protocol.SKU) {
			for _, b := range l.list {
				if len(b.skus) == 0 || len(b.skus) > blockMax {
					t.Fatalf("a block of %d", len(b.skus))
				}
				out = append(out, b.skus...)
			}
			return out
		}
		generation := uint64(1)
		step := rapid.SampledFrom([]int{1, 7, 4999}).Draw(t, "step")
		for n := range 4 * blockMax {
			sku := protocol.SKU(fmt.Sprintf("%05d", n*step%5003))
			l = l.with(sku, generation)
			want[sku] = true
			if n%5 == 0 {
				l = l.with(sku, generation)
			}
			if n%3 == 0 {
				gone := protocol.SKU(fmt.Sprintf("%05d", n/2*step%5003))
				l = l.without(gone, generation)
				delete(want, gone)
			}
			if n == blockMax*rapid.IntRange(1, 3).Draw(t, "take") {
				generation++
				was, wasList = l, slices.Clone(flat(l))
			}
		}
		if d := cmp.Diff(slices.Sorted(maps.Keys(want)), flat(l)); d != "" {
			t.Fatal(d)
		}
		if d := cmp.Diff(wasList, flat(was)); d != "" {
			t.Fatalf("what was taken has changed: %s", d)
		}
	})
}

// TestSetsAreReadBesideTheWriter is for the race detector: readers take the newest
// Set while the book changes.
func TestSetsAreReadBesideTheWriter(t *testing.T) {
	b := New()
	var now atomic.Pointer[Set]
	now.Store(b.Snapshot())
	var wg sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				s := now.Load()
				list := s.List("", 1<<20)
				if len(list) != s.Len() {
					t.Errorf("%d items of %d", len(list), s.Len())
				}
				for i := range list {
					if k := s.Kit(list[i].SKU); len(k) != min(1, len(list[i].Kit)) {
						t.Errorf("%s: %+v, %+v", list[i].SKU, k, list[i].Kit)
					}
					s.KitsWith(list[i].SKU)
				}
			}
		})
	}
	for n := range 1000 {
		put(t, b, uint64(n+1), protocol.Item{SKU: protocol.SKU(fmt.Sprint("K", n%97)), Kit: kit(fmt.Sprint("P", n%13), n+1)})
		if n%3 == 0 {
			now.Store(b.Snapshot())
		}
	}
	stop.Store(true)
	wg.Wait()
}

func TestListPages(t *testing.T) {
	b := New()
	for n := range 3 * blockMax {
		it := protocol.Item{SKU: protocol.SKU(fmt.Sprintf("%05d", n)), Version: 1}
		b.Apply(&it, uint64(n+1))
	}
	var after protocol.SKU
	n := 0
	for page := b.List("", 100); len(page) > 0; page = b.List(after, 100) {
		for _, it := range page {
			if want := protocol.SKU(fmt.Sprintf("%05d", n)); it.SKU != want {
				t.Fatalf("%s, want %s", it.SKU, want)
			}
			n++
		}
		after = page[len(page)-1].SKU
	}
	if n != 3*blockMax || len(b.List("00000x", 1)) != 1 || len(b.List("99999", 1)) != 0 {
		t.Errorf("%d items", n)
	}
}

func TestTimes(t *testing.T) {
	const most = protocol.QuantityMax
	for _, c := range []struct {
		name string
		a, b protocol.Quantity
		want protocol.Quantity
		ok   bool
	}{
		{"exact", 2500, 12_000, 30_000, true},
		{"rounded down below half", 1, 1499, 1, true},
		{"rounded up from half", 1, 1500, 2, true},
		{"half away from zero below zero", -1, 1500, -2, true},
		{"what is too little is nothing", 1, 499, 0, true},
		{"the most", most, 1000, most, true},
		{"the most below zero", -most, 1000, -most, true},
		{"one more", most, 1001, 0, false},
		{"the most by the most", most, most, 0, false},
		{"least int64", -1 << 63, 1 << 62, 0, false},
	} {
		if got, ok := times(c.a, c.b); got != c.want || ok != c.ok {
			t.Errorf("%s: %d %v, want %d %v", c.name, got, ok, c.want, c.ok)
		}
	}
}

func TestWhatIsTooMuchCountsUnderTheRawCode(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Item{SKU: "X", Units: []protocol.UnitOfItem{{UOM: "CS", Factor: protocol.QuantityMax}}})
	put(t, b, 2, protocol.Item{SKU: "SET", Kit: kit("Y", 1, "X", 1000)})
	for _, c := range []struct {
		sku, uom string
		qty      int64
		want     string
	}{
		{"X", "CS", 2, "2 X#CS"},
		{"X", "CS", 1, "1000000000 X"},
		{"SET", "", 2_000_000, "2000000 SET#EA"},
		{"SET", "", -1_000_000, "-1000000 Y + -1000000000 X"},
	} {
		into := []protocol.HoldLine{{SKU: "before", Quantity: 1000}}
		lines, n := b.Resolve(protocol.SKU(c.sku), protocol.Units(c.qty), c.uom, 9, true, into)
		got := ""
		for _, l := range lines[1:] {
			if got != "" {
				got += " + "
			}
			got += l.Quantity.String() + " " + string(l.SKU)
		}
		if raw := got[len(got)-3] == '#'; got != c.want || n.UnknownUnit != raw || lines[0].SKU != "before" {
			t.Errorf("%d %s %s: %s %+v, want %s", c.qty, c.sku, c.uom, got, n, c.want)
		}
	}
}

func TestKitsStaySmall(t *testing.T) {
	wide := func(prefix string, n int) (out []protocol.KitComponent) {
		for i := range n {
			out = append(out, protocol.KitComponent{SKU: protocol.SKU(fmt.Sprint(prefix, i)), Quantity: 1000})
		}
		return out
	}
	b := New()
	put(t, b, 1, protocol.Item{SKU: "W", Kit: wide("w", 64)})
	if code := put(t, b, 2, protocol.Item{SKU: "FOUR", Kit: kit("W", 1, "W", 1, "W", 1, "W", 1)}); code != "" {
		t.Errorf("256 lines: %s", code)
	}
	if code := put(t, b, 3, protocol.Item{SKU: "MORE", Kit: kit("FOUR", 1, "x", 1)}); code != "kit_too_large" {
		t.Errorf("257 lines: %q", code)
	}
	put(t, b, 4, protocol.Item{SKU: "P", Kit: kit("x", 1)})
	put(t, b, 5, protocol.Item{SKU: "HAS", Kit: kit("P", 1, "W", 3)})
	if code := put(t, b, 6, protocol.Item{SKU: "P", Kit: wide("p", 64)}); code != "" {
		t.Errorf("a part that grows within the bound: %s", code)
	}
	put(t, b, 7, protocol.Item{SKU: "HAS", Kit: kit("P", 1, "W", 3)})
	if code := put(t, b, 8, protocol.Item{SKU: "w0", Kit: kit("a", 1, "b", 1)}); code != "kit_too_large" {
		t.Errorf("an article that becomes a kit makes those too large that have it: %q", code)
	}
	if code := put(t, b, 8, protocol.Item{SKU: "HEAVY", Kit: kit("P", 1_000_000_000)}); code != "" {
		t.Errorf("the most of a part: %q", code)
	}
	if code := put(t, b, 9, protocol.Item{SKU: "P", Kit: kit("x", 2)}); code != "kit_too_large" {
		t.Errorf("more of a part than there can be: %q", code)
	}
	put(t, b, 10, protocol.Item{SKU: "DUST", Kit: []protocol.KitComponent{{SKU: "y", Quantity: 1}}})
	put(t, b, 11, protocol.Item{SKU: "BAG", Kit: kit("DUST", 1_000_000_000)})
	if code := put(t, b, 12, protocol.Item{SKU: "BAGS", Kit: kit("BAG", 2)}); code != "kit_too_large" {
		t.Errorf("more of a part of a part than there can be, though it comes to little: %q", code)
	}
	put(t, b, 13, protocol.Item{SKU: "GRAIN", Kit: []protocol.KitComponent{{SKU: "BAG", Quantity: 1}}})
	if code := put(t, b, 14, protocol.Item{SKU: "GRAINS", Kit: kit("GRAIN", 1000)}); code != "" || b.Kit("GRAINS")[0] != (protocol.KitComponent{SKU: "y", Quantity: protocol.Units(1_000_000)}) {
		t.Errorf("a little of much: %q, %+v", code, b.Kit("GRAINS"))
	}
	full := make([]protocol.HoldLine, 10)
	if lines, n := b.Resolve("FOUR", 1000, "", 99, true, full); len(lines) != 266 || !n.Kit {
		t.Errorf("behind other lines: %d lines, %+v", len(lines), n)
	}
	if n := len(b.Kit("FOUR")); n != 64 || b.Kit("FOUR")[0].Quantity != 4000 {
		t.Errorf("lines of one part are not added up: %d", n)
	}
}

func TestTheSameAfterARestart(t *testing.T) {
	b := New()
	it := &protocol.Item{SKU: "A", Units: []protocol.UnitOfItem{}, Kit: kit("B", 1)}
	next, _ := b.Put(it, "ann", 1)
	it.Kit[0].SKU = "C" // the caller's list is not the book's
	b.Apply(next, 1)
	if k := b.Kit("A"); k[0].SKU != "B" {
		t.Errorf("%+v", k)
	}
	body, err := json.Marshal(next)
	if err != nil {
		t.Fatal(err)
	}
	var read protocol.Item
	if err := json.Unmarshal(body, &read); err != nil {
		t.Fatal(err)
	}
	back := New()
	back.Apply(&read, 1)
	if n, p := back.Put(&protocol.Item{SKU: "A", Units: []protocol.UnitOfItem{}, Kit: kit("B", 1)}, "bob", 2); n != nil || p != nil {
		t.Errorf("what is the same is a change: %+v, %v", n, p)
	}
}

func TestVersionsAreBounded(t *testing.T) {
	b := New()
	pos := uint64(0)
	change := func(name string, factor int64) string {
		pos += 10
		return put(t, b, pos, protocol.Item{SKU: "X", Name: name, Units: []protocol.UnitOfItem{{UOM: "CS", Factor: protocol.Units(factor)}}})
	}
	for n := range 50 {
		change("", int64(n+1))
	}
	read := func(pos uint64) string { s, _ := read(b, "X", 1, "CS", pos, true); return s }
	want := map[uint64]string{}
	for p := uint64(0); p <= pos+1; p++ {
		want[p] = read(p)
	}
	for n := range 200 {
		change(fmt.Sprint("name ", n), 50)
	}
	for p, s := range want {
		if got := read(p); got != s {
			t.Fatalf("at %d: %s, was %s", p, got, s)
		}
	}
	h := b.History("X")
	if len(h) != namesMax || h[0].Name != "name 199" || h[0].Version != 250 || read(pos+1) != "50 X" {
		t.Errorf("%d versions, the newest %+v", len(h), h[0])
	}
	for n := 0; len(b.versions("X")) < readingsMax; n++ {
		change("", int64(100+n))
	}
	if code := change("", 77); code != "too_many_versions" {
		t.Errorf("one more reading: %q", code)
	}
	if code := change("only a name", 100+int64(len(want))); code != "too_many_versions" {
		t.Errorf("another reading under a name: %q", code)
	}
	last, _ := b.Get("X")
	last.Name, last.Version = "only a name", 0
	if code := put(t, b, pos+10, last); code != "" || len(b.versions("X")) != readingsMax {
		t.Errorf("a name is refused: %q, %d versions", code, len(b.versions("X")))
	}
	if b.all != len(b.versions("X")) {
		t.Errorf("%d versions are counted, there are %d", b.all, len(b.versions("X")))
	}
}

func TestDamagedChunksAreRefused(t *testing.T) {
	it := protocol.Item{SKU: "A", Version: 1}
	no := shardOf("A")
	chunk := func(lists ...[]Version) []byte {
		data := []byte{chunkVersion}
		for _, l := range lists {
			j, err := json.Marshal(l)
			if err != nil {
				t.Fatal(err)
			}
			data = append(append(data, byte(len(j)), byte(len(j)>>7)), j...)
			data[len(data)-len(j)-2] |= 0x80
		}
		return data
	}
	second := it
	second.Version = 2
	for name, data := range map[string][]byte{
		"nothing":                   nil,
		"another version":           {9},
		"no versions":               chunk([]Version{}),
		"an item twice":             chunk([]Version{{1, it}}, []Version{{1, it}}),
		"versions in one place":     chunk([]Version{{1, it}, {1, second}}),
		"the same version twice":    chunk([]Version{{1, it}, {2, it}}),
		"an item of another shard":  chunk([]Version{{1, protocol.Item{SKU: "B", Version: 1}}}),
		"versions of two items":     chunk([]Version{{1, it}, {2, protocol.Item{SKU: "B", Version: 2}}}),
		"an item without a name":    chunk([]Version{{1, protocol.Item{Version: 1}}}),
		"a list that is cut short":  chunk([]Version{{1, it}, {2, second}})[:20],
		"something that is no JSON": {chunkVersion, 1, '{'},
	} {
		if err := New().Restore(no, data); err == nil {
			t.Errorf("%s is believed", name)
		}
	}
	b := New()
	if err := b.Restore(no, chunk([]Version{{1, it}, {2, second}})); err != nil || len(b.History("A")) != 2 {
		t.Errorf("%v", err)
	}
}

func TestRawCodesAreApart(t *testing.T) {
	seen := map[protocol.SKU]string{}
	for _, sku := range []string{"A", "A#B", "ä", "x" + strings.Repeat("ä", 31), "ääääääääääääääääääääääääääääää-1", "ääääääääääääääääääääääääääääää-2"} {
		for _, uom := range []string{"C", "B#C", "CS", "a unit of a name that is longer than a SKU may ever be, by far: 1", "a unit of a name that is longer than a SKU may ever be, by far: 2"} {
			code := RawCode(protocol.SKU(sku), uom)
			key := sku + " in " + uom
			if seen[code] != "" || len(code) > protocol.SKUBytesMax {
				t.Errorf("%q of %s, as of %s", code, key, seen[code])
			}
			if n, err := protocol.NormalizeSKU(string(code)); err != nil || n != code || !utf8.ValidString(string(code)) {
				t.Errorf("%q is no SKU: %v", code, err)
			}
			seen[code] = key
		}
	}
}

func TestResolveAllocatesNothing(t *testing.T) {
	b := New()
	into := make([]protocol.HoldLine, 0, 8)
	for range 2 {
		if n := testing.AllocsPerRun(100, func() { into, _ = b.Resolve("04006381333931", 1000, "EA", 9, true, into[:0]) }); n != 0 {
			t.Errorf("%v allocations with %d items", n, b.Len())
		}
		put(t, b, 1, protocol.Item{SKU: "SET", Kit: kit("X", 1)})
	}
	if n := testing.AllocsPerRun(100, func() { into, _ = b.Resolve("SET", 1000, "", 9, true, into[:0]) }); n != 0 {
		t.Errorf("a kit: %v allocations", n)
	}
}
