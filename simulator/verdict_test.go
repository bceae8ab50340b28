package simulator

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"tillwire/protocol"
)

// honest is an oracle of two stores, and a chain that agrees with it.
func honest() (*oracle, map[protocol.StoreID]protocol.StoreStatus, map[protocol.StoreID]map[protocol.SKU]protocol.Quantity) {
	o := newOracle()
	marks := map[protocol.StoreID]protocol.StoreStatus{}
	got := map[protocol.StoreID]map[protocol.SKU]protocol.Quantity{}
	for _, s := range []protocol.StoreID{"S1", "S2"} {
		for i := range 10 {
			o.record(s, docOf(kindSale, time.Unix(int64(100+i), 0), effect{SKU: "A", Delta: -1000}, effect{SKU: "B", Delta: -500}), uint64(i+1))
		}
		marks[s] = protocol.StoreStatus{MergedSeq: 10, MergedEvents: 10}
		got[s] = map[protocol.SKU]protocol.Quantity{"A": -10_000, "B": -5000}
	}
	return o, marks, got
}

func TestVerdictNoticesPlantedFaults(t *testing.T) {
	type m = map[protocol.StoreID]protocol.StoreStatus
	type g = map[protocol.StoreID]map[protocol.SKU]protocol.Quantity
	for _, c := range []struct {
		name  string
		plant func(o *oracle, marks m, got g)
		want  Verdict
	}{
		{"none", func(*oracle, m, g) {}, Verdict{Merged: 20}},
		{"one event dropped", func(_ *oracle, marks m, got g) {
			marks["S1"] = protocol.StoreStatus{MergedSeq: 10, MergedEvents: 9}
			got["S1"] = map[protocol.SKU]protocol.Quantity{"A": -9000, "B": -4500}
		}, Verdict{Merged: 19, Lost: 1, Diverged: 2}},
		{"one event doubled", func(_ *oracle, marks m, got g) {
			marks["S2"] = protocol.StoreStatus{MergedSeq: 11, MergedEvents: 11}
			got["S2"] = map[protocol.SKU]protocol.Quantity{"A": -11_000, "B": -5500}
		}, Verdict{Merged: 21, Duplicated: 1, Diverged: 2}},
		{"one doubled, one dropped, counts agree", func(_ *oracle, _ m, got g) {
			got["S2"]["B"] = -5500
			got["S2"]["A"] = -9000
		}, Verdict{Merged: 20, Diverged: 2}},
		{"tail never arrived", func(_ *oracle, marks m, _ g) {
			marks["S1"] = protocol.StoreStatus{MergedSeq: 7, MergedEvents: 7}
		}, Verdict{Merged: 17, Lost: 3}},
		{"a store unknown to the chain", func(_ *oracle, marks m, got g) {
			delete(marks, "S1")
			delete(got, "S1")
		}, Verdict{Merged: 10, Lost: 10, Diverged: 2}},
		{"stock out of nowhere", func(_ *oracle, _ m, got g) {
			got["S3"] = map[protocol.SKU]protocol.Quantity{"A": 1, "B": 0}
		}, Verdict{Merged: 20, Diverged: 1}},
		{"a seq given twice", func(o *oracle, _ m, _ g) {
			o.record("S1", docOf(kindSale, time.Unix(500, 0)), 10)
		}, Verdict{Merged: 20, Duplicated: 1, Lost: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o, marks, got := honest()
			c.plant(o, marks, got)
			v := Verdict{Drained: true}
			v.judgeMarks(o, marks)
			v.judgeShelves(o.shelves(), got)
			if v.Merged != c.want.Merged || v.Lost != c.want.Lost || v.Duplicated != c.want.Duplicated || v.Diverged != c.want.Diverged {
				t.Errorf("got %+v, want %+v", v, c.want)
			}
			if clean := c.name == "none"; v.OK() != clean {
				t.Errorf("OK is %v", v.OK())
			}
			var b bytes.Buffer
			v.print(&b)
			if word := map[bool]string{true: "PASS", false: "FAIL"}[v.OK()]; !strings.Contains(b.String(), word) {
				t.Errorf("print says %s", b.String())
			}
		})
	}
}

func TestWeighFindsWhatDoesNotAddUp(t *testing.T) {
	line := func(pos uint64, id string, effect int64) protocol.ExplainLine {
		return protocol.ExplainLine{Position: pos, Kind: protocol.KindSale, DocumentID: id, Effect: protocol.Units(effect)}
	}
	anchor := &protocol.ExplainLine{Effect: protocol.Units(10)}
	for _, c := range []struct {
		name string
		x    protocol.Explanation
		want string
	}{
		{"holds", protocol.Explanation{Anchor: anchor, Lines: []protocol.ExplainLine{line(3, "B", -2), line(2, "A", -1)}}, ""},
		{"two lines of one document", protocol.Explanation{Anchor: anchor, Lines: []protocol.ExplainLine{line(2, "A", -2), line(2, "A", -1)}}, ""},
		{"document twice", protocol.Explanation{Anchor: anchor, Lines: []protocol.ExplainLine{line(3, "A", -2), line(2, "A", -1)}}, "counts at positions 3 and 2"},
		{"wrong sum", protocol.Explanation{Lines: []protocol.ExplainLine{line(2, "A", -1)}}, "adds up to -1"},
		{"unexplained rest", protocol.Explanation{Anchor: anchor, Rest: protocol.Units(-3)}, "leaves a rest of -3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := weigh(&c.x, protocol.Units(7))
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
