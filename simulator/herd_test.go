//go:build !race

// The herd is timed, and the race detector would time itself; see bubble_test.go.

package simulator

import "testing"

// herdDrainedS is how long a chain of 400 may take to drain on two cores that
// nothing else works on.
const (
	herdStores    = 400
	herdDocuments = 500
	herdDrainedS  = 60
)

// Four hundred stores come back at once, on the machine that runs them all.
func TestHerdOfFourHundred(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of 400 real agents")
	}
	r, err := Drain(t.Context(), DrainOptions{Stores: herdStores, Documents: herdDocuments, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.AllS > herdDrainedS {
		t.Errorf("drained after %.1f s, at most %d s are allowed:\n%s", r.AllS, herdDrainedS, r.Markdown(1))
	}
	t.Logf("right %.1f s after a store's reconnection (p99 %.1f), all drained after %.1f s, %.0f events/s, heap %d MiB",
		r.RightS.Median, r.RightP99S, r.AllS, r.EventsPerS, r.HeapPeak>>20)
}
