package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// raised are the ways in which the aggregator names the cause of an exception.
var raised = []*regexp.Regexp{
	regexp.MustCompile(`parked\("([a-z_]+)"`),
	regexp.MustCompile(`\bCode: +"([a-z_]+)"`),
	regexp.MustCompile(`\.Code = "([a-z_]+)"`),
	regexp.MustCompile(`\bcode[A-Z]\w* += "([a-z_]+)"`),
	regexp.MustCompile(`\bcause[A-Z]\w* += "([a-z_]+)"`),
	regexp.MustCompile(`\bRefused\w* += "([a-z_]+)"`),
	regexp.MustCompile(`protocol\.Flag\w+, "([a-z_]+)", "`),
}

// Who meets an exception finds out what to do: every cause that the sources can
// name has its section in the manual.
func TestEveryCauseHasItsSection(t *testing.T) {
	seen := map[string]string{}
	for _, room := range []string{"merge", "ingest", "reconcile", "feed"} {
		err := filepath.WalkDir(filepath.Join("..", "aggregator", room), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, r := range raised {
				for _, m := range r.FindAllSubmatch(b, -1) {
					seen[string(m[1])] = path
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d causes were found: do the sources name them otherwise now? %v", len(seen), seen)
	}
	for code, path := range seen {
		at := strings.Index(string(Operations), "\n## "+code+"\n")
		if at < 0 {
			t.Errorf("%s, raised in %s, has no section in OPERATIONS.md", code, path)
			continue
		}
		section, _, _ := strings.Cut(string(Operations)[at+4:], "\n## ")
		for _, part := range []string{"What it means", "What to check", "What to do", "How to know it is over"} {
			if !strings.Contains(section, "\n### "+part+"\n") {
				t.Errorf("%s does not say: %s", code, part)
			}
		}
	}
}
