package protocol

import (
	"crypto/sha256"
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestHostileCuts: what is said of other journals is bounded and named.
func TestHostileCuts(t *testing.T) {
	base := pb(AppendEvent(nil, &goldenEvents()[2].Event))
	line := pb{}.raw(lSKU, "A")
	long := strings.Repeat("x", NameBytesMax+1)
	cuts := func(c pb, times int) pb {
		l := slices.Clip(line)
		for range times {
			l = l.raw(lSiblingCut, string(c))
		}
		return slices.Clip(base).raw(fLine, string(l))
	}
	acks := func(a pb, times int) pb {
		b := slices.Clip(base)
		for range times {
			b = b.raw(fAck, string(a))
		}
		return b
	}
	cut, ack := pb{}.raw(cAgent, "till-02").num(cSeq, 1), pb{}.raw(cAgent, "till-02").raw(cStore, "S0042")
	for _, c := range []struct {
		name string
		b    pb
		want error
	}{
		{"as many cuts as may be", cuts(cut, CutsMax), nil},
		{"a cut too many", cuts(cut, CutsMax+1), ErrMalformed},
		{"a cut of nobody", cuts(pb{}.num(cSeq, 1), 1), ErrMalformed},
		{"a cut of a long name", cuts(pb{}.raw(cAgent, long), 1), ErrMalformed},
		{"a cut of tomorrow says more", cuts(slices.Clip(cut).raw(cStore, long).num(9, 1), 1), nil},
		{"a cut that ends early", cuts(cut[:len(cut)-1], 1), ErrTruncated},
		{"as many acks as may be", acks(ack, AcksMax), nil},
		{"cuts that follow none", slices.Clip(base).raw(fLine, string(slices.Clip(line).num(lCutsFollow, 1))), ErrMalformed},
		{"a cut that follows none", cuts(cut, 1).raw(fLine, string(slices.Clip(line).raw(lSiblingCut, string(pb{}.raw(cAgent, "till-03"))).num(lCutsFollow, 1))), ErrMalformed},
		{"cuts that follow twice over", cuts(cut, 1).raw(fLine, string(slices.Clip(line).num(lCutsFollow, 2))), ErrMalformed},
		{"cuts that follow", cuts(cut, 1).raw(fLine, string(slices.Clip(line).num(lCutsFollow, 1))), nil},
		{"an ack too many", acks(ack, AcksMax+1), ErrMalformed},
		{"an ack without a store", acks(cut, 1), ErrMalformed},
		{"an ack of a long store", acks(slices.Clip(cut).raw(cStore, long), 1), ErrMalformed},
		{"an ack of tomorrow says more", acks(slices.Clip(ack).raw(9, long), 1), nil},
		{"an ack that ends early", acks(ack[:len(ack)-1], 1), ErrTruncated},
		{"a clock error below zero", slices.Clip(base).num(fClockErrorUS, 1), ErrMalformed}, // zigzag of −1
		{"an expected time of 17 bits", slices.Clip(base).num(fExpectedOffset, 1<<17), ErrMalformed},
		{"stance 257", slices.Clip(base).raw(fLine, string(slices.Clip(line).num(lStance, 257))), ErrMalformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := DecodeEvent(c.b, &Event{}); !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
	}
}

// longCount is a count of as many lines as may be, each cut over so many tills, of
// which some sold since the line before.
func longCount(tills, sold int) *Event {
	e := goldenEvents()[3].Event
	e.Lines = nil
	cuts := make([]SiblingCut, tills)
	for i := range cuts {
		cuts[i] = SiblingCut{Agent: AgentID("till-" + strconv.Itoa(i)), Epoch: 1, Seq: 1 << 20}
	}
	for i := range DocumentLinesMax {
		cuts = slices.Clone(cuts)
		for k := range sold {
			cuts[(i*sold+k)%tills].Seq++
		}
		e.Lines = append(e.Lines, Line{
			Line: i + 1, SKU: "04006381333931", Quantity: Units(12), UOM: "EA", Cut: 1 << 20, Cuts: cuts,
			CountedAt: Stamp{goldenStartUS + int64(i), 60}, Zone: "aisle 4",
		})
	}
	return &e
}

// TestLongCounts: the longest count fits a record in a shop of 64 tills of which
// two sell between any two lines; what does not fit is refused, and whole.
func TestLongCounts(t *testing.T) {
	for _, c := range []struct{ tills, sold int }{{1, 1}, {20, 2}, {CutsMax, 0}, {CutsMax, 2}, {CutsMax, 6}} {
		e := longCount(c.tills, c.sold)
		rec := AppendRecord(nil, 1<<62, e)
		var got Event
		if _, err := DecodeRecord(rec, &got); err != nil {
			t.Fatalf("%d tills, %d sell: %d bytes: %v", c.tills, c.sold, len(rec), err)
		}
		if !reflect.DeepEqual(&got, e) { // a diff of 64,000 cuts takes seconds
			t.Fatalf("%d tills, %d sell: another count comes back", c.tills, c.sold)
		}
		t.Logf("%d lines, %d tills of which %d sell between lines: %d bytes of %d", len(e.Lines), c.tills, c.sold, len(rec), RecordBytesMax)
	}
	var size *SizeError
	if _, err := DecodeRecord(AppendRecord(nil, 1, longCount(CutsMax, CutsMax)), &Event{}); !errors.As(err, &size) || size.Max != RecordBytesMax {
		t.Fatal(err)
	}
}

// TestCutsThatDoNotFollow are written whole.
func TestCutsThatDoNotFollow(t *testing.T) {
	a, b := SiblingCut{"a", 1, 1}, SiblingCut{"b", 1, 1}
	later := SiblingCut{"a", 1, 2}
	for name, cuts := range map[string][2][]SiblingCut{
		"one more":           {{a}, {a, b}},
		"one less":           {{a, b}, {a}},
		"none any more":      {{a, b}, nil},
		"another order":      {{a, b}, {b, a}},
		"another agent":      {{a}, {b}},
		"one agent twice":    {{a, later}, {a, {"a", 1, 3}}},
		"nothing, then some": {nil, {a}},
		"the same":           {{a, b}, {a, b}},
		"another epoch":      {{a, b}, {{"a", 2, 1}, b}},
	} {
		t.Run(name, func(t *testing.T) {
			e := goldenEvents()[3].Event
			e.Lines = []Line{{Line: 1, SKU: "A", Cuts: cuts[0]}, {Line: 2, SKU: "A", Cuts: cuts[1]}}
			var got Event
			if err := DecodeEvent(AppendEvent(nil, &e), &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(got, e); d != "" {
				t.Fatal(d)
			}
		})
	}
}

func TestContentHashOfWhatIsNotThePOSs(t *testing.T) {
	by := map[string]Event{}
	for _, g := range goldenEvents() {
		by[g.Name] = g.Event
	}
	for _, c := range []struct {
		name, of string
		change   func(*Event)
		same     bool
	}{
		{"a retried count sees siblings", "count", func(e *Event) { e.Lines[0].Cuts = []SiblingCut{{Agent: "till-02", Seq: 1}} }, true},
		{"a retried count sees none", "count-siblings", func(e *Event) { e.Lines[0].Cuts = nil }, true},
		{"a statement that was adopted", "snapshot", func(e *Event) { e.Lines[1].Stance = StanceAnchor }, true},
		{"a statement's cut", "snapshot", func(e *Event) { e.Lines[0].Cut = 9 }, true},
		{"what a statement acknowledges", "snapshot", func(e *Event) { e.Acks[0].Seq++ }, false},
		{"a late sale, its register known better", "sale-late", func(e *Event) { e.ClockOffsetUS, e.ClockErrorUS = -1, 0 }, true},
		{"a sale is late when it is retried", "sale", func(e *Event) { e.ClockOffsetUS, e.ClockErrorUS = 1, 1 }, true},
		{"a clock's offset", "clock", func(e *Event) { e.ClockOffsetUS++ }, false},
		{"a clock's error", "clock", func(e *Event) { e.ClockErrorUS++ }, false},
		{"when goods are expected", "advice", func(e *Event) { e.ExpectedAt.US++ }, false},
		{"a body", "policy", func(e *Event) { e.Body = []byte("{}") }, false},
		{"a sale's cut would be content", "sale", func(e *Event) { e.Lines[0].Cut = 1 }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := by[c.of]
			before := e.ContentHash()
			e.Lines, e.Acks = slices.Clone(e.Lines), slices.Clone(e.Acks)
			c.change(&e)
			if (e.ContentHash() == before) != c.same {
				t.Fatalf("same content: want %v", c.same)
			}
		})
	}
}

// TestHashesWhole: where it says so, the hash of the bytes is the content hash;
// and it says so for the usual sale.
func TestHashesWhole(t *testing.T) {
	whole := func(e *Event) bool {
		sum := sha256.Sum256(AppendEvent(nil, e))
		return [8]byte(sum[:8]) == e.ContentHash()
	}
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		if rapid.Bool().Draw(t, "no trace") {
			e.Traceparent = ""
		}
		if rapid.Bool().Draw(t, "in time") {
			e.ClockOffsetUS, e.ClockErrorUS = 0, 0
		}
		if e.HashesWhole() && !whole(e) {
			t.Fatalf("%s: the hash of the bytes is not the content hash", e.Kind)
		}
	})
	want := map[string]bool{"sale": false, "sale-late": false, "count": false, "count-siblings": false, "snapshot": false, "every-field": false}
	for _, g := range goldenEvents() {
		if yes, told := want[g.Name]; g.Event.HashesWhole() != (yes || !told) {
			t.Errorf("%s: %v", g.Name, g.Event.HashesWhole())
		}
	}
}
