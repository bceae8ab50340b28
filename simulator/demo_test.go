package simulator

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// syncBuffer is for output that several goroutines write.
type testLog struct {
	t *testing.T
	b bytes.Buffer

	logged bytes.Buffer // by programs
}

func (l *testLog) Write(b []byte) (int, error) { return l.b.Write(b) }

func testContext(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// A small fleet sells for some seconds with links that drop; nothing is lost,
// nothing doubled, every stock right. This is `make demo`, only smaller.
func TestDemo(t *testing.T) {
	ctx := testContext(t, 90*time.Second)
	out := &testLog{t: t}
	r, err := Demo(ctx, ctx, DemoOptions{
		Stores: 8, Speed: 400, For: 6 * time.Second, AtLeast: 1200, DataDir: t.TempDir(), HTTP: "127.0.0.1:0", Seed: 10, Log: zerolog.Nop(), Out: out,
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.b.String())
	}
	r.Print(out)
	if !r.OK() || r.Lost != 0 || r.Duplicated != 0 || r.Diverged != 0 {
		t.Errorf("verdict is not clean\n%s", out.b.String())
	}
	if r.Journaled < 100 || r.Cells < 500 || r.Merged != r.Journaled {
		t.Errorf("%d journaled, %d merged, %d cells: too little happened\n%s", r.Journaled, r.Merged, r.Cells, out.b.String())
	}
	for _, kind := range []string{kindSale, kindReceipt, kindReturn, kindVoid, kindCount} {
		if r.Kinds[kind] == 0 {
			t.Errorf("no %s happened: %v", kind, r.Kinds)
		}
	}
	if r.Poison == 0 || r.Repeats == 0 {
		t.Errorf("%d bad documents, %d repeats: the nuisance is missing", r.Poison, r.Repeats)
	}
	for _, want := range []string{"UI: http://127.0.0.1:", "PASS", "sales have ended"} {
		if !strings.Contains(out.b.String(), want) {
			t.Errorf("output lacks %q:\n%s", want, out.b.String())
		}
	}
}

// The proof itself is put to the proof: one event that the oracle believes in
// and nobody sent, and one that was sent behind its back. It must see both.
func TestJudgeNoticesPlantedEvents(t *testing.T) {
	ctx := testContext(t, 60*time.Second)
	ps := places(2)
	f, err := startFleet(ctx, fleetPlan{Places: ps, Dir: t.TempDir(), HTTP: "127.0.0.1:0", Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.stop(); err != nil {
			t.Error(err)
		}
	}()
	o := newOracle()
	sku := articles(1)[0].SKU
	sale := func(id string) *document {
		now := time.Now()
		return &document{
			kind: kindSale, at: now, DocumentID: id, OccurredAt: tillTime(now),
			Lines:   []docLine{{Line: 1, SKU: string(sku), Quantity: protocol.Units(1)}},
			effects: []effect{{SKU: sku, Delta: -protocol.Units(1)}},
		}
	}
	for _, tl := range f.Tills {
		for n := range 5 {
			d := sale(fmt.Sprintf("OK-%d", n))
			a, err := tl.post(ctx, d)
			if err != nil {
				t.Fatal(err)
			}
			o.record(tl.store, d, a.Seq)
		}
	}
	verdict := func() *Verdict {
		if ok, err := settle(ctx, o, f.Chain, 20*time.Second, func(uint64, int) {}); err != nil || !ok {
			t.Fatalf("settled %v: %v", ok, err)
		}
		v, err := judge(ctx, o, f.Chain, nil)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verdict(); !v.OK() || v.Journaled != 10 || v.Merged != 10 || v.Cells != 2 {
		t.Fatalf("honest run: %+v", v)
	}

	double := sale("BEHIND-ITS-BACK")
	if _, err := f.Tills[0].post(ctx, double); err != nil {
		t.Fatal(err)
	}
	seen := false
	for try := 0; try < 100 && !seen; try++ {
		v := verdict()
		seen = v.Duplicated == 1 && v.Diverged == 1 && v.Lost == 0 && !v.OK()
		pause(ctx, 50*time.Millisecond)
	}
	if !seen {
		t.Errorf("an event sent behind the oracle's back was not noticed: %+v", verdict())
	}

	dropped := sale("NEVER-SENT")
	o.record(f.Tills[1].store, dropped, 6)
	v, err := judge(ctx, o, f.Chain, nil)
	if err != nil {
		t.Fatal(err)
	}
	if v.Lost != 1 || v.Diverged != 2 || v.OK() {
		t.Errorf("an event that never arrived was not noticed: %+v", v)
	}
}

func TestDemoRefusesAFolderInUse(t *testing.T) {
	dir := t.TempDir()
	if err := writeFile(dir+"/other", []byte("x")); err != nil {
		t.Fatal(err)
	}
	_, err := Demo(t.Context(), t.Context(), DemoOptions{Stores: 1, Speed: 1, DataDir: dir, Log: zerolog.Nop(), Out: &bytes.Buffer{}})
	if err == nil || !strings.Contains(err.Error(), "is not empty; name a fresh one") {
		t.Errorf("got %v", err)
	}
}
