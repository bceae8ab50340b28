package experiment

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
)

// TestBuffersTradeOversellsForLostSales: more buffer, fewer oversells, more lost
// sales; and where stores are silent the risk buffer oversells less than nothing
// kept back.
func TestBuffersTradeOversellsForLostSales(t *testing.T) {
	o := OversellOptions{Stores: 8, SKUs: 120, Days: 21, LearnDays: 5, Seed: 11}
	rows, err := Oversell(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]OversellRow{}
	for _, r := range rows {
		by[r.Policy.Name] = r
		a, l := r.All.Per1000()
		sa, sl := r.Silent.Per1000()
		t.Logf("%-32s all %.1f oversold %.1f lost; silent %.1f %.1f", r.Policy.Name, a, l, sa, sl)
		if n := r.All; n.Orders != n.Accepted+n.LostSales+n.Rightly || n.Orders == 0 {
			t.Errorf("%s: orders do not add up: %+v", r.Policy.Name, n)
		}
	}
	less := func(a, b string) {
		t.Helper()
		x, y := by[a].All, by[b].All
		if x.Oversold > y.Oversold || x.LostSales < y.LostSales {
			t.Errorf("%s against %s: %+v, %+v", a, b, x, y)
		}
	}
	less("safety stock 1", "no buffer")
	less("safety stock 3", "safety stock 1")
	less("risk buffer, α 0.99", "risk buffer, α 0.8")
	if a, b := by["risk buffer, α 0.95"].Silent, by["no buffer"].Silent; a.Oversold >= b.Oversold {
		t.Errorf("silent stores: %d oversold with the buffer, %d without", a.Oversold, b.Oversold)
	}
	again, err := Oversell(context.Background(), o)
	if err != nil || !reflect.DeepEqual(rows, again) {
		t.Errorf("the same seed gave another table: %v", err)
	}
	d := xml.NewDecoder(strings.NewReader(OversellSVG(rows)))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is not XML: %v", err)
		}
	}
}
