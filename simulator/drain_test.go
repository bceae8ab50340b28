package simulator

import (
	"strings"
	"testing"
)

// A small herd comes back: announced, right, drained, and nothing lost on the way.
func TestDrainOfASmallHerd(t *testing.T) {
	if testing.Short() {
		t.Skip("a few seconds of real agents")
	}
	r, err := Drain(t.Context(), DrainOptions{Stores: 6, Documents: 500, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Digests != "6 announced, 6 kept, 0 wrong, 0 dropped" || r.RightS.N != 6 || r.DrainedS.N != 6 {
		t.Errorf("%s", r.Markdown(3))
	}
	if r.RightS.Max > r.DrainedS.Max+0.5 {
		t.Errorf("right after %.1f s, drained after %.1f s: announcing did not help", r.RightS.Max, r.DrainedS.Max)
	}
	if md := r.Markdown(3); !strings.Contains(md, "experiment drain --stores 6 --documents 500 --seed 3") {
		t.Errorf("the report does not say how to repeat it:\n%s", md)
	}
	for _, bad := range []DrainOptions{{Stores: 0, Documents: 1}, {Stores: StoresMax + 1, Documents: 1}, {Stores: 1}} {
		if _, err := Drain(t.Context(), bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
