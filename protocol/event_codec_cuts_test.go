package protocol

import (
	"crypto/sha256"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

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

// TestFullestCount: the largest count that the limits allow is larger than a
// record: RecordBytesMax, not the sum of the others, is the bound, and it holds.
func TestFullestCount(t *testing.T) {
	e := goldenEvents()[3].Event
	cuts := make([]SiblingCut, CutsMax)
	for i := range cuts {
		cuts[i] = SiblingCut{Agent: AgentID("till-" + strconv.Itoa(i)), Epoch: 1, Seq: 1 << 40}
	}
	e.Lines = nil
	for i := range DocumentLinesMax {
		e.Lines = append(e.Lines, Line{Line: i + 1, SKU: "A", Cuts: cuts})
	}
	var size *SizeError
	if _, err := DecodeRecord(AppendRecord(nil, 1, &e), &Event{}); !errors.As(err, &size) || size.Max != RecordBytesMax {
		t.Fatal(err)
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
