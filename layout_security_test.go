package tillwire_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var namedTest = regexp.MustCompile("`([a-z0-9/-]+)\\.((?:Test|Fuzz)[A-Za-z0-9]+)`")

// TestControlsHaveTheirTests: SECURITY.md names for each control the tests that hold
// it, and each of them is there.
func TestControlsHaveTheirTests(t *testing.T) {
	b, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(b), "\n## Controls and their tests\n")
	if !ok {
		t.Fatal("SECURITY.md has no table of controls")
	}
	rows := 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| control") {
			continue
		}
		rows++
		if !namedTest.MatchString(line) {
			t.Errorf("no test stands for: %s", line)
		}
	}
	if rows < 18 {
		t.Errorf("only %d controls are listed", rows)
	}
	declared := map[string]string{} // by folder
	for _, m := range namedTest.FindAllStringSubmatch(table, -1) {
		dir, name := m[1], m[2]
		if _, read := declared[dir]; !read {
			files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
			for _, f := range files {
				src, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				declared[dir] += string(src)
			}
		}
		if !strings.Contains(declared[dir], "\nfunc "+name+"(") {
			t.Errorf("SECURITY.md names %s.%s, which is no test", dir, name)
		}
	}
}

// TestEveryKeptSecretIsInTheTrustTable: whatever file the programs keep secrets or
// judgements in, the table says what its loss and its theft cost.
func TestEveryKeptSecretIsInTheTrustTable(t *testing.T) {
	b, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	// Names of files as the sources spell them.
	spelled := regexp.MustCompile(`"((?:token|root|issuing|identity)\.key|keys\.jsonl|revoked\.txt|journal\.db|agent\.toml|aggregator\.toml)"`)
	seen := map[string]bool{}
	err = filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range spelled.FindAllSubmatch(src, -1) {
			seen[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) < 8 {
		t.Errorf("only %d files were found: %v", len(seen), seen)
	}
	for name := range seen {
		if !strings.Contains(string(b), name+"`") {
			t.Errorf("SECURITY.md does not say what the loss or theft of %s costs", name)
		}
	}
}
