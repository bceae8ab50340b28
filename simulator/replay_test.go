package simulator

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

func replayFile(t *testing.T, o ReplayOptions) *ReplayResult {
	t.Helper()
	out := &testLog{t: t}
	o.DataDir, o.HTTP, o.Log, o.Out, o.Seed = t.TempDir(), "127.0.0.1:0", zerolog.Nop(), out, 3
	if o.Source == "" {
		o.Source = formatAuto
	}
	r, err := Replay(testContext(t, 110*time.Second), o)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.b.String())
	}
	r.Print(out)
	if !r.OK() {
		t.Errorf("verdict is not clean\n%s", out.b.String())
	}
	if testing.Verbose() {
		t.Log(out.b.String())
	}
	return r
}

func TestReplayFixtures(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       ReplayResult
	}{
		{"completejourney", cjFixture, ReplayResult{Source: formatCJ, Stores: 2, Documents: 6, Lines: 8, PlainSum: "-32630"}},
		{"uci", uciFixture(), ReplayResult{Source: formatUCI, Stores: 1, Documents: 5, Lines: 1119, PlainSum: "-2250"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "f.csv")
			if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			r := replayFile(t, ReplayOptions{Files: []string{file}, Outages: 6, Duplicates: 0.5, Order: orderShuffle})
			got := ReplayResult{Source: r.Source, Stores: r.Stores, Documents: r.Documents, Lines: r.Lines, PlainSum: r.PlainSum}
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(Verdict{})); d != "" {
				t.Error(d)
			}
			if r.ChainSum != r.PlainSum || r.PlainLines != r.Lines || r.Repeats == 0 {
				t.Errorf("chain %s, plain %s, %d plain lines, %d repeats", r.ChainSum, r.PlainSum, r.PlainLines, r.Repeats)
			}
		})
	}
}

// The slices are small so that the whole test run stays short; TILLWIRE_LONG=1
// plays the files whole, as `tillwire-simulator replay` does.
func TestReplayRealFiles(t *testing.T) {
	long := os.Getenv("TILLWIRE_LONG") != ""
	for _, c := range []struct {
		file  string
		slice ReplayOptions
		lines int
	}{
		{"completejourney-sample.csv.zst", ReplayOptions{Stores: 20, Outages: 10, Duplicates: 0.01}, 75_000},
		{"uci-online-retail-2010-12-to-2011-05.csv.zst", ReplayOptions{Limit: 1500, Outages: 5, Duplicates: 0.01}, 209_029},
		{"ncr-poslog.xml.zst", ReplayOptions{Duplicates: 1}, 552},
	} {
		t.Run(c.file, func(t *testing.T) {
			o := c.slice
			o.Files = []string{sharedData(t, c.file)}
			if long {
				o.Stores, o.Limit = 0, 0
			}
			r := replayFile(t, o)
			if r.PlainLines != c.lines || r.Journaled == 0 || r.Cells == 0 {
				t.Errorf("%d plain lines, want %d; %d journaled, %d cells", r.PlainLines, c.lines, r.Journaled, r.Cells)
			}
			if (o.Stores == 0 && o.Limit == 0) && r.ChainSum != r.PlainSum {
				t.Errorf("chain has %s units, file %s", r.ChainSum, r.PlainSum)
			}
		})
	}
}
