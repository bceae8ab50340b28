package mending

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"pgregory.net/rapid"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// An hour's count is what a plain list of times says.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w window
		var all []int64
		minute := int64(29_000_000)
		for range rapid.IntRange(1, 200).Draw(t, "times") {
			minute += rapid.SampledFrom([]int64{0, 0, 0, 1, 2, 30, 59, 60, 61, 500}).Draw(t, "minutes")
			all = append(all, minute)
			want := 0
			for _, m := range all {
				if m > minute-60 {
					want++
				}
			}
			if got := w.add(minute); got != want {
				t.Fatalf("%d in the hour before minute %d, want %d", got, minute, want)
			}
		}
	})
}

func TestPolicy(t *testing.T) {
	p := Policy{Source: "wms", Retry: []string{"sku_unknown", "id_reused"}, First: time.Minute, Most: 10 * time.Minute, Attempts: 3}
	for attempts, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute, 10 * time.Minute, 10 * time.Minute} {
		if got := p.again(attempts); got != want {
			t.Errorf("after %d attempts %s, want %s", attempts, got, want)
		}
	}
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	came := map[protocol.SKU]bool{"B": true}
	for name, c := range map[string]struct {
		x    protocol.Exception
		want bool
	}{
		"too young":             {protocol.Exception{Code: "id_reused", Raw: []byte{1}, At: now}, false},
		"old enough":            {protocol.Exception{Code: "id_reused", Raw: []byte{1}, At: now.Add(-time.Minute)}, true},
		"has its next time":     {protocol.Exception{Code: "id_reused", Raw: []byte{1}, At: now.Add(-time.Hour), Attempts: 1, RetryAt: now.Add(1)}, false},
		"its next time is here": {protocol.Exception{Code: "id_reused", Raw: []byte{1}, At: now.Add(-time.Hour), Attempts: 1, RetryAt: now}, true},
		"often enough":          {protocol.Exception{Code: "id_reused", Raw: []byte{1}, At: now.Add(-time.Hour), Attempts: 3}, false},
		"another cause":         {protocol.Exception{Code: "undecodable", Raw: []byte{1}, At: now.Add(-time.Hour)}, false},
		"nothing to retry":      {protocol.Exception{Code: "id_reused", At: now.Add(-time.Hour)}, false},
		"its article came":      {protocol.Exception{Code: "sku_unknown", Counted: true, About: "B", At: now, Attempts: 3}, true},
		"another article came":  {protocol.Exception{Code: "sku_unknown", Counted: true, About: "C", At: now}, false},
	} {
		if got := p.due(&c.x, now, came); got != c.want {
			t.Errorf("%s: due %v", name, got)
		}
	}
	for name, bad := range map[string]Policy{
		"no name": {}, "agents that stop": {Source: "agents", StopPerHour: 1}, "below zero": {Source: "x", Attempts: -1}, "backwards": {Source: "x", First: 2, Most: 1},
	} {
		if bad.Check() == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// desk makes one over a list in memory; the ledger itself is behind it in the
// aggregator's tests.
func desk(t *testing.T, list *[]protocol.Exception, policies ...Policy) (*Desk, *int) {
	t.Helper()
	tried := 0
	d, err := Open(Options{
		Now: time.Now, Log: zerolog.Nop(), Policies: policies, Incident: func(string) {},
		List: func(f ledger.Filter) (out []protocol.Exception, err error) {
			for _, x := range *list {
				if x.ID > f.After && f.Match(&x) && len(out) < f.Limit {
					out = append(out, x)
				}
			}
			return out, nil
		},
		Decide: func(_ context.Context, ids []string, action, _, _ string, again func(int) time.Duration) (out []protocol.Exception, refused []protocol.ExceptionNote, err error) {
			for i := range *list {
				x := &(*list)[i]
				if !slices.Contains(ids, x.ID) {
					continue
				}
				tried++
				if x.Attempts++; again != nil {
					x.RetryAt = time.Now().Add(again(x.Attempts))
				}
				if action == protocol.ExceptionDiscard {
					x.State = "discarded"
				}
				out = append(out, *x)
			}
			return out, refused, nil
		},
		Fact: func(string) ([]byte, error) { return nil, ledger.ErrNotFound },
		Put:  func(context.Context, string, []byte) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return d, &tried
}

func open(n int) (list []protocol.Exception) {
	for i := range n {
		list = append(list, protocol.Exception{
			ID: fmt.Sprintf("x%06d", i), State: "open", Code: "id_reused", Raw: []byte{1}, At: time.Now().Add(-time.Hour),
			Origin: protocol.Origin{Store: "S1", Agent: "feed:wms"},
		})
	}
	return list
}

// A round has its bound, and one after the other come to all; then they wait.
func TestRounds(t *testing.T) {
	list := open(2500)
	d, tried := desk(t, &list, Policy{Source: "wms", Retry: []string{"id_reused"}})
	for round, want := range []int{1000, 2000, 2500, 2500} {
		if err := d.round(context.Background()); err != nil || *tried != want {
			t.Fatalf("round %d: %d tried, want %d, %v", round, *tried, want, err)
		}
	}
}

// Steps come to each exception once, whatever stays open.
func TestSteps(t *testing.T) {
	list := open(1234)
	d, tried := desk(t, &list)
	f, steps := ledger.Filter{Source: "wms"}, 0
	for {
		b, err := d.Step(context.Background(), f, protocol.ExceptionRetry, "ann", "")
		if err != nil {
			t.Fatal(err)
		}
		if steps++; b.Next == "" {
			break
		}
		f.After = b.Next
	}
	if steps != 3 || *tried != 1234 {
		t.Errorf("%d tried in %d steps", *tried, steps)
	}
	list = open(previewMax + 1)
	if b, err := d.Preview(ledger.Filter{}, protocol.ExceptionRetry); err != nil || b.Matched != previewMax || !b.More || len(b.Examples) != examplesMax {
		t.Errorf("%d matched, more %v, %v", b.Matched, b.More, err)
	}
}

// What is not kept is kept later, and a source that is paused twice is paused once.
func TestPauseIsKept(t *testing.T) {
	var list []protocol.Exception
	d, _ := desk(t, &list, Policy{Source: "*", StopPerHour: 1})
	var kept []string
	fail := true
	d.o.Put = func(_ context.Context, _ string, v []byte) error {
		if fail {
			return errors.New("full")
		}
		kept = append(kept, string(v))
		return nil
	}
	o := protocol.Origin{Store: "S1", Agent: "feed:wms"}
	for range 5 {
		d.Parked(o, "id_reused")
		d.Parked(protocol.Origin{Store: "S1", Agent: "server"}, "id_reused")
	}
	if d.Paused(o) == nil || d.Paused(protocol.Origin{Store: "S1", Agent: "server"}) != nil {
		t.Error("the feed is to be paused, and no store")
	}
	ctx := context.Background()
	if d.keep(ctx) == nil {
		t.Fatal("it cannot be kept")
	}
	fail = false
	for range 2 {
		if err := d.keep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if len(kept) != 1 {
		t.Errorf("kept %d times: %v", len(kept), kept)
	}
	if err := d.Resume(ctx, "wms"); err != nil || d.Paused(o) != nil || kept[len(kept)-1] != "{}" {
		t.Errorf("resumed: %v, %v", err, kept)
	}
	d.Parked(o, "id_reused")
	if d.Paused(o) != nil {
		t.Error("what was parked before it was resumed counts still")
	}
}
