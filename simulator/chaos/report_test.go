package chaos

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReport: rows of other commands are read from their folder, what was not run is
// said and not a zero, and what failed is the headline.
func TestReport(t *testing.T) {
	t.Parallel()
	known := []Crash{{Campaign: "sigkill-agent", About: "kill -9"}, {Campaign: "power-cut", About: "LazyFS"}, {Campaign: "rot", About: "bits"}}
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	empty := newPage(known)
	if got := empty.Headline(); got != "Nothing was run." || empty.OK() {
		t.Errorf("an empty report says %q", got)
	}
	write("sigkill-agent.json", `{"campaign":"sigkill-agent","cycles":1000,"acked":48211,"recovery_ms":{"p50":12,"p99":60,"max":90}}`)
	write("power-cut.json", `{"campaign":"power-cut","skipped":true,"note":"LazyFS is not built"}`)
	write("drain-400.json", `{"stores":400,"documents_per_store":2000,"journaled":800400,"drained":true,"right_p99_s":1.7,"all_drained_s":10.6}`)
	write("oversell.json", `[1,2]`)

	p := newPage(known)
	p.Simulation = Campaign{Seeds: 2, Workers: 1}.Run(t.Context(), codec(t))
	p.Planted = []Planted{{Name: "trim-at-merged", sighting: sighting{Found: true, What: "P at d0 00:00:01.000: <b>trims</b>"}}}
	file := filepath.Join(dir, "out", "chaos.html")
	if err := p.Finish(file, dir); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	html := string(b)
	for _, want := range []string{
		"Every promise was kept", "48,211", "not run: LazyFS is not built", "1 of 1 were found", "&lt;b&gt;trims", "1,000", "10.6 s", "not told apart",
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(html, "<script") || strings.Contains(html, "http://") || strings.Contains(html, "https://") {
		t.Error("the page asks for something outside itself")
	}
	if !strings.Contains(html, "<td>rot<td class=\"mute\" colspan=\"6\">not run") {
		t.Error("a campaign without a row is not told to be missing")
	}
	var back Page
	if b, err = os.ReadFile(filepath.Join(dir, "out", "chaos.json")); err != nil || json.Unmarshal(b, &back) != nil || back.Simulation.Seeds != 2 || len(back.Drains) != 1 {
		t.Errorf("the JSON beside it: %v, %+v", err, back)
	}

	write("rot.json", `{"campaign":"rot","cycles":12,"acked":400,"lost":1}`)
	q := newPage(known)
	if err := q.gather(dir); err != nil {
		t.Fatal(err)
	}
	if q.OK() || !strings.Contains(q.Headline(), "1 crash campaign lost") {
		t.Errorf("a loss is not the headline: %q", q.Headline())
	}
	write("drain-4000.json", `{"stores":`)
	if err := newPage(known).gather(dir); err == nil || !strings.Contains(err.Error(), "drain-4000.json") {
		t.Errorf("half a row: %v", err)
	}
}
