package chaos

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandReports: the report holds what was run, and nothing of what was not.
func TestCommandReports(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "chaos.html")
	var out bytes.Buffer
	if err := Command(t.Context(), []string{"--seeds", "3", "--report", file}, nil, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(strings.TrimSuffix(file, "html") + "json")
	if err != nil {
		t.Fatal(err)
	}
	var p Page
	if err := json.Unmarshal(b, &p); err != nil {
		t.Fatal(err)
	}
	r := p.Simulation
	if r == nil || r.Seeds != 3 || r.StoreDays == 0 || r.Counts.Acked == 0 || len(r.Faults) == 0 || r.HealMS.N != 3 {
		t.Errorf("the report says %s", b)
	}
	if bytes.Contains(b, []byte(`"planted"`)) {
		t.Error("the report speaks of bugs that were not planted")
	}
	if r != nil && strings.TrimSpace(out.String()) != r.Line() {
		t.Errorf("printed %q, reported %q", out.String(), r.Line())
	}
}

// TestCommandRefuses what it does not know, before anything is run.
func TestCommandRefuses(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"--plant no-such-bug":                 "no such bug",
		"--seed 3 --faults unheard-of":        "unheard-of",
		"--seed 3 --only x":                   "read --only",
		"--seeds 1 and-something":             "not expected",
		"--seeds 1 --report /dev/null/x.html": "write report",
	} {
		err := Command(t.Context(), strings.Fields(args), nil, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

// TestCommandRepeatsASeed: one seed twice prints the same.
func TestCommandRepeatsASeed(t *testing.T) {
	t.Parallel()
	say := func() string {
		var out bytes.Buffer
		if err := Command(t.Context(), []string{"--seed", "5", "--stores", "2", "--days", "1"}, nil, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if a, b := say(), say(); a != b || !strings.Contains(a, "kept: ") {
		t.Errorf("two runs of one seed print\n%s\nand\n%s", a, b)
	}
}
