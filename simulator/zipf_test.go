package simulator

import (
	"math"
	"slices"
	"testing"

	"tillwire/simulator/scenario"
)

// fitZipf finds the exponent under which the counts of the best sellers are most
// likely: the k-th is bought in proportion to 1/k^s.
func fitZipf(counts []int, ranks int) float64 {
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	counts = counts[:min(ranks, len(counts))]
	best, at := math.Inf(-1), 0.0
	for s := 0.3; s < 1.6; s += 0.01 {
		norm, likely, n := 0.0, 0.0, 0.0
		for k, c := range counts {
			w := math.Pow(float64(k+1), -s)
			norm += w
			likely += float64(c) * math.Log(w)
			n += float64(c)
		}
		if likely -= n * math.Log(norm); likely > best {
			best, at = likely, s
		}
	}
	return at
}

func TestZipfFitsTheRealFile(t *testing.T) {
	tp, err := readTape(sharedData(t, "completejourney-sample.csv.zst"), formatCJ)
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]int{}
	for _, d := range tp.Docs {
		for _, l := range d.doc.Lines {
			lines[l.SKU]++
		}
	}
	var counts []int
	for _, n := range lines {
		counts = append(counts, n)
	}
	if s := fitZipf(counts, 1000); math.Abs(s-scenario.ZipfFitted) > 0.02 {
		t.Errorf("the best 1,000 of %d articles fit 1/k^%.2f; scenario.ZipfFitted is %g", len(counts), s, scenario.ZipfFitted)
	}
}

// What is drawn follows the exponent that it is drawn by.
func TestPopularityFollowsItsExponent(t *testing.T) {
	for _, s := range []float64{0.4, 0.64, 1.1} {
		p := newPopularity(500, s)
		counts := make([]int, len(p))
		last := 0.0
		for k, v := range p {
			counts[k] = int(1e6 * (v - last))
			last = v
		}
		if got := fitZipf(counts, 500); math.Abs(got-s) > 0.011 {
			t.Errorf("exponent %g is drawn as %.2f", s, got)
		}
	}
}
