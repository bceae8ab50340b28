package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sizeMax is what the program may weigh on a till's disk, in bytes.
const sizeMax = 12_300_000

// html/template and text/template keep every exported method of the program:
// 2.7 MB.
func TestNoTemplatesAreLinked(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Skipf("skipped: go list does not answer: %v", err)
	}
	deps := strings.Fields(string(out))
	if len(deps) < 50 {
		t.Fatalf("only %d packages listed", len(deps))
	}
	for _, p := range []string{"html/template", "text/template", "net/http/pprof"} {
		if slices.Contains(deps, p) {
			t.Errorf("the agent links %s", p)
		}
	}
}

func TestProgramStaysSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short")
	}
	path := filepath.Join(t.TempDir(), "agent")
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes", info.Size())
	if info.Size() > sizeMax {
		t.Errorf("the program has %d bytes, at most %d are promised", info.Size(), sizeMax)
	}
}
