package experiment

import (
	"context"
	"reflect"
	"testing"
)

// TestOursIsRightWhereTheTillReachesItsStore is the experiment on a small chain:
// the order of the rules, and ours at zero with nothing unflagged.
func TestOursIsRightWhereTheTillReachesItsStore(t *testing.T) {
	o := CountsOptions{Stores: 16, SKUs: 100, Registers: 4, Seed: 7}
	rows, err := Counts(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range rows {
		sc := Scenarios[n%len(Scenarios)]
		t.Logf("%-20s %-38s wrong %v of %d, flagged %d of %d", r.Layout, r.Scenario, r.Wrong, r.Positions, r.Flagged, r.Asked)
		if r.Unflagged != 0 {
			t.Errorf("%s, %s: %d wrong and not flagged", r.Layout, r.Scenario, r.Unflagged)
		}
		if sc.Offline == 0 && r.Wrong[Ours] != 0 {
			t.Errorf("%s, %s: %d wrong", r.Layout, r.Scenario, r.Wrong[Ours])
		}
		if r.Wrong[Ours] > r.Wrong[EventTime] || r.Wrong[EventTime] > r.Wrong[Overwrite] {
			t.Errorf("%s, %s: the rules are out of order: %v", r.Layout, r.Scenario, r.Wrong)
		}
	}
	again, err := Counts(context.Background(), o)
	if err != nil || !reflect.DeepEqual(rows, again) {
		t.Errorf("the same seed gave another table: %v", err)
	}
}

// TestShelfIsConserved: what is on the shelf in the end is what was there less
// what was sold, and the count saw it on the way.
func TestShelfIsConserved(t *testing.T) {
	d := drawDay(CountsOptions{Stores: 1, SKUs: 50, Registers: 4, Seed: 3}, Scenarios[2], 0, 3)
	left := append([]int64(nil), d.initial...)
	for _, s := range d.sales {
		left[s.sku]--
	}
	if !reflect.DeepEqual(left, d.truth) {
		t.Error("the shelf does not add up")
	}
	for i, c := range d.count {
		if c.qty > d.initial[i] || c.qty < d.truth[i] {
			t.Errorf("article %d: counted %d between %d and %d", i, c.qty, d.initial[i], d.truth[i])
		}
	}
}
