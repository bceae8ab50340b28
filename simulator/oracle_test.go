package simulator

import (
	"testing"
	"time"

	"tillwire/protocol"
)

func docOf(kind string, at time.Time, es ...effect) *document {
	return &document{kind: kind, at: at, effects: es}
}

func TestOracleCounts(t *testing.T) {
	base := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	sec := func(n int) time.Time { return base.Add(time.Duration(n) * time.Second) }
	move := func(n int, q int64) *document {
		return docOf(kindSale, sec(n), effect{SKU: "A", Delta: protocol.Units(q)})
	}
	count := func(n int, q int64) *document {
		return docOf(kindCount, sec(n), effect{SKU: "A", Delta: protocol.Units(q), Count: true})
	}
	for _, c := range []struct {
		name string
		docs []*document
		want int64
	}{
		{"sum", []*document{move(1, 10), move(2, -3)}, 7},
		{"count replaces", []*document{move(1, 10), count(2, 8)}, 8},
		{"count arrives late", []*document{move(1, 10), move(3, -2), count(2, 9)}, 7},
		{"sale arrives late", []*document{move(1, 10), count(3, 8), move(2, -2)}, 8},
		{"older count arrives last", []*document{count(5, 8), count(2, 100)}, 8},
		{"two counts, sale between", []*document{count(2, 10), move(3, -1), count(4, 9), move(5, -1)}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOracle()
			for i, d := range c.docs {
				o.record("S1", d, uint64(i+1))
			}
			got := o.shelves()
			if len(got) != 1 || got[0].OnHand != protocol.Units(c.want) {
				t.Errorf("got %v, want %d", got, c.want)
			}
		})
	}
}

func TestOracleSeqs(t *testing.T) {
	o := newOracle()
	d := docOf(kindSale, time.Unix(1, 0))
	for _, seq := range []uint64{2, 1, 5, 5} {
		o.record("S1", d, seq)
	}
	got := o.tally("S1")
	want := tally{Documents: 4, Head: 5, Missing: 2, Reused: 1}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// The oracle forgets movements only when no count may ask for them any more.
func TestOracleForgets(t *testing.T) {
	o := newOracle()
	base := time.Unix(1_000_000, 0)
	for i := range 10_000 {
		o.record("S1", docOf(kindSale, base.Add(time.Duration(i)*time.Second), effect{SKU: "A", Delta: -1000}), uint64(i+1))
	}
	tr := o.store("S1")
	if n := len(tr.recent); n > 5000 {
		t.Errorf("%d movements kept", n)
	}
	if first := tr.recent[0].at; first.After(base.Add(9_999 * time.Second).Add(-truthHorizon)) {
		t.Errorf("a movement within the horizon was forgotten: first kept is %s", first)
	}
	if cutOffMax+countLagMax >= truthHorizon {
		t.Error("the horizon is shorter than the longest delay")
	}
}
