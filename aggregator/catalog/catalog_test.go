package catalog

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

func kit(parts ...any) (out []protocol.KitComponent) {
	for i := 0; i < len(parts); i += 2 {
		out = append(out, protocol.KitComponent{SKU: protocol.SKU(parts[i].(string)), Quantity: protocol.Units(int64(parts[i+1].(int)))})
	}
	return out
}

// put applies an item at a position and returns the problem's code.
func put(t testing.TB, b *Book, pos uint64, it protocol.Item) string {
	t.Helper()
	v, p := b.Put(&it, "ann", 1)
	if p != nil {
		return p.Code
	}
	if v == nil {
		return "same"
	}
	b.Apply(v, pos)
	return ""
}

func read(b *Book, sku string, qty int64, uom string, pos uint64, explode bool) (string, Note) {
	lines, n := b.Resolve(protocol.SKU(sku), protocol.Units(qty), uom, pos, explode, nil)
	var s []string
	for _, l := range lines {
		s = append(s, l.Quantity.String()+" "+string(l.SKU))
	}
	return strings.Join(s, " + "), n
}

func TestResolve(t *testing.T) {
	b := New()
	if got, n := read(b, "X", 2, "KGM", 1, true); got != "2 X" || n != (Note{}) {
		t.Errorf("an empty book: %s %+v", got, n)
	}
	put(t, b, 10, protocol.Item{SKU: "X", Units: []protocol.UnitOfItem{{UOM: "CS", Factor: 12_000}, {UOM: "GRM", Factor: 1}}})
	put(t, b, 20, protocol.Item{SKU: "X", Units: []protocol.UnitOfItem{{UOM: "CS", Factor: 6_000}}})
	put(t, b, 30, protocol.Item{SKU: "SET", Kit: kit("X", 1, "Y", 2)})
	put(t, b, 31, protocol.Item{SKU: "BIG", Kit: kit("SET", 2, "X", 1)})
	for _, c := range []struct {
		name, sku, uom string
		pos            uint64
		explode        bool
		want           string
		note           Note
	}{
		{"the base unit", "X", "EA", 40, true, "2 X", Note{Version: 2}},
		{"a case as it is now", "X", "CS", 40, true, "12 X", Note{Version: 2, Converted: true}},
		{"a case as it was known then", "X", "CS", 20, true, "24 X", Note{Version: 1, Converted: true}},
		{"thousandths are exact", "X", "GRM", 15, true, "0.002 X", Note{Version: 1, Converted: true}},
		{"before the item was known", "X", "CS", 10, true, "2 X", Note{UnknownSKU: true}},
		{"a unit without conversion", "X", "PAL", 40, true, "2 X#PAL", Note{Version: 2, UnknownUnit: true}},
		{"an unknown article in any unit", "Q", "PAL", 40, true, "2 Q", Note{UnknownSKU: true}},
		{"a kit is its parts", "SET", "", 40, true, "2 X + 4 Y", Note{Version: 1, Kit: true}},
		{"but not when it is counted", "SET", "", 40, false, "2 SET", Note{Version: 1}},
		{"a kit of kits", "BIG", "", 40, true, "4 X + 8 Y + 2 X", Note{Version: 1, Kit: true}},
		{"before its bill of materials", "SET", "", 30, true, "2 SET", Note{UnknownSKU: true}},
	} {
		got, n := read(b, c.sku, 2, c.uom, c.pos, c.explode)
		if got != c.want || n != c.note {
			t.Errorf("%s: %s %+v, want %s %+v", c.name, got, n, c.want, c.note)
		}
	}
	if d := cmp.Diff(kit("X", 3, "Y", 4), b.Kit("BIG")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]protocol.SKU{"BIG", "SET"}, b.KitsWith("X")); d != "" {
		t.Error(d)
	}
	back := New()
	if err := b.Chunks(func(no uint32, data []byte) {
		if err := back.Restore(no, data); err != nil {
			t.Fatal(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	for _, pos := range []uint64{15, 25, 40} {
		x, _ := read(b, "BIG", 3, "", pos, true)
		if y, _ := read(back, "BIG", 3, "", pos, true); x != y {
			t.Errorf("restored at %d: %s, was %s", pos, y, x)
		}
	}
}

func TestKitsCannotContainThemselves(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Item{SKU: "A", Kit: kit("B", 1)})
	put(t, b, 2, protocol.Item{SKU: "B", Kit: kit("C", 1)})
	if code := put(t, b, 3, protocol.Item{SKU: "C", Kit: kit("D", 1, "A", 1)}); code != "kit_cycle" {
		t.Errorf("a cycle over three: %q", code)
	}
	if code := put(t, b, 3, protocol.Item{SKU: "A", Kit: kit("B", 1)}); code != "same" {
		t.Errorf("the same again: %q", code)
	}
	names := "CDEFGHIJKLM"
	for i := range len(names) - 1 {
		code := put(t, b, 4, protocol.Item{SKU: protocol.SKU(names[i : i+1]), Kit: kit(names[i+1:i+2], 1)})
		if want := map[bool]string{true: "kit_too_deep"}[i+3 > protocol.KitDepthMax]; code != want {
			t.Fatalf("level %d: %q, want %q", i+3, code, want)
		}
		if code != "" {
			return
		}
	}
}

func TestRawCodeFits(t *testing.T) {
	long := protocol.SKU(strings.Repeat("9", protocol.SKUBytesMax))
	a, b := RawCode(long, "PAL"), RawCode(long[:60]+"8888", "PAL")
	if len(a) > protocol.SKUBytesMax || a == b || !strings.HasSuffix(string(a), "#PAL") {
		t.Errorf("%s, %s", a, b)
	}
}

func TestVersionsSayWhoAndWhen(t *testing.T) {
	b := New()
	put(t, b, 1, protocol.Item{SKU: "A", Name: "one"})
	put(t, b, 2, protocol.Item{SKU: "A", Name: "two", Category: "food"})
	h := b.History("A")
	if len(h) != 2 || h[0].Version != 2 || h[1].Name != "one" || h[0].ChangedBy != "ann" || b.Category("A") != "food" || b.Category("Z") != "" {
		t.Errorf("%+v", h)
	}
	put(t, b, 3, protocol.Item{SKU: "B"})
	if l := b.List("A", 10); len(l) != 1 || l[0].SKU != "B" {
		t.Errorf("%+v", l)
	}
}

func FuzzRestore(f *testing.F) {
	b := New()
	put(f, b, 1, protocol.Item{SKU: "A", Kit: kit("B", 1)})
	_ = b.Chunks(func(no uint32, data []byte) { f.Add(no, data) })
	f.Fuzz(func(_ *testing.T, no uint32, data []byte) { _ = New().Restore(no, data) })
}

func BenchmarkResolveUnknown(b *testing.B) {
	c := New()
	put(b, c, 1, protocol.Item{SKU: "A"})
	var into []protocol.HoldLine
	b.ReportAllocs()
	for b.Loop() {
		into, _ = c.Resolve("04006381333931", 1000, "EA", 9, true, into[:0])
	}
}
