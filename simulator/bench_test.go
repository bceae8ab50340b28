package simulator

import (
	"bufio"
	"context"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tillwire/protocol"
)

// TestMain lets the bench start this test's own binary where it starts parts of a
// measurement as processes.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && (os.Args[1] == "load" || os.Args[1] == "cells") {
		t := &Terminal{Version: "test", Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Lookup: os.LookupEnv}
		os.Exit(t.Main(context.Background(), context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

func TestBenchRatiosAreTakenWithinEachTurn(t *testing.T) {
	b := &bench{reps: 3}
	next := func(xs ...float64) measure {
		return func(context.Context) (float64, error) { x := xs[0]; xs = xs[1:]; return x, nil }
	}
	cols, err := b.turns(t.Context(), next(10, 20, 30), next(20, 80, 30), next(30, 60, 60))
	if err != nil {
		t.Fatal(err)
	}
	row := beside("x", "/s", cols[0], "y", cols[1])
	if row.Ours.Median != 20 || row.Limit.Median != 30 || row.Ratio != (Spread{Median: 0.5, Min: 0.25, Max: 1, N: 3}) {
		t.Errorf("row %+v", row)
	}
	sum := combine(cols[1], cols[2], oneAfterTheOther)
	if d := cmp.Diff([]float64{12, 240.0 / 7, 20}, sum, cmpopts.EquateApprox(1e-12, 0)); d != "" {
		t.Error(d)
	}
	b.alone = true
	cols, err = b.turns(t.Context(), next(1, 2, 3), func(context.Context) (float64, error) { t.Error("a limit was measured"); return 0, nil })
	if err != nil || len(cols) != 2 || len(cols[1]) != 0 {
		t.Errorf("alone: %v, %v", cols, err)
	}
}

func TestAnAimWithoutAFigureIsNotMet(t *testing.T) {
	row := beside("x", "/s", []float64{1}, "y", nil)
	row.aimRatio(0.5)
	if row.Met != nil {
		t.Error("no ratio, and yet a verdict")
	}
	var none BenchRow
	none.aimMost(3)
	if none.Met != nil || !none.Less {
		t.Errorf("row %+v", none)
	}
}

func TestRESPArraysAreReadWhole(t *testing.T) {
	for _, c := range []struct {
		in string
		ok bool
	}{
		{"*2\r\n$3\r\nabc\r\n$0\r\n\r\n", true}, {"*1\r\n$-1\r\n", false}, {"*2\r\n$3\r\nabc\r\n", false}, {"*1\r\n*1\r\n", false}, {"*-1\r\n", false},
	} {
		r := bufio.NewReader(strings.NewReader(c.in))
		err := readRESP(r)
		if (err == nil) != c.ok || (c.ok && r.Buffered() != 0) {
			t.Errorf("%q: %v, %d bytes are left", c.in, err, r.Buffered())
		}
	}
	want := "*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$2\r\nbb\r\n"
	if got := respRequests([][]string{{"a", "bb"}, {"a"}}); got[0] != want || got[1] != "*2\r\n$3\r\nGET\r\n$1\r\na\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestFreshRequestsDifferAndKeepTheirLength(t *testing.T) {
	reqs := httpRequests("h", []string{"/p"}, []string{`{"id":"` + freshMark + `"}`, `{"n":1,"id":"` + freshMark + `"}`})
	next, err := fresh(reqs)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var b []byte
	for conn := range 3 {
		for n := range 100 {
			b = next(b[:0], conn, n)
			head, body, _ := strings.Cut(string(b), "\r\n\r\n")
			if seen[body] || strings.Contains(body, "FRESH") || strings.ContainsAny(body[len(body)-20:], "0123456789") || !strings.Contains(head, "POST /p ") || len(b) != len(reqs[(conn*7919+n)%2]) {
				t.Fatalf("request %q", b)
			}
			seen[body] = true
		}
	}
	if _, err := fresh([]string{"no mark"}); err == nil {
		t.Error("a body without a mark was taken")
	}
}

func TestFrameEndReadsWhatTheCodecWrote(t *testing.T) {
	js, err := newJournals(1)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		b, records, err := js.frame(0, 7, basket)
		if err != nil {
			t.Fatal(err)
		}
		f, err := js.codec.Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		first, count, chain, err := frameEnd(b)
		if err != nil || first != f.FirstSeq || count != uint64(len(records)) || chain != f.LastChain {
			t.Errorf("first %d, count %d, chain %x, %v; the codec says %d, %d, %x", first, count, chain, err, f.FirstSeq, len(records), f.LastChain)
		}
	}
	if _, _, _, err := frameEnd([]byte(protocol.FrameMagic + "\xff\xff")); err == nil {
		t.Error("a broken header was taken")
	}
}

func TestCPUTimeGrowsWithWork(t *testing.T) {
	before, err := cpuOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	x := 0.0
	for began := time.Now(); time.Since(began) < 100*time.Millisecond; {
		x += math.Sqrt(x + 1)
	}
	after, err := cpuOf(os.Getpid())
	if err != nil || (before > 0 && after-before < 20*time.Millisecond) || after-before > 10*time.Second {
		t.Errorf("100 ms of work took %s, %v", after-before, err)
	}
}

// Every part that needs no peer runs, at its smallest, to the end.
func TestBenchPartsRun(t *testing.T) {
	for _, name := range []string{"frame", "link", "merge", "reads", "reserve"} { // the others start programs or take long
		t.Run(name, func(t *testing.T) {
			picked, err := pickSections(name)
			if err != nil {
				t.Fatal(err)
			}
			out := &testLog{t: t}
			b := &bench{Terminal: &Terminal{Version: "test", Stderr: out}, reps: 1, slice: 50 * time.Millisecond, quick: true, alone: true}
			r, err := b.run(testContext(t, time.Minute), picked, t.TempDir())
			if err != nil {
				t.Fatalf("%v\n%s", err, out.b.String())
			}
			if len(r.Rows) == 0 || r.Parts[0] != name {
				t.Fatalf("result %+v", r)
			}
			for _, row := range r.Rows {
				if strings.HasSuffix(row.Name, "per core") && row.Ours.N == 0 {
					continue // so short that the system counted no tick of CPU time
				}
				if row.Ours.N == 0 || row.Ours.Median <= 0 || row.Limit.N > 0 && row.Name != "size of an event on the wire" {
					t.Errorf("row %+v", row)
				}
			}
		})
	}
}

func TestCellsAreWeighedInAProcessOfTheirOwn(t *testing.T) {
	var r cellsResult
	if err := (&bench{}).child(testContext(t, time.Minute), "cells", cellsJob{SKUs: 2000, Locations: 50}, &r); err != nil {
		t.Fatal(err)
	}
	if r.Cells != 100_000 || r.Heap < 100_000*cellPayload || r.Heap > 100_000*200 {
		t.Errorf("result %+v", r)
	}
	if err := (&bench{}).child(testContext(t, time.Minute), "cells", cellsJob{}, &r); err == nil {
		t.Error("a job of nothing was taken")
	}
}

// Growth measures chains whose frames are greeted and merged while others wait; a
// small one must come out with a cost and a weight.
func TestGrowthHasACost(t *testing.T) {
	out := &testLog{t: t}
	b := &bench{Terminal: &Terminal{Version: "test", Stderr: out}, reps: 1, grown: 2000, dir: t.TempDir()}
	if err := b.growthOfStores(testContext(t, time.Minute), []int{3, 6}); err != nil {
		t.Fatalf("%v\n%s", err, out.b.String())
	}
	var names []string
	for _, row := range b.rows {
		names = append(names, row.Name)
		if row.Unit != "B" && row.Ours.Median <= 0 { // so few cells weigh less than what else the heap does
			t.Errorf("row %+v", row)
		}
	}
	want := []string{"cost of an event, 3 stores", "cost of an event, 6 stores", "memory per cell of the merge at 0.003 million"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
	if err := b.growthOfRows(testContext(t, time.Minute), []int{8000, 16_000}); err != nil || len(b.rows) != 5 {
		t.Errorf("%d rows, %v", len(b.rows), err)
	}
}
