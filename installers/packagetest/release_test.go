package packagetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// scratch lives as long as the tests: releases are made once for all of them.
var scratch string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tillwire-packagetest-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	scratch = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

var (
	releasesMu sync.Mutex
	releases   = map[string]string{}
)

// root is the repository's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// release makes a draft of a version for some targets and gives its folder.
func release(t *testing.T, version, only string) string {
	t.Helper()
	nfpm := filepath.Join(root(t), ".bin", "nfpm")
	if _, err := os.Stat(nfpm); err != nil {
		t.Skip("skipped: .bin/nfpm is missing; `make nfpm` builds it")
	}
	releasesMu.Lock()
	defer releasesMu.Unlock()
	key := version + " " + only
	if dir := releases[key]; dir != "" {
		return dir
	}
	dir := filepath.Join(scratch, fmt.Sprint("release", len(releases)))
	must(t, root(t), []string{"SOURCE_DATE_EPOCH=1764000000"}, "go", "run", "./installers/cmd/tillwire-dist", "--draft", "--out", dir, "--version", version, "--only", only, "--nfpm", nfpm)
	releases[key] = dir
	return dir
}

// one is the only file in dir that matches.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d files match %s in %s (%v)", len(found), pattern, dir, err)
	}
	return found[0]
}

// must runs a command and gives what it printed; it fails the test where the
// command fails.
func must(t *testing.T, dir string, env []string, program string, args ...string) string {
	t.Helper()
	out, err := try(t, dir, env, program, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return out
}

func try(t *testing.T, dir string, env []string, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("skipped: %s is not installed", p)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
