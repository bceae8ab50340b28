package ingest

import (
	"context"
	"testing"
	"time"

	"tillwire/aggregator/posting"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
)

// TestStateERP holds that a difference of an ERP settles when both sides agree again,
// even on nothing, which neither of them names; and that what the ERP has not been told
// yet is none.
func TestStateERP(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	if err := r.in.OpenPostings(ctx, map[protocol.StoreID]string{"S1": "erp"}, nil); err != nil {
		t.Fatal(err)
	}
	says := func(kind protocol.Kind, id string, quantity protocol.Quantity) {
		t.Helper()
		ev := &protocol.Event{Kind: kind, Store: "S1", DocumentID: id, Source: "till", Scope: protocol.ScopeSKU, EventTime: protocol.Stamp{US: time.Now().UnixMicro()}, Lines: []protocol.Line{{Line: 1, SKU: "A", Quantity: quantity}}}
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
		if _, err := r.in.Accept(ctx, protocol.Origin{Store: "S1", Agent: "feed:till"}, []*protocol.Event{ev}); err != nil {
			t.Fatal(err)
		}
	}
	states := func(id string, a protocol.Quantity, want string) {
		t.Helper()
		stock := map[protocol.SKU]protocol.Quantity{}
		if a != 0 {
			stock["A"] = a
		}
		if _, err := r.in.StateERP(ctx, "erp", "S1", id, stock); err != nil {
			t.Fatal(err)
		}
		list, err := r.in.Reconciliations(ctx, reconcile.Filter{State: "open", Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for i := range list {
			got += list[i].ID + " " + list[i].Difference.String()
		}
		if got != want {
			t.Errorf("after %s: %q is open, not %q", id, got, want)
		}
	}
	says(protocol.KindCount, "c1", 5000) // who counts is the record
	states("nothing told yet", 0, "")
	due, err := r.in.CutPostings(ctx, "erp", posting.Window{Through: 1<<16 - 1, Lines: 10}, 10)
	if err != nil || len(due) != 1 {
		t.Fatalf("%v, %v", due, err)
	}
	states("told, not answered", 0, "")
	if err := r.in.PostingDone(ctx, posting.Posted(due[0].Key, "x", "", 0)); err != nil {
		t.Fatal(err)
	}
	states("something taken there", protocol.Units(3), "erp/S1/A -2")
	says(protocol.KindSale, "s1", 5000)
	if due, err = r.in.CutPostings(ctx, "erp", posting.Window{Through: 1<<16 - 1, Lines: 10}, 10); err != nil || len(due) != 1 {
		t.Fatalf("%v, %v", due, err)
	}
	if err := r.in.PostingDone(ctx, posting.Posted(due[0].Key, "y", "", 0)); err != nil {
		t.Fatal(err)
	}
	states("nothing is left on both sides", 0, "")
}
