package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
)

var byAll = protocol.OutcomesFilter{Group: []string{protocol.ByWeek, protocol.ByStore, protocol.ByChannel}}

func (r *rig) outcomes(f protocol.OutcomesFilter) protocol.Outcomes {
	r.t.Helper()
	out, err := r.in.Outcomes(context.Background(), f)
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// say merges documents of a store's agent under a feed's rules, one after the other.
func (r *rig) say(agent protocol.AgentID, docs ...*protocol.Event) {
	r.t.Helper()
	for _, ev := range docs {
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
		got, err := r.in.Accept(context.Background(), protocol.Origin{Store: ev.Store, Agent: agent}, []*protocol.Event{ev})
		if err != nil || got[0].Status != "accepted" {
			r.t.Fatalf("%s: %+v, %v", ev.DocumentID, got, err)
		}
	}
}

func doc(kind protocol.Kind, id string, us int64, units int64) *protocol.Event {
	return &protocol.Event{
		Kind: kind, Store: "S1", DocumentID: id, EventTime: protocol.Stamp{US: us}, Scope: map[bool]protocol.Scope{true: protocol.ScopeSKU}[kind == protocol.KindCount],
		Lines: []protocol.Line{{Line: 1, SKU: "X", Quantity: protocol.Units(units), CountedAt: protocol.Stamp{US: us}}},
	}
}

// What a count finds is told of the book as it was at its own moment: a sale from
// before it that comes after it was no loss.
func TestCountsAreHeldToTheBook(t *testing.T) {
	r := newRig(t)
	day := int64(firstDay) * dayUS
	r.say("feed:till", doc(protocol.KindCount, "c1", day, 10), doc(protocol.KindSale, "s1", day+1e6, 2), doc(protocol.KindCount, "c2", day+10e6, 5))
	d := r.outcomes(protocol.OutcomesFilter{}).Total.Discrepancy
	if d.Lines != 1 || d.Opened != 1 || d.Differing != 1 || d.Unexplained != protocol.Units(3) {
		t.Fatalf("8 in the book, 5 on the shelf: %+v", d)
	}
	late := doc(protocol.KindSale, "s2", day+5e6, 3)
	r.say("feed:other", late)
	if d = r.outcomes(protocol.OutcomesFilter{}).Total.Discrepancy; d.Lines != 1 || d.Differing != 0 || d.Unexplained != 0 || *d.Rate != 0 {
		t.Errorf("the 3 were sold before: %+v", d)
	}
	r.say("feed:till", doc(protocol.KindSale, "s3", day+20e6, 9))
	if o := r.outcomes(protocol.OutcomesFilter{Store: "S1"}).Total.Oversells; o.BelowZero != 1 || o.Total != 1 {
		t.Errorf("9 of 5 were sold: %+v", o)
	}
}

// Agents' documents have a sync window; what a replay makes of all of it is what
// was counted live, with checkpoints in between or from the first entry.
func TestOutcomesAreOfTheLog(t *testing.T) {
	counted := int64(0)
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		r, a := newRig(t), newAgent("S3")
		for n := range 12 {
			a.sale(fmt.Sprint("a", n), "A", 1)
		}
		r.hello(a)
		r.send(a, 1, 12)
		r.run(papers(rnd), rnd)
		live := r.outcomes(byAll)
		if live.Total.SyncWindow.Documents != 12 {
			t.Fatalf("seed %d: %+v", seed, live.Total)
		}
		counted += live.Total.Discrepancy.Differing
		r.stop()
		r.open()
		if d := cmp.Diff(live, r.outcomes(byAll)); d != "" {
			t.Errorf("seed %d: after a restart (-live +again):\n%s", seed, d)
		}
		whole, err := Rebuild(r.ledger, reconcile.Rules{})
		if err != nil {
			t.Fatal(err)
		}
		whole.tallyEnds()
		again, err := whole.Outcomes.Report(&byAll)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(live, again); d != "" {
			t.Errorf("seed %d: of the whole log (-live +again):\n%s", seed, d)
		}
		r.stop()
	}
	if counted == 0 {
		t.Error("no count differed: the documents are too tame")
	}
}
