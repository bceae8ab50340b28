package reconcile

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

// uncertain is a line that differs, too close to others' movements to be sure.
func uncertain(sku string, stated, book int64) Line {
	return Line{SKU: protocol.SKU(sku), Stated: q(stated), Book: q(book), Anchored: true, Foreign: true}
}

// states shows rows as "id state cycles".
func states(b *Book, f Filter) (out []string) {
	for _, r := range b.List(f) {
		out = append(out, fmt.Sprintf("%s %s %d", r.ID, r.State, r.Cycles))
	}
	return out
}

func decide(t testing.TB, b *Book, id, action string) *Change {
	t.Helper()
	c, p := b.Decide(id, action, "ann", "because", 99)
	if p != nil {
		t.Fatalf("%s %s: %v", action, id, p)
	}
	if c != nil {
		b.Apply(c)
	}
	return c
}

func TestOwnersByPrecedence(t *testing.T) {
	all := []Owner{{Source: "any"}, {Type: "dc", Source: "dcs"}, {Type: "dc", Source: "second"}, {Location: "DC1", Source: "one"}, {Location: "DC1", Type: "store", Source: "never"}}
	for _, c := range []struct {
		name   string
		owners []Owner
		loc    protocol.StoreID
		kind   string
		agents bool
		first  string
		want   string
	}{
		{"a location's row stands before its type's", all, "DC1", "dc", false, "wms", "one"},
		{"a type's row stands before that of all, the first of two", all, "DC2", "dc", false, "wms", "dcs"},
		{"a row of all stands before the shop's own journals", all, "S1", "store", true, "wms", "any"},
		{"a location's row of another type does not concern it", all[4:], "DC1", "dc", false, "wms", "wms"},
		{"agents make a shop its own record", nil, "S1", "store", true, "wms", OwnerStore},
		{"without agents who spoke first is the record", nil, "S1", "store", false, "wms", "wms"},
		{"who is called store is not the store", nil, "S1", "store", false, "store", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := New(Rules{Owners: c.owners})
			b.Moved(c.loc, c.first)
			b.Moved(c.loc, "later")
			st := &Statement{Source: "wms", Location: c.loc, Type: c.kind, HasAgents: c.agents}
			if c.first == "store" {
				st.Source = "store"
				c.want = map[bool]string{true: c.want, false: "later"}[false]
			}
			j := b.Judge(st)
			if j.Owner != c.want {
				t.Errorf("owner %q, want %q", j.Owner, c.want)
			}
			for _, x := range j.Changes {
				b.Apply(x)
			}
			if got := b.Owner(c.loc); got != c.want {
				t.Errorf("afterwards %q, want %q", got, c.want)
			}
		})
	}
}

// ruleCase is a rule, with what is taken and how the rows stand afterwards.
type ruleCase struct {
	name  string
	rules Rules
	steps []*Statement
	want  []string
	rows  []string
}

func (c *ruleCase) run(t *testing.T) {
	b := New(c.rules)
	var got []string
	for _, st := range c.steps {
		got = append(got, judge(b, st))
	}
	if d := cmp.Diff(c.want, got); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(c.rows, states(b, Filter{})); d != "" {
		t.Error(d)
	}
}

func again(st *Statement, id string) *Statement { st.SnapshotID = id; return st }

func TestRulesOfDrift(t *testing.T) {
	far := func(st *Statement) *Statement { st.AsOfUS, st.NowUS = 1<<60, 11; return st }
	for _, c := range []ruleCase{
		{
			"one agreeing statement is enough where the rules say one",
			Rules{AgreeCycles: 1},
			[]*Statement{says("wms", 10, uncertain("X", 5, 7))},
			[]string{"[0]"},
			[]string{"wms/DC1/X adopted 1"},
		},
		{
			"three are needed where the rules say three, whatever book and stated are",
			Rules{AgreeCycles: 3},
			[]*Statement{says("wms", 10, uncertain("X", 5, 7)), says("wms", 20, uncertain("X", 3, 5)), says("wms", 30, uncertain("X", 1, 3))},
			[]string{"[1]", "[1]", "[0]"},
			[]string{"wms/DC1/X adopted 3"},
		},
		{
			"the same statement sent twice is one",
			Rules{},
			[]*Statement{says("wms", 10, uncertain("X", 5, 7)), says("wms", 10, uncertain("X", 5, 7))},
			[]string{"[1]", "[1]"},
			[]string{"wms/DC1/X open 1"},
		},
		{
			"a statement that arrives late does not break the row of a newer one",
			Rules{},
			[]*Statement{says("wms", 20, uncertain("X", 5, 7)), says("wms", 10, uncertain("X", 4, 7)), says("wms", 30, uncertain("X", 5, 7))},
			[]string{"[1]", "[1]", "[0]"},
			[]string{"wms/DC1/X adopted 2"},
		},
		{
			"agreement in between interrupts the row",
			Rules{},
			[]*Statement{says("wms", 10, uncertain("X", 5, 7)), says("wms", 20, uncertain("X", 7, 7)), says("wms", 30, uncertain("X", 5, 7))},
			[]string{"[1]", "[0]", "[1]"},
			[]string{"wms/DC1/X open 1"},
		},
		{
			"a certain cut settles what was doubted before",
			Rules{},
			[]*Statement{says("wms", 10, uncertain("X", 5, 7)), says("wms", 20, Line{SKU: "X", Stated: q(6), Book: q(7), Anchored: true})},
			[]string{"[1]", "[0]"},
			[]string{"wms/DC1/X adopted 1"},
		},
		{
			"who is not the record settles when it agrees again, and moves nothing even so",
			Rules{Owners: []Owner{{Source: "wms"}}},
			[]*Statement{says("erp", 10, uncertain("X", 5, 7)), says("erp", 20, uncertain("X", 7, 7))},
			[]string{"[1]", "[1]"},
			[]string{"erp/DC1/X settled 1"},
		},
		{
			"who is not the record may state first of a position and moves nothing",
			Rules{Owners: []Owner{{Source: "wms"}}},
			[]*Statement{says("erp", 10, Line{SKU: "X", Stated: q(5)}), says("erp", 9, Line{SKU: "Y", Stated: q(5)})},
			[]string{"[1]", "[1]"},
			[]string{"erp/DC1/X open 1", "erp/DC1/Y open 1"},
		},
		{
			"who is not the record zeroes nothing, so nothing of it is refused",
			Rules{Owners: []Owner{{Source: "wms"}}},
			[]*Statement{zeroing(says("erp", 10, uncertain("X", 0, 7)), 100, 100)},
			[]string{"[1]"},
			[]string{"erp/DC1/X open 1"},
		},
		{
			"a clock that runs ahead does not shut out what comes after",
			Rules{},
			[]*Statement{far(says("wms", 0, Line{SKU: "X", Stated: q(5)})), says("wms", 20, Line{SKU: "X", Stated: q(6), Anchored: true})},
			[]string{"[0]", "[0]"},
			nil,
		},
		{
			"what is only drift makes later statements not older",
			Rules{},
			[]*Statement{says("wms", 20, uncertain("X", 5, 7)), says("wms", 10, uncertain("Y", 5, 7))},
			[]string{"[1]", "[1]"},
			[]string{"wms/DC1/X open 1", "wms/DC1/Y open 1"},
		},
		{
			"parts of one statement have one as_of and are all judged",
			Rules{},
			[]*Statement{again(says("wms", 10, uncertain("X", 7, 7)), "a"), again(says("wms", 10, uncertain("Y", 7, 7)), "a")},
			[]string{"[0]", "[0]"},
			nil,
		},
	} {
		t.Run(c.name, c.run)
	}
}

func TestRulesOfWholeStatements(t *testing.T) {
	complete := func(st *Statement) *Statement { st.Complete = true; return st }
	for _, c := range []ruleCase{
		{
			"a newer complete statement overtakes one that waits for approval",
			Rules{},
			[]*Statement{zeroing(says("wms", 10), 50, 100), complete(says("wms", 20, uncertain("X", 7, 7)))},
			[]string{"mass_zeroing", "[0]"},
			[]string{"wms/DC1 settled 0"},
		},
		{
			"an older complete one does not",
			Rules{},
			[]*Statement{zeroing(says("wms", 20), 50, 100), complete(says("wms", 10, uncertain("X", 7, 7)))},
			[]string{"mass_zeroing", "[0]"},
			[]string{"wms/DC1 open 0"},
		},
		{
			"an incomplete one does not",
			Rules{},
			[]*Statement{zeroing(says("wms", 10), 50, 100), says("wms", 20, uncertain("X", 7, 7))},
			[]string{"mass_zeroing", "[0]"},
			[]string{"wms/DC1 open 0"},
		},
		{
			"share and number of zeroes are the rules'",
			Rules{ZeroShareMax: 0.5, ZeroKeysMin: 10},
			[]*Statement{zeroing(says("wms", 10), 50, 100), zeroing(says("wms", 20), 6, 10)},
			[]string{"[]", "mass_zeroing"},
			[]string{"wms/DC1 open 0"},
		},
		{
			"lines of one article add up and are taken together",
			Rules{},
			[]*Statement{says("wms", 10, Line{SKU: "X", Stated: q(3), Book: q(7), Anchored: true}, uncertain("Y", 1, 1), uncertain("X", 4, 0)), says("wms", 20, uncertain("X", 3, 7), uncertain("X", 3, 0))},
			[]string{"[0 0 0]", "[1 1]"},
			[]string{"wms/DC1/X open 1"},
		},
		{
			"of which one uncertain makes the sum uncertain",
			Rules{},
			[]*Statement{says("wms", 10, Line{SKU: "X", Stated: q(3), Book: q(8), Anchored: true}, uncertain("X", 4, 0))},
			[]string{"[1 1]"},
			[]string{"wms/DC1/X open 1"},
		},
		{
			"a line that no row can be about is kept as evidence",
			Rules{},
			[]*Statement{says("wms", 10, Line{Stated: q(3)}, Line{SKU: "\xff", Stated: q(3)}, Line{SKU: protocol.SKU(strings.Repeat("X", 65)), Stated: q(3)})},
			[]string{"[1 1 1]"},
			nil,
		},
		{
			"a name that nobody can have is refused",
			Rules{},
			[]*Statement{says("w/s", 10, uncertain("X", 5, 7)), says("", 10)},
			[]string{RefusedImpossible, RefusedImpossible},
			nil,
		},
	} {
		t.Run(c.name, c.run)
	}
}

func TestReasonsInWords(t *testing.T) {
	b := New(Rules{Owners: []Owner{{Source: "wms"}}})
	judge(b, says("wms", 10, uncertain("A", 5, 7), uncertain("B", 5, 7), uncertain("C", 5, 7), uncertain("D", 5, 7)))
	judge(b, says("erp", 10, uncertain("A", 5, 7)))
	judge(b, says("wms", 20, uncertain("A", 5, 7), Line{SKU: "B", Stated: q(6), Book: q(7), Anchored: true}, uncertain("C", 7, 7)))
	judge(b, zeroing(says("wms", 30), 60, 100))
	for id, want := range map[string]string{
		"wms/DC1/A": "stated 2 times in a row", "wms/DC1/B": "cut is certain: own", "wms/DC1/C": "agree", "wms/DC1/D": "this is number 1",
		"erp/DC1/A": "erp is not the record here, wms is", "wms/DC1": "60 of 100",
	} {
		if r, ok := b.Get(id); !ok || !strings.Contains(r.Reason, want) || r.Actions == nil {
			t.Errorf("%s: %q, want %q (%+v)", id, r.Reason, want, r)
		}
	}
	decide(t, b, "wms/DC1/D", protocol.DecideAdopt)
	if r, _ := b.Get("wms/DC1/D"); r.Reason != "approved by ann" || len(r.Actions) != 0 {
		t.Errorf("%+v", r)
	}
	if j := b.Judge(says("wms", 10)); j.Refused != RefusedOlder || !strings.Contains(j.Reason, "taken already") {
		t.Errorf("%+v", j)
	}
}

func TestWhoIsNotTheRecordIsNotAdopted(t *testing.T) {
	b := New(Rules{Owners: []Owner{{Source: "wms"}}})
	judge(b, says("erp", 10, uncertain("A", 5, 7)))
	if c, p := b.Decide("erp/DC1/A", protocol.DecideAdopt, "ann", "", 11); p == nil || p.Code != "reconciliation_state" || c != nil {
		t.Errorf("%v, %v", c, p)
	}
	b.rules.Owners = []Owner{{Source: "erp"}} // the table changed
	disk := chunks(t, b)
	c := decide(t, b, "erp/DC1/A", protocol.DecideAdopt)
	want := &Adoption{Action: "adopt", Source: "erp", Location: "DC1", SKU: "A", SnapshotID: "n10", Stated: q(5), AsOfUS: 10}
	if d := cmp.Diff(want, c.Decided.Adoption); d != "" {
		t.Error(d)
	}
	maps.Copy(disk, chunks(t, b))
	back := New(b.rules)
	for no, data := range disk {
		if err := back.Restore(no, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	if j := back.Judge(says("erp", 9)); j.Refused != RefusedOlder {
		t.Errorf("what a person took makes older ones older: %+v", j)
	}
}

func TestDecisionsAreAskedForAReason(t *testing.T) {
	b := New(Rules{})
	judge(b, says("wms", 10, uncertain("A", 5, 7)))
	for _, c := range []struct{ name, action, note, want string }{
		{"a dismissal without a note", protocol.DecideDismiss, "", "note_required"},
		{"a note that is too long", protocol.DecideAdopt, strings.Repeat("x", noteBytesMax+1), "invalid_field"},
		{"an action that nobody knows", "burn", "", "reconciliation_state"},
	} {
		if _, p := b.Decide("wms/DC1/A", c.action, "ann", c.note, 1); p == nil || p.Code != c.want {
			t.Errorf("%s: %v, want %s", c.name, p, c.want)
		}
	}
	if c := decide(t, b, "wms/DC1/A", protocol.DecideDismiss); c == nil {
		t.Fatal("nothing was decided")
	}
	if c := decide(t, b, "wms/DC1/A", protocol.DecideDismiss); c != nil {
		t.Errorf("the same decision again changes something: %+v", c)
	}
	if c := decide(t, b, "wms/DC1/A", protocol.DecideAdopt); c == nil || c.Decided.Adoption == nil {
		t.Error("a dismissed row can no longer be adopted")
	}
}

func TestDismissedRowNeverAdoptsItself(t *testing.T) {
	b := New(Rules{})
	judge(b, says("wms", 10, uncertain("A", 5, 7)))
	decide(t, b, "wms/DC1/A", protocol.DecideDismiss)
	for n := range 5 {
		if got := judge(b, says("wms", int64(20+n), uncertain("A", 5, 7))); got != "[1]" {
			t.Fatalf("statement %d: %s", n, got)
		}
	}
	if d := cmp.Diff([]protocol.SKU{"A"}, b.OpenAt("wms", "DC1")); d != "" {
		t.Error(d)
	}
}

func TestMassZeroingIsApprovedWhole(t *testing.T) {
	b := New(Rules{})
	bad := zeroing(says("wms", 10, uncertain("A", 0, 7), uncertain("B", 0, 7)), 90, 100)
	j := b.Judge(bad)
	if j.Refused != RefusedZeroing || j.Stances != nil || len(j.Changes) != 1 {
		t.Fatalf("%+v", j)
	}
	for range 2 { // two parts, the second told twice
		j.Changes[0].Refused.Exceptions = []string{"x1", "x2"}
		b.Apply(j.Changes[0])
	}
	c := decide(t, b, "wms/DC1", protocol.DecideAdopt)
	want := &Adoption{Action: "adopt", Source: "wms", Location: "DC1", SnapshotID: "n10", AsOfUS: 10, Exceptions: []string{"x1", "x2"}}
	if d := cmp.Diff(want, c.Decided.Adoption); d != "" {
		t.Error(d)
	}
	if j := b.Judge(says("wms", 9)); j.Refused != RefusedOlder {
		t.Errorf("older than what was approved: %+v", j)
	}
	if got := judge(b, bad); got != "[0 0]" {
		t.Errorf("once more after the approval: %s", got)
	}
	if got := judge(b, zeroing(says("wms", 20), 90, 100)); got != RefusedZeroing {
		t.Errorf("the next one needs its own approval: %s", got)
	}
	if r, _ := b.Get("wms/DC1"); r.State != "open" || r.SnapshotID != "n20" || r.Exceptions != nil || r.DecidedBy != "" {
		t.Errorf("%+v", r)
	}
	decide(t, b, "wms/DC1", protocol.DecideDismiss)
	if got := judge(b, zeroing(says("wms", 20), 90, 100)); got != RefusedZeroing {
		t.Errorf("a dismissed one came again: %s", got)
	}
	if r, _ := b.Get("wms/DC1"); r.State != "dismissed" {
		t.Errorf("%+v", r)
	}
	judge(b, says("wms", 30, uncertain("A", 7, 7)))
	if r, _ := b.Get("wms/DC1"); len(r.Actions) != 0 {
		t.Errorf("what is older than the newest taken can be adopted: %+v", r)
	}
}

func TestLocationsChangeHands(t *testing.T) {
	b := New(Rules{})
	equal := says("wms", 10, uncertain("A", 7, 7))
	judge(b, equal)
	equal.AsOfUS, equal.HasAgents = 5, true // agents came; nothing else is new
	judge(b, equal)
	if got := b.Owner("DC1"); got != OwnerStore {
		t.Errorf("the record is %q", got)
	}
	judge(b, says("wms", 20, uncertain("A", 5, 7)))
	judge(b, says("wms", 30, uncertain("A", 7, 7)))
	judge(b, says("wms", 40, uncertain("A", 5, 7)))
	if r, _ := b.Get("wms/DC1/A"); r.FirstAt.UnixMicro() != 41 || r.LastAt.UnixMicro() != 41 {
		t.Errorf("a difference that came back is as old as the first one: %+v", r)
	}
}

func TestWholeStatementMayZeroTheRest(t *testing.T) {
	b := New(Rules{})
	for _, c := range []struct {
		name string
		st   *Statement
		want bool
	}{
		{"certain and taken", says("wms", 10, Line{SKU: "A", Stated: q(1)}), true},
		{"equal, but uncertain", says("wms", 10, uncertain("A", 1, 1)), false},
		{"one line is drift", says("wms", 10, Line{SKU: "A", Stated: q(1)}, uncertain("B", 1, 2)), false},
	} {
		if j := b.Judge(c.st); j.Whole != c.want {
			t.Errorf("%s: %+v", c.name, j)
		}
	}
}

func TestResidue(t *testing.T) {
	b := New(Rules{})
	rows := []ResidueRow{
		{Kind: ResidueTransfer, Name: "T/1", Location: "S1", SKU: "X/Y", Quantity: q(3), SinceUS: 5},
		{Kind: ResidueAdvice, Name: "A%1", Location: "DC1", SKU: "X", Quantity: -q(2), SinceUS: 6},
		{Kind: "rumour", Name: "R", Location: "DC1", SKU: "X", Quantity: q(1)},
	}
	b.Residue(rows, 100)
	if d := cmp.Diff([]string{"advice:A%251/DC1/X open 0", "transfer:T%2F1/S1/X/Y open 0"}, states(b, Filter{Kind: kindResidue})); d != "" {
		t.Error(d)
	}
	if b.Open() != 2 || b.Dropped().Unlisted != 1 {
		t.Errorf("%d open, %+v", b.Open(), b.Dropped())
	}
	const id = "transfer:T%2F1/S1/X/Y"
	decide(t, b, id, protocol.DecideDismiss)
	b.Residue(rows, 200)
	if r, _ := b.Get(id); r.State != "dismissed" || r.Note != "because" || r.Book != q(3) || r.Difference != -q(3) {
		t.Errorf("the same residue, explained: %+v", r)
	}
	rows[0].Quantity = q(2)
	b.Residue(rows, 300)
	if r, _ := b.Get(id); r.State != "open" || r.DecidedBy != "" {
		t.Errorf("a part came after all: %+v", r)
	}
	c := decide(t, b, id, protocol.DecideWriteOff)
	if d := cmp.Diff(&Adoption{Action: "write_off", Location: "S1", SKU: "X/Y", Residue: &rows[0]}, c.Decided.Adoption); d != "" {
		t.Error(d)
	}
	if c = decide(t, b, id, protocol.DecideWriteOff); c != nil {
		t.Errorf("written off twice: %+v", c)
	}
	b.Residue(nil, 400)
	if _, ok := b.Get(id); ok || len(b.List(Filter{})) != 0 {
		t.Error("what is no longer offered is still listed")
	}
	if _, p := b.Decide(id, protocol.DecideWriteOff, "ann", "", 1); p == nil || p.Status != 404 {
		t.Errorf("%v", p)
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	b := New(Rules{Owners: []Owner{{Source: "wms"}}})
	for _, loc := range []protocol.StoreID{"DC1", "DC-2"} {
		for _, source := range []string{"wms", "erp"} {
			st := says(source, 10, uncertain("B", 1, 2), uncertain("A/1", 1, 2), uncertain("A", 1, 2))
			st.Location = loc
			judge(b, st)
		}
	}
	judge(b, zeroing(says("wms", 20), 90, 100))
	b.Residue([]ResidueRow{{Kind: ResidueTransfer, Name: "T2", Location: "DC1", SKU: "A"}, {Kind: ResidueTransfer, Name: "T1", Location: "DC1", SKU: "A"}}, 1)
	decide(t, b, "erp/DC1/A", protocol.DecideDismiss)
	if n := len(states(b, Filter{})); n != 15 {
		t.Errorf("%d rows", n)
	}
	judge(b, says("erp", 30, uncertain("A/0", 1, 2))) // between two pages' rows
	all := states(b, Filter{})
	var paged []string
	for after := ""; ; {
		page := b.List(Filter{After: after, Limit: 2})
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			paged = append(paged, fmt.Sprintf("%s %s %d", r.ID, r.State, r.Cycles))
		}
		after = page[len(page)-1].ID
	}
	if d := cmp.Diff(all, paged); d != "" || len(all) != 16 {
		t.Errorf("%d rows: %s", len(all), d)
	}
	for _, c := range []struct {
		name string
		f    Filter
		want int
	}{
		{"a source's", Filter{Source: "erp"}, 7},
		{"a location's", Filter{Location: "DC1"}, 10},
		{"an article's", Filter{SKU: "A"}, 6},
		{"open ones", Filter{State: "open"}, 15},
		{"dismissed ones", Filter{State: "dismissed"}, 1},
		{"whole statements", Filter{Kind: "mass_zeroing"}, 1},
		{"a kind that nobody knows", Filter{Kind: "rumour"}, 0},
		{"a state that nobody knows", Filter{State: "lost"}, 0},
	} {
		if got := len(b.List(c.f)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestChangesFitIntoRecords(t *testing.T) {
	st := says("wms", 10)
	for n := range 2*changeRowsMax + 1 {
		l := uncertain(fmt.Sprintf("%s%04d", strings.Repeat("<", 60), n), 1, 2)
		l.Stated, l.Book = -protocol.QuantityMax+protocol.Quantity(n), protocol.QuantityMax
		st.Lines = append(st.Lines, l)
	}
	st.SnapshotID = strings.Repeat("<", 1000)
	j := New(Rules{}).Judge(st)
	if len(j.Changes) != 3 {
		t.Errorf("%d changes", len(j.Changes))
	}
	for _, c := range j.Changes {
		body, err := json.Marshal(c)
		ev := protocol.Event{Kind: protocol.KindDecision, Store: protocol.ChainStore, Body: body}
		if n := len(protocol.AppendRecord(nil, 1, &ev)); err != nil || n > protocol.RecordBytesMax {
			t.Errorf("%d bytes, %v", n, err)
		}
		if err := json.Unmarshal(body, &Change{}); err != nil {
			t.Error(err)
		}
	}
}
