package simulator

import (
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func resultOfARun() *FleetResult {
	start := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	r := &FleetResult{
		Verdict:  Verdict{Journaled: 1234, Merged: 1234, Cells: 500, Drained: true, Orders: 20},
		Scenario: "saturday", Title: "An ordinary <Saturday>", About: "What it is.", Command: "tillwire-simulator fleet --scenario saturday", Stores: 40, SoldForS: 60, StoryS: 36_000,
		DrainS: 1.5, Web: Orders{Asked: 25, Promised: 20, Refused: 5, Oversold: 1}, EndToEnd: EndToEnd{Samples: 100, P50MS: 180, P99MS: 700},
		Starts: start, At: start, Kinds: map[string]uint64{kindSale: 1000},
		Happened: []Happening{{Kind: "outage", Name: "the provider fails", Stores: 5, From: start.Add(2 * time.Hour), Until: start.Add(3 * time.Hour), Backlog: 300, DrainS: 2.25}},
	}
	for i := range 63 {
		r.Series = append(r.Series, Sample{S: float64(i), Story: start.Add(time.Duration(i) * 10 * time.Minute), Posted: uint64(20 * i), Merged: uint64(19 * i), Backlog: uint64(i), P50MS: 150, P99MS: 600, Looked: 100, Off: i % 7})
	}
	return r
}

func TestPageSaysWhatWasProved(t *testing.T) {
	page := string(resultOfARun().HTML())
	for _, want := range []string{
		"An ordinary &lt;Saturday&gt;",
		"<b>Passed.</b> 40 stores wrote 1,234 documents through “the provider fails”. None was lost, none counted twice, and all 500 stock numbers are right at the end; all 20 web orders ended as they should.",
		"180 ms", "p99 700 ms of 100 sales", "5.00 %", "1 of 20 promised; 5 refused in time", "merged after", "2.2 s", "Sat 10:00",
		"Sale to availability", "On the way", "Throughput", "Furthest behind", "Divergence while it happens", "Memory", "Oversold", "Drain",
		"tillwire-simulator fleet --scenario saturday", "prefers-color-scheme:dark", `class="band"`,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, never := range []string{"http://", "https://", "<script", "NaN", "<link", "%!"} {
		if strings.Contains(page, never) {
			t.Errorf("the page holds %q", never)
		}
	}
}

func TestPageOfAFailedRunSaysWhy(t *testing.T) {
	r := resultOfARun()
	r.Lost, r.Diverged, r.Faults = 3, 2, "agent took a bad document"
	r.Diffs = []Diff{{Store: "S0001", SKU: "A<b>", Want: 5000, Got: 4000, What: "stock differs"}}
	page := string(r.HTML())
	for _, want := range []string{"<b>Failed.</b>", "3 documents lost", "2 of 500 stock numbers wrong", "a broken promise: agent took a bad document", "S0001 A&lt;b&gt;: want 5, got 4: stock differs"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// A stored result is read and drawn again, to the byte.
func TestReportDrawsAStoredRunAgain(t *testing.T) {
	r := resultOfARun()
	dir := t.TempDir()
	file := dir + "/saturday.json"
	if err := (&result{Kind: "fleet", Fleet: r}).store(file); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	term := &Terminal{Stdout: &out, Stderr: &out}
	if code := term.Main(t.Context(), t.Context(), []string{"report", file, "--html", dir + "/again.html"}); code != exitOK {
		t.Fatalf("exit %d: %s", code, out.String())
	}
	got, err := os.ReadFile(dir + "/again.html")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(r.HTML()), string(got)); d != "" {
		t.Error(d)
	}
	b, _ := os.ReadFile(file)
	var back result
	if err := json.Unmarshal(b, &back); err != nil || back.Fleet == nil || len(back.Fleet.Series) != 63 {
		t.Errorf("%v %+v", err, back.Fleet)
	}
}

func TestScreenFitsItsTerminal(t *testing.T) {
	var out strings.Builder
	s := newScreen(&out, func() int { return 20 })
	s.note("before the first look")
	s.draw([]string{"\x1b[1mbold and much too long for it\x1b[0m", "short"})
	s.draw([]string{"again"})
	if got := clip("\x1b[1mbold and much too long for it\x1b[0m", 20); got != "\x1b[1mbold and much too l\x1b[0m" {
		t.Errorf("clipped to %q", got)
	}
	if text := out.String(); !strings.Contains(text, "before the first look\n") || !strings.Contains(text, "\x1b[2A") || !strings.HasSuffix(text, "\x1b[J") {
		t.Errorf("drew %q", text)
	}
	if got := sparkline([]float64{0, 1, 2}); !strings.HasSuffix(got, "▁▄█") || len([]rune(got)) != sparkWide {
		t.Errorf("sparkline %q", got)
	}
	if !math.IsNaN(gapZero(0)) || gapZero(3) != 3 {
		t.Error("a second without a sample is a gap")
	}
}

func TestKeysStayOutOfReports(t *testing.T) {
	for _, c := range [][2]string{
		{"--key secret --stores 3", "--key KEY --stores 3"}, {"--key=secret", "--key=KEY"}, {"-key secret", "-key KEY"}, {"--keys", "--keys"},
	} {
		if got := strings.Join(withoutSecrets(strings.Fields(c[0])), " "); got != c[1] {
			t.Errorf("%s is shown as %s", c[0], got)
		}
	}
}
