package simulator

import (
	"math/rand/v2"
	"testing"
)

func TestSeqSetIsASet(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var s seqSet
		want := map[uint64]bool{}
		for range 400 {
			q := 1 + rng.Uint64N(120)
			if s.add(q) == want[q] {
				t.Fatalf("seed %d: %d is new: %v", seed, q, !want[q])
			}
			want[q] = true
			head, given := s.head()
			most := uint64(0)
			for k := range want {
				most = max(most, k)
			}
			if head != most || given != uint64(len(want)) {
				t.Fatalf("seed %d: head %d, %d given; want %d and %d", seed, head, given, most, len(want))
			}
		}
	}
	var s seqSet
	for q := range uint64(1000) {
		s.add(q + 1)
	}
	if len(s) != 1 {
		t.Errorf("a row without a gap takes %d stretches", len(s))
	}
}
