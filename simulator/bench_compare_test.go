package simulator

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// The p values stand in any table of the U test; those of tiny samples can be
// counted by hand: three and three can be dealt in 20 ways, of which two separate
// them wholly.
func TestRankPIsExact(t *testing.T) {
	for _, c := range []struct {
		name   string
		xs, ys []float64
		want   float64
	}{
		{"three apart", []float64{1, 2, 3}, []float64{4, 5, 6}, 2.0 / 20},
		{"four apart", []float64{1, 2, 3, 4}, []float64{5, 6, 7, 8}, 2.0 / 70},
		{"four apart, the other way", []float64{5, 6, 7, 8}, []float64{1, 2, 3, 4}, 2.0 / 70},
		{"one crossed", []float64{1, 2, 3, 5}, []float64{4, 6, 7, 8}, 4.0 / 70},
		{"six apart", []float64{1, 2, 3, 4, 5, 6}, []float64{7, 8, 9, 10, 11, 12}, 2.0 / 924},
		{"unequal hands", []float64{1, 2}, []float64{3, 4, 5}, 2.0 / 10},
		{"mixed", []float64{1, 4, 5, 8}, []float64{2, 3, 6, 7}, 1},
		{"all the same", []float64{1, 1, 1}, []float64{1, 1, 1}, 1},
		{"nobody", nil, []float64{1}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := rankP(c.xs, c.ys); math.Abs(got-c.want) > 1e-12 {
				t.Errorf("p is %g, want %g", got, c.want)
			}
		})
	}
	sum := 0.0
	for _, w := range uWays(6, 6) {
		sum += w
	}
	if sum != 924 {
		t.Errorf("%g ways to deal twelve", sum)
	}
}

// fakeBuild stands where a build's bin folder would: a shell script tells the
// figures of each turn in turn, so that the verdict is known.
func fakeBuild(t *testing.T, rate, ms []float64) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the fake build is a shell script")
	}
	dir := t.TempDir()
	for i := range rate {
		text := fmt.Sprintf(`{"kind":"bench","bench":{"rows":[
{"name":"rate","unit":"/s","ours":{"median":%g,"min":1,"max":9,"n":3}},
{"name":"time","unit":"ms","less":true,"ours":{"median":%g,"min":1,"max":9,"n":3}},
{"name":"size","unit":"MB","ours":{"median":7,"min":7,"max":7,"n":1}},
{"name":"absent","unit":"/s","ours":{"n":0}}]}}`, rate[i], ms[i])
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("turn-%d", i+1)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script := `#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
version) echo "tillwire-simulator v-$(basename "$PWD")";;
"bench --help") echo "  -alone";;
"bench --json --alone --only merge") n=$(ls done-* 2>/dev/null | wc -l); n=$((n+1)); : > "done-$n"; cat "turn-$n";;
*) echo "what is $*?" >&2; exit 1;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "tillwire-simulator"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCompareJudges(t *testing.T) {
	old := fakeBuild(t, []float64{100, 101, 102, 103}, []float64{10, 11, 12, 13})
	for _, c := range []struct {
		name     string
		rate, ms []float64
		want     string
	}{
		{"faster", []float64{120, 121, 122, 123}, []float64{5, 6, 7, 8}, "rate better, time better, size same"},
		{"slower", []float64{80, 81, 82, 83}, []float64{20, 21, 22, 23}, "rate worse, time worse, size same"},
		{"noise", []float64{99, 101.5, 102.5, 104}, []float64{9, 11.5, 12.5, 14}, "rate noise, time noise, size same"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Join(old, "done-1")); err != nil {
				t.Fatal(err)
			}
			done, _ := filepath.Glob(filepath.Join(old, "done-*"))
			for _, f := range done {
				_ = os.Remove(f)
			}
			var out, msg bytes.Buffer
			results := t.TempDir()
			term := &Terminal{Version: "test", Stdout: &out, Stderr: &msg}
			code := term.Main(t.Context(), t.Context(), []string{"compare", old, fakeBuild(t, c.rate, c.ms), "--only", "merge", "--turns", "4", "--out", results})
			if code != exitOK {
				t.Fatalf("exit %d: %s", code, msg.String())
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				if f := strings.Split(line, "|"); len(f) == 8 && !strings.Contains(line, "---") && !strings.Contains(line, "figure") {
					got = append(got, strings.TrimSpace(f[1])+" "+strings.Trim(f[6], " *"))
				}
			}
			if all := strings.Join(got, ", "); all != c.want {
				t.Errorf("got %q, want %q\n%s", all, c.want, out.String())
			}
			stored, _ := filepath.Glob(filepath.Join(results, "compare-*.json"))
			if len(stored) != 1 {
				t.Fatalf("stored %v", stored)
			}
			if r, err := readResult(stored[0]); err != nil || r.Compared.Turns != 4 || len(r.Compared.Rows) != 3 {
				t.Errorf("read again: %+v, %v", r, err)
			}
		})
	}
}

func TestCompareSaysWhereItCannotJudge(t *testing.T) {
	of := func(name string, xs ...float64) *side {
		return &side{names: []string{name}, units: map[string]string{name: "/s"}, values: map[string][]float64{name: xs}, less: map[string]bool{}}
	}
	verdict := func(a, b *side) string { return compareSides(a, b).Rows[0].Verdict }
	if v := verdict(of("x", 1, 2, 3), of("x", 7, 8, 9)); v != changeFew {
		t.Errorf("three turns: %s", v)
	}
	if rows := compareSides(of("x", 1), of("y", 1)).Rows; len(rows) != 2 || rows[0].Verdict != changeOnly || rows[1].Verdict != changeOnly {
		t.Errorf("rows %+v", rows)
	}
	var msg bytes.Buffer
	term := &Terminal{Stdout: &msg, Stderr: &msg}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	broken := fakeBuild(t, nil, nil)
	if code := term.Main(ctx, ctx, []string{"compare", broken, broken, "--only", "merge"}); code != exitFailed || !strings.Contains(msg.String(), "run bench of") {
		t.Errorf("exit %d: %s", code, msg.String())
	}
}
