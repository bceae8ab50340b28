package ingest

import (
	"strings"
	"testing"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

func (a *agentSide) void(doc, original string) {
	ev := protocol.Event{Kind: protocol.KindVoid, Store: a.o.Store, DocumentID: doc, EventTime: protocol.Stamp{US: 1e6}, Voids: original, VoidsKind: protocol.KindSale}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, doc)
	a.raw(protocol.AppendRecord(nil, int64(len(a.recs)+1)*1e6, &ev))
}

// A void whose original has not come is shown while it waits, and no longer.
func TestWaitingVoidIsShownUntilItsOriginalComes(t *testing.T) {
	r, a := newRig(t), newAgent("S1")
	a.void("v1", "s1")
	a.void("v2", "never")
	a.sale("s1", "X", 2)
	r.hello(a)
	r.send(a, 1, 2)
	if got := r.incidents("void_waiting"); len(got) != 2 || !strings.Contains(strings.Join(got, " "), "it cancels sale s1, which has not come") {
		t.Fatalf("%q", got)
	}
	r.send(a, 3, 3)
	r.want(map[string]protocol.Quantity{"S1/X": 0})
	list, err := r.ledger.Exceptions(ledger.Filter{Code: "void_waiting", Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, x := range list {
		states[x.About] = x.State
	}
	if states["S1/v1"] == "open" || states["S1/v2"] != "open" {
		t.Errorf("%v", states)
	}
}
