package chaos

import (
	"os"
	"path/filepath"
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

// TestPlantedSample builds the planted program and lets it find a few bugs of each
// side; `tillwire-simulator chaos --plant all` does the same with all of them.
func TestPlantedSample(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	found, err := Plant(t.Context(), Planting{
		Source: filepath.Join("..", ".."), Workers: 2,
		Bugs: []string{"ack-before-sync", "trim-at-merged", "cursor-moves-on-puback", "answer-before-commit", "dedupe-by-seq-alone"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 5 {
		t.Fatalf("%d bugs were hunted, want 5", len(found))
	}
	for _, p := range found {
		if !p.Found || p.What == "" || len(p.Files) == 0 {
			t.Errorf("%s was not found: %+v", p.Name, p)
		}
	}
}
