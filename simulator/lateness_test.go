package simulator

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLatenessDrawsWhatItsNameSays(t *testing.T) {
	times := func(x float64, d time.Duration) time.Duration { return time.Duration(x * float64(d)) }
	for _, c := range []struct {
		text               string
		median, atLeast    time.Duration
		mean               time.Duration // 0: a heavy tail, not looked at
		shareLate, percent float64
	}{
		{"fixed:30m", 30 * time.Minute, 30 * time.Minute, 30 * time.Minute, 1, 0},
		{"exp:2h", times(math.Ln2, 2*time.Hour), 0, 2 * time.Hour, 1, 5},
		{"uniform:0s,4h", 2 * time.Hour, 0, 2 * time.Hour, 1, 5},
		{"lognormal:1h,0.5", time.Hour, 0, times(math.Exp(0.125), time.Hour), 1, 5},
		{"pareto:10m,1.5", times(math.Pow(2, 1/1.5), 10*time.Minute), 10 * time.Minute, 0, 1, 5},
		{"exp:2h@0.25", times(math.Ln2, 2*time.Hour), 0, 2 * time.Hour, 0.25, 8},
	} {
		t.Run(c.text, func(t *testing.T) {
			l, err := parseLateness(c.text)
			if err != nil {
				t.Fatal(err)
			}
			docs := make([]*document, 20_000)
			at := time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC)
			for i := range docs {
				docs[i] = &document{at: at.Add(time.Duration(i) * time.Second)}
			}
			var got arrivals
			schedule(docs, l, orderArrival, 0, rand.New(rand.NewPCG(1, 2)), &got)
			res := got.conclude()
			near := func(what string, got, want, percent float64) {
				if math.Abs(got-want) > want*percent/100+1e-9 {
					t.Errorf("%s is %g, want %g", what, got, want)
				}
			}
			near("share", float64(res.Late)/20_000, c.shareLate, 5)
			near("median", res.P50S, c.median.Seconds(), c.percent)
			sum := 0.0
			for _, d := range got.lates {
				sum += d.Seconds()
				if d < c.atLeast || d > lateMax {
					t.Fatalf("drew %s", d)
				}
			}
			if c.mean > 0 {
				near("mean", sum/float64(res.Late), c.mean.Seconds(), c.percent)
			}
		})
	}
}

func TestLatenessRefusesWithARemedy(t *testing.T) {
	for _, s := range []string{
		"exp", "exp:", "exp:-2h", "exp:2h,3", "gamma:2h", "uniform:4h", "uniform:4h,1h", "pareto:10m", "pareto:10m,0", "pareto:10m,NaN",
		"lognormal:1h,many", "exp:2h@", "exp:2h@0", "exp:2h@1.1", "exp:2h@NaN", "fixed:9999h", "2h",
	} {
		if l, err := parseLateness(s); err == nil || l != nil || !strings.Contains(err.Error(), "it must be like") {
			t.Errorf("%q: %+v, %v", s, l, err)
		}
	}
	if l, err := parseLateness(""); l != nil || err != nil {
		t.Errorf("nothing asked for: %v, %v", l, err)
	}
	heavy, err := parseLateness("pareto:700h,0.01")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 1000 {
		if d := heavy.draw(rng); d < 0 || d > lateMax {
			t.Fatalf("drew %s", d)
		}
	}
}

// A schedule loses nothing and invents nothing, whatever the order.
func TestScheduleIsAPermutation(t *testing.T) {
	docs := make([]*document, 500)
	for i := range docs {
		docs[i] = &document{at: time.Unix(int64(i/3)*60, 0)}
	}
	late, err := parseLateness("exp:10m@0.5")
	if err != nil {
		t.Fatal(err)
	}
	for _, order := range []string{orderArrival, orderReverse, orderShuffle} {
		for _, l := range []*lateness{nil, late} {
			var got arrivals
			as := schedule(docs, l, order, 0.2, rand.New(rand.NewPCG(7, 7)), &got)
			times := map[*document]int{}
			for _, a := range as {
				times[a.doc]++
			}
			if len(times) != len(docs) || len(as) != len(docs)+got.Copies || got.Copies == 0 {
				t.Errorf("%s: %d of %d documents in %d arrivals, %d copies", order, len(times), len(docs), len(as), got.Copies)
			}
			sorted := slices.IsSortedFunc(as, func(a, b arrival) int { return a.at.Compare(b.at) })
			if sorted != (order == orderArrival) {
				t.Errorf("%s: by arrival: %v", order, sorted)
			}
			if mixed := got.Overtook > 0; mixed == (order == orderArrival && l == nil) {
				t.Errorf("%s, late %v: %d overtook", order, l != nil, got.Overtook)
			}
		}
	}
}

// writeSources puts files into a folder and returns their paths by name.
func writeSources(t *testing.T, files map[string]string) map[string]string {
	t.Helper()
	out := map[string]string{}
	dir := t.TempDir()
	for name, text := range files {
		out[name] = filepath.Join(dir, name)
		if err := os.WriteFile(out[name], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

const poslogFixture = `<?xml version="1.0"?>
<POSLog xmlns="http://www.nrf-arts.org/IXRetail/namespace/"><Transaction><RetailStoreID>9</RetailStoreID><WorkstationID>1</WorkstationID>
<SequenceNumber>1</SequenceNumber><BusinessDayDate>2024-05-01</BusinessDayDate><BeginDateTime>2024-05-01T10:00:00</BeginDateTime><EndDateTime>2024-05-01T10:01:00</EndDateTime>
<RetailTransaction><LineItem><SequenceNumber>1</SequenceNumber><Sale ItemType="Stock"><ItemID>00000000054409</ItemID><Quantity>2</Quantity></Sale></LineItem></RetailTransaction></Transaction></POSLog>
`

// Three kinds of file are three sources of one chain: a year of one chain in two
// files, a web shop twice under two names, and a POSLog; late, doubled, in any order.
func TestReplayOfSeveralSources(t *testing.T) {
	head, rest, _ := strings.Cut(cjFixture, "\n")
	lines := strings.SplitAfter(strings.TrimSuffix(rest, "\n"), "\n")
	f := writeSources(t, map[string]string{
		"a.csv": head + "\n" + strings.Join(lines[:5], ""), "b.csv": head + "\n" + strings.Join(lines[5:], ""), "u.csv": uciFixture(), "p.xml": poslogFixture,
	})
	for _, c := range []struct{ late, order string }{{"pareto:1m,0.8@0.5", orderArrival}, {"", orderReverse}, {"exp:2h", orderShuffle}} {
		t.Run(c.late+" "+c.order, func(t *testing.T) {
			r := replayFile(t, ReplayOptions{
				Files: []string{f["a.csv"], "web=" + f["u.csv"], f["b.csv"], "shop=" + f["u.csv"], f["p.xml"]}, Duplicates: 0.6, Late: c.late, Order: c.order, Outages: 3,
			})
			got := ReplayResult{Source: r.Source, Stores: r.Stores, Documents: r.Documents, Lines: r.Lines, PlainSum: r.PlainSum, ChainSum: r.ChainSum}
			want := ReplayResult{Source: "completejourney+ncr+uci", Stores: 5, Documents: 17, Lines: 8 + 2*1119 + 1, PlainSum: "-37132", ChainSum: "-37132"}
			if d := cmp.Diff(want, got, cmp.AllowUnexported(Verdict{})); d != "" {
				t.Error(d)
			}
			if r.PlainLines != r.Lines || (r.Arrival.Late > 0) != (c.late != "") || r.Repeats == 0 {
				t.Errorf("%d plain lines, arrivals %+v, %d repeats", r.PlainLines, r.Arrival, r.Repeats)
			}
		})
	}
}

func TestReelRefusesWhatCannotBeToldApart(t *testing.T) {
	f := writeSources(t, map[string]string{"u.csv": uciFixture(), "p.xml": poslogFixture})
	for _, c := range []struct {
		name     string
		operands []string
		want     string
	}{
		{"one receipt in two files", []string{f["u.csv"], f["u.csv"]}, "write NAME="},
		{"a name for a POSLog", []string{"x=" + f["p.xml"]}, "names its store itself"},
		{"a POSLog twice", []string{f["p.xml"], f["p.xml"]}, "stands in another file too"},
		{"a name that is none", []string{"a b=" + f["u.csv"]}, `source "a b"`},
		{"no file", []string{"a="}, "names no file"},
		{"a long name", []string{strings.Repeat("n", 64) + "=" + f["u.csv"]}, "shorten the name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := readReel(c.operands, formatAuto); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
