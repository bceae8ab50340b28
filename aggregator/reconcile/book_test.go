package reconcile

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

func q(n int64) protocol.Quantity { return protocol.Units(n) }

func says(source string, asOf int64, lines ...Line) *Statement {
	return &Statement{Source: source, SnapshotID: fmt.Sprint("n", asOf), Location: "DC1", Type: "dc", AsOfUS: asOf, NowUS: asOf + 1, Lines: lines}
}

// judge applies a judgement and tells stances and refusal.
func judge(b *Book, st *Statement) string {
	j := b.Judge(st)
	for _, c := range j.Changes {
		b.Apply(c)
	}
	if j.Refused != "" {
		return j.Refused
	}
	return fmt.Sprintf("%v", j.Stances)
}

func TestRulesOfStatements(t *testing.T) {
	first := Line{SKU: "X", Stated: q(5), Book: q(0)}
	sure := Line{SKU: "X", Stated: q(5), Book: q(7), Anchored: true}
	near := Line{SKU: "X", Stated: q(5), Book: q(7), Anchored: true, Foreign: true}
	equal := Line{SKU: "X", Stated: q(7), Book: q(7), Anchored: true, Foreign: true}
	cases := []struct {
		name  string
		rules func(*Rules)
		steps []*Statement
		want  []string
		rows  string
	}{
		{"a position's first statement is the number", nil, []*Statement{says("wms", 10, first)}, []string{"[0]"}, ""},
		{"the record's statement with a sure cut is the number", nil, []*Statement{says("wms", 10, sure)}, []string{"[0]"}, ""},
		{"an uncertain difference waits until it was stated twice", nil, []*Statement{says("wms", 10, near), says("wms", 20, near)}, []string{"[1]", "[0]"}, "adopted 2"},
		{"another difference begins to count anew", nil, []*Statement{says("wms", 10, near), says("wms", 20, Line{SKU: "X", Stated: q(4), Book: q(7), Anchored: true, Foreign: true})}, []string{"[1]", "[1]"}, "open 1"},
		{"what agrees again is settled", nil, []*Statement{says("wms", 10, near), says("wms", 20, equal)}, []string{"[1]", "[0]"}, "settled 1"},
		{"who is not the record never moves stock", nil, []*Statement{says("wms", 10, first), says("erp", 20, sure), says("erp", 30, sure)}, []string{"[0]", "[1]", "[1]"}, "open 2"},
		{"unless the table says that it is", func(r *Rules) { r.Owners = []Owner{{Location: "DC1", Source: "erp"}} }, []*Statement{says("wms", 10, sure), says("erp", 20, sure)}, []string{"[1]", "[0]"}, "open 1"},
		{"a type's record", func(r *Rules) { r.Owners = []Owner{{Type: "dc", Source: "erp"}} }, []*Statement{says("wms", 10, sure)}, []string{"[1]"}, "open 1"},
		{"an older statement is refused", nil, []*Statement{says("wms", 10, first), says("wms", 9, sure)}, []string{"[0]", "snapshot_older"}, ""},
		{"what it acknowledged is a sure cut", nil, []*Statement{acknowledged(says("wms", 10, near))}, []string{"[0]"}, ""},
		{"mass zeroing waits for an approval", nil, []*Statement{zeroing(says("wms", 10, first), 30, 100)}, []string{"mass_zeroing"}, "open 0"},
		{"a few zeroes do not", nil, []*Statement{zeroing(says("wms", 10, first), 20, 100)}, []string{"[0]"}, ""},
		{"nor does an almost empty location", nil, []*Statement{zeroing(says("wms", 10, first), 19, 19)}, []string{"[0]"}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := DefaultRules()
			if c.rules != nil {
				c.rules(&r)
			}
			b := New(r)
			var got []string
			for _, st := range c.steps {
				got = append(got, judge(b, st))
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
			rows := ""
			for _, x := range b.List(Filter{Limit: 10}) {
				rows += fmt.Sprintf("%s %d", x.State, x.Cycles)
			}
			if rows != c.rows {
				t.Errorf("rows %q, want %q", rows, c.rows)
			}
		})
	}
}

func acknowledged(st *Statement) *Statement { st.Acknowledged = true; return st }

func zeroing(st *Statement, zeroed, of int) *Statement {
	st.Zeroed, st.NonZero = zeroed, of
	return st
}

func TestStoresAreTheirOwnRecord(t *testing.T) {
	b := New(DefaultRules())
	st := says("erp", 10, Line{SKU: "X", Stated: q(50), Book: q(5)})
	st.Location, st.Type, st.HasAgents = "S1", "store", true
	if got := judge(b, st); got != "[1]" {
		t.Errorf("an ERP moved a shop's stock: %s", got)
	}
	r, _ := b.Get("erp/S1/X")
	if r.Owner != OwnerStore || r.Difference != q(45) || len(r.Actions) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestDecisions(t *testing.T) {
	b := New(DefaultRules())
	line := Line{SKU: "X", Stated: q(5), Book: q(7), Anchored: true, Foreign: true}
	judge(b, says("wms", 10, line))
	const id = "wms/DC1/X"
	if _, p := b.Decide(id, protocol.DecideWriteOff, "ann", "", 1); p == nil || p.Code != "reconciliation_state" {
		t.Errorf("%v", p)
	}
	if _, p := b.Decide("nothing", protocol.DecideAdopt, "ann", "", 1); p == nil || p.Status != 404 {
		t.Errorf("%v", p)
	}
	c, p := b.Decide(id, protocol.DecideDismiss, "ann", "known", 12)
	if p != nil {
		t.Fatal(p)
	}
	b.Apply(c)
	judge(b, says("wms", 20, line))
	if r, _ := b.Get(id); r.State != "dismissed" || r.Note != "known" || r.Cycles != 2 || b.Open() != 0 {
		t.Errorf("the same difference, explained: %+v", r)
	}
	line.Stated = q(3)
	judge(b, says("wms", 30, line))
	if r, _ := b.Get(id); r.State != "open" || r.Cycles != 1 || b.Open() != 1 {
		t.Errorf("another difference: %+v", r)
	}
	if c, p = b.Decide(id, protocol.DecideAdopt, "bob", "counted by hand", 40); p != nil {
		t.Fatal(p)
	}
	b.Apply(c)
	if r, _ := b.Get(id); r.State != "adopted" || r.DecidedBy != "bob" {
		t.Errorf("%+v", r)
	}
}

func TestRestoredBookJudgesAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := New(DefaultRules())
		for n := range rapid.IntRange(1, 12).Draw(t, "statements") {
			l := Line{SKU: protocol.SKU(rapid.SampledFrom([]string{"X", "Y"}).Draw(t, "sku")), Stated: q(rapid.Int64Range(0, 3).Draw(t, "stated")), Book: q(2), Anchored: rapid.Bool().Draw(t, "anchored"), Foreign: rapid.Bool().Draw(t, "foreign")}
			judge(b, says(rapid.SampledFrom([]string{"wms", "erp"}).Draw(t, "source"), int64(10*n), l))
		}
		back := New(DefaultRules())
		if err := b.Chunks(func(no uint32, data []byte) {
			if err := back.Restore(no, data); err != nil {
				t.Fatal(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(b.List(Filter{Limit: 99}), back.List(Filter{Limit: 99})); d != "" {
			t.Fatal(d)
		}
		st := says("wms", 1000, Line{SKU: "X", Stated: q(1), Book: q(2), Anchored: true, Foreign: true})
		if d := cmp.Diff(b.Judge(st), back.Judge(st)); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzRestore(f *testing.F) {
	b := New(DefaultRules())
	judge(b, says("wms", 10, Line{SKU: "X", Stated: 1, Book: 2, Anchored: true, Foreign: true}))
	_ = b.Chunks(func(no uint32, data []byte) { f.Add(no, data) })
	f.Fuzz(func(_ *testing.T, no uint32, data []byte) { _ = New(DefaultRules()).Restore(no, data) })
}
