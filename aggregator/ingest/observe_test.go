package ingest

import (
	"context"
	"testing"

	"tillwire/protocol"
)

// A store's week is its own: noon in its zone is not noon in UTC.
func TestWeeksAreLocal(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	ev := protocol.Event{
		Kind: protocol.KindSale, Store: "S1", DocumentID: "1", EventTime: protocol.Stamp{US: 1e6, OffsetMin: 330},
		Lines: []protocol.Line{{Line: 1, SKU: "X", Quantity: protocol.Units(1)}},
	}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	a.raw(protocol.AppendRecord(nil, 1e6, &ev))
	r.hello(a)
	r.send(a, 1, 1)
	got, err := r.in.Weeks(context.Background(), []protocol.StoreID{"S1", "S2"})
	if err != nil || got["S1"].OffsetMin != 330 || got["S1"].Profile == nil || got["S2"].OffsetMin != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A receipt names its supplier; that does not make the supplier a feed whose
// statements could become the record.
func TestASupplierIsNoFeed(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	ev := protocol.Event{
		Kind: protocol.KindReceipt, Store: "S1", DocumentID: "r1", EventTime: protocol.Stamp{US: 1e6}, Source: "supplier",
		Lines: []protocol.Line{{Line: 1, SKU: "X", Quantity: protocol.Units(1)}},
	}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	a.raw(protocol.AppendRecord(nil, 1e6, &ev))
	r.hello(a)
	r.send(a, 1, 1)
	chunks := 0
	err := r.in.call(context.Background(), func(i *Ingest, _ int64) error {
		return i.eng.Drift.Chunks(func(uint32, []byte) { chunks++ })
	})
	if err != nil || chunks != 0 {
		t.Errorf("the reconciliation's book changed: %d chunks, %v", chunks, err)
	}
}
