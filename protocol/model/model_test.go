package model

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// bounds of the search: disasters, events, HELLOs.
var (
	wide   = []string{"-DDISASTERS=3", "-DEVENTS=2", "-DLEASES=3"}
	deep   = []string{"-DDISASTERS=1", "-DEVENTS=3", "-DLEASES=2"}
	widest = []string{"-DDISASTERS=3", "-DEVENTS=2", "-DLEASES=4"} // for releases: TILLWIRE_MODEL=widest
)

// TestSync looks at every state within the bounds.
func TestSync(t *testing.T) {
	needTools(t)
	cases := map[string][]string{"wide": wide, "deep": deep}
	if os.Getenv("TILLWIRE_MODEL") == "widest" {
		cases["widest"] = widest
	}
	for name, bounds := range cases {
		t.Run(name, func(t *testing.T) {
			out := verify(t, "-O2", bounds...)
			if out.errors != "0" || out.incomplete {
				t.Fatalf("spin found an error:\n%s", out.text)
			}
			t.Logf("%s states in %s", out.states, out.took.Round(time.Millisecond))
		})
	}
}

// TestSyncBites leaves one part of the protocol away at a time: a model that
// could not be broken would show nothing.
func TestSyncBites(t *testing.T) {
	needTools(t)
	for _, without := range []string{
		"TRIM_AT_MERGED", "NO_EVENT_DEDUPE", "GAP_ACCEPTED", "STALE_LEASE", "NO_CHAIN", "ACK_BEFORE_COMMIT", "CURSOR_ON_PUBACK",
		"LEASE_REUSED", "ACK_UNCHECKED",
	} {
		t.Run(without, func(t *testing.T) {
			out := verify(t, "-O0", append([]string{"-D" + without}, wide...)...)
			if out.errors == "0" || !strings.Contains(out.text, "assertion violated") {
				t.Fatalf("no promise broke:\n%s", out.text)
			}
		})
	}
}

type verdict struct {
	errors, states string
	incomplete     bool
	took           time.Duration
	text           string
}

var (
	errorsLine = regexp.MustCompile(`errors: (\d+)`)
	statesLine = regexp.MustCompile(`(\S+) states, stored`)
)

// verify translates, builds with an optimisation (a short search is not worth one)
// and searches.
func verify(t *testing.T, optimise string, flags ...string) verdict {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	dir := t.TempDir()
	src, err := filepath.Abs("sync.pml")
	if err != nil {
		t.Fatal(err)
	}
	run := func(name string, args ...string) string {
		c := exec.CommandContext(ctx, name, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	run("spin", append(append([]string{"-a"}, flags...), src)...)
	run("gcc", optimise, "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=8000", "-o", "pan", "pan.c")
	start := time.Now()
	out := verdict{text: run(filepath.Join(dir, "pan"), "-m100000"), took: time.Since(start)}
	if m := errorsLine.FindStringSubmatch(out.text); m != nil {
		out.errors = m[1]
	}
	if m := statesLine.FindStringSubmatch(out.text); m != nil {
		out.states = m[1]
	}
	out.incomplete = strings.Contains(out.text, "Search not completed") || strings.Contains(out.text, "max search depth too small")
	return out
}

func needTools(t *testing.T) {
	t.Helper()
	for _, tool := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed: apt-get install %s; in CI this test may not be skipped", tool, tool)
		}
		t.Skipf("%s is not installed: apt-get install %s", tool, tool)
	}
}
