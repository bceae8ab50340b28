package chaos

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPlantsFit: each bug's text still stands in the sources, once.
func TestPlantsFit(t *testing.T) {
	t.Parallel()
	if n := len(bugs()); n < 25 {
		t.Fatalf("there are %d bugs to plant, at least 25 were promised", n)
	}
	for _, p := range plants {
		b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(p.file)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := edited(p.file, string(b)); err != nil {
			t.Error(err)
		}
	}
}

// TestPlantedBugsAreFound plants a few, one per promise, and sees that the simulation
// finds them; `chaos --plant all` plants all.
func TestPlantedBugsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the programs once more")
	}
	t.Parallel()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no go command here")
	}
	want := map[string]string{
		"new-epoch-offers-nothing-again": "A", "dedupe-by-seq-alone": "B", "count-does-not-refold": "D", "credit-is-ignored": "E", "trim-at-merged": "P",
	}
	got, err := Plant(t.Context(), Planting{Source: filepath.Join("..", ".."), Bugs: slices.Sorted(maps.Keys(want)), Workers: 2, Race: raced})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range got {
		if !p.Found || !strings.HasPrefix(p.What, want[p.Name]+" at ") {
			t.Errorf("%s: found %v after %d store-days: %s; want promise %s broken", p.Name, p.Found, p.StoreDays, p.What, want[p.Name])
		}
	}
}
