//go:build dist

package packagetest

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The same sources in two folders, at two times, come to the same bytes.
func TestReproducible(t *testing.T) {
	needs(t, "wixl", "msibuild", "git", "tar")
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "a longer name", "two")
	sums := map[string]string{}
	for _, dir := range []string{one, two} { // copied before anything is built: somebody may be at work here
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, root(t), nil, "sh", "-c", `git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- -c | tar -x -C "$1" && cp -a "$1/." "$2"`, "copy", one, two)
	for _, dir := range []string{one, two} {
		nfpm := filepath.Join(root(t), ".bin", "nfpm")
		out := filepath.Join(dir, "dist")
		must(t, dir, []string{"SOURCE_DATE_EPOCH=1764000000"}, "go", "run", "./installers/cmd/tillwire-dist", "--version", "1.2.3", "--out", out, "--nfpm", nfpm, "--only", everywhere)
		sums[dir] = read(t, filepath.Join(out, "SHA256SUMS"))
		time.Sleep(1100 * time.Millisecond) // another second for whoever writes down the time
	}
	if sums[one] != sums[two] {
		t.Errorf("two builds differ:\n%s\n%s", sums[one], sums[two])
	}
	t.Logf("%s", sums[one])
}
