package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// parked parks a sale whose till used a number twice, a transfer to the store
// itself, and what is no record.
func parked(t *testing.T) (*rig, *agentSide, map[string]string) {
	t.Helper()
	r, a := newRig(t), newAgent("S1")
	write := func(ev *protocol.Event) {
		ev.Store, ev.EventTime.US = "S1", int64(firstDay)*dayUS
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
		a.raw(protocol.AppendRecord(nil, int64(len(a.recs)+1)*1e6, ev))
	}
	line := func(units int64) []protocol.Line {
		return []protocol.Line{{Line: 1, SKU: "X", Quantity: protocol.Units(units), Cut: 2}}
	}
	write(&protocol.Event{Kind: protocol.KindSale, DocumentID: "d1", Lines: line(1)})
	write(&protocol.Event{Kind: protocol.KindSale, DocumentID: "d1", Lines: line(4)}) // the number once more, for another sale
	write(&protocol.Event{Kind: protocol.KindTransfer, DocumentID: "t1", Direction: protocol.DirectionOut, TransferID: "t1", Counterparty: "S1", Lines: line(2)})
	a.raw([]byte("torn"))
	r.hello(a)
	r.send(a, 1, 4)
	list, err := r.ledger.Exceptions(ledger.Filter{State: "open"})
	if err != nil || len(list) != 3 {
		t.Fatalf("%+v, %v", list, err)
	}
	ids := map[string]string{}
	for i := range list {
		ids[list[i].Code] = list[i].ID
	}
	return r, a, ids
}

func edit(t *testing.T, x protocol.Exception, change func(m map[string]any)) []byte {
	t.Helper()
	b, err := json.Marshal(x.Document)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := decodeExact(b, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return b
}

// A corrected document counts in its own place, says what was corrected by whom, and
// is the same document when its agent sends the journal again as it was.
func TestEdit(t *testing.T) {
	ctx := context.Background()
	r, a, ids := parked(t)
	x, err := r.ledger.Exception(ids["transfer_with_itself"])
	if err != nil {
		t.Fatal(err)
	}
	body := edit(t, x, func(m map[string]any) { m["counterparty"] = "S2" })
	got, err := r.in.Edit(ctx, x.ID, body, "ann", "they meant S2")
	if err != nil || got.State != "retried" {
		t.Fatalf("%+v, %v", got, err)
	}
	want := []protocol.FieldChange{{Pointer: "/counterparty", Was: json.RawMessage(`"S1"`), Now: json.RawMessage(`"S2"`)}}
	if h := got.History; len(h) != 1 || h[0].Who != "ann" || h[0].Action != "edit" || h[0].Note != "they meant S2" || cmp.Diff(want, h[0].Changes) != "" || got.EventID != x.EventID {
		t.Errorf("%+v", got)
	}
	kept, err := r.ledger.Exception(x.ID)
	if err != nil || string(kept.Original) != string(a.recs[2]) || len(kept.History) != 1 {
		t.Errorf("kept as %+v, %v", kept, err)
	}
	var in protocol.Event
	if us, err := protocol.DecodeRecord(kept.Raw, &in); err != nil || us != 3e6 || in.Lines[0].Cut != 2 {
		t.Errorf("the record is of %d, its line's cut %d, %v", us, in.Lines[0].Cut, err)
	}
	r.want(map[string]protocol.Quantity{"S1/X": protocol.Units(-3), "S2/X": 0})
	n := 0
	if err := r.in.call(ctx, func(i *Ingest, nowUS int64) error { // the agent's journal comes again under another epoch
		out, _, err := i.apply(merge.Input{Origin: i.eng.Origin(a.o), Epoch: 9, Seq: 3, MergedUS: nowUS, Record: a.recs[2]}, a.o)
		if out.Verdict != merge.Duplicate {
			t.Errorf("the uncorrected record is %v: %s", out.Verdict, out.Reason)
		}
		n = len(i.exceptions)
		return err
	}); err != nil || n != 0 {
		t.Errorf("%d exceptions, %v", n, err)
	}
	whole, err := Rebuild(r.ledger, reconcile.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	if c, _ := whole.CellAt("S1", "X"); c.OnHand != protocol.Units(-3) {
		t.Errorf("folded anew there are %s", c.OnHand)
	}
}

func TestEditOfIdentity(t *testing.T) {
	ctx := context.Background()
	r, _, ids := parked(t)
	x, _ := r.ledger.Exception(ids["id_reused"])
	if got, err := r.in.Edit(ctx, x.ID, edit(t, x, func(m map[string]any) { m["document_id"] = "d1-2" }), "ann", ""); err != nil || got.State != "retried" || got.DocumentID != "d1-2" {
		t.Errorf("a number used twice: %+v, %v", got, err)
	}
	torn := []byte(`{"kind":"sale","document_id":"d9","occurred_at":"2026-11-23T10:00:00Z","lines":[{"line":1,"sku":"Y","quantity":1}]}`)
	got, err := r.in.Edit(ctx, ids["undecodable"], torn, "ann", "from the paper")
	if err != nil || got.State != "retried" || string(got.Original) != "torn" {
		t.Errorf("a torn record: %+v, %v", got, err)
	}
	r.want(map[string]protocol.Quantity{"S1/X": protocol.Units(-5), "S1/Y": protocol.Units(-1)})
}

func TestEditRefuses(t *testing.T) {
	ctx := context.Background()
	r, _, ids := parked(t)
	x, _ := r.ledger.Exception(ids["transfer_with_itself"])
	for name, c := range map[string]struct {
		change  func(m map[string]any)
		pointer string
	}{
		"another document": {func(m map[string]any) { m["document_id"] = "t2" }, "/document_id"},
		"another store":    {func(m map[string]any) { m["location"] = "S3" }, "/location"},
		"what is shown":    {func(m map[string]any) { m["event_id"] = "x" }, "/event_id"},
		"a cut":            {func(m map[string]any) { m["lines"].([]any)[0].(map[string]any)["cut"] = 7 }, "/lines/0/cut"},
		"no quantity":      {func(m map[string]any) { delete(m["lines"].([]any)[0].(map[string]any), "quantity") }, "/lines/0/quantity"},
		"a word":           {func(m map[string]any) { m["lines"].([]any)[0].(map[string]any)["quantity"] = "two" }, "/lines/0/quantity"},
	} {
		_, err := r.in.Edit(ctx, x.ID, edit(t, x, func(m map[string]any) { m["counterparty"] = "S2"; c.change(m) }), "ann", "")
		var p *protocol.Problem
		if !errors.As(err, &p) || len(p.Errors) == 0 || p.Errors[0].Pointer != c.pointer {
			t.Errorf("%s: %v", name, err)
		}
	}
	x, _ = r.ledger.Exception(ids["id_reused"])
	var p *protocol.Problem
	if _, err := r.in.Edit(ctx, x.ID, edit(t, x, func(map[string]any) {}), "ann", ""); !errors.As(err, &p) || p.Code != "nothing_changed" {
		t.Errorf("as it was: %v", err)
	}
	still, err := r.in.Edit(ctx, x.ID, edit(t, x, func(m map[string]any) { m["lines"].([]any)[0].(map[string]any)["quantity"] = 3 }), "ann", "")
	if err != nil || still.State != "open" || still.Code != "id_reused" || len(still.History) != 1 || still.History[0].Code != still.Code {
		t.Errorf("a correction that does not help: %+v, %v", still, err)
	}
	if b, err := json.Marshal(still.Document); err != nil || !strings.Contains(string(b), `"quantity":3`) {
		t.Errorf("it is not kept: %s, %v", b, err)
	}
}

// Many are decided in one commit, each by itself; a policy's vain attempts are
// counted and have a next time.
func TestDecideMany(t *testing.T) {
	ctx := context.Background()
	r, _, ids := parked(t)
	all := []string{ids["transfer_with_itself"], "none", ids["id_reused"], ids["id_reused"]}
	list, refused, err := r.in.DecideMany(ctx, all, Act{Action: protocol.ExceptionRetry, Who: PolicyName, Again: func(n int) time.Duration { return time.Duration(n) * time.Hour }})
	if err != nil || len(list) != 3 || len(refused) != 1 || refused[0].ID != "none" {
		t.Fatalf("%+v, %+v, %v", list, refused, err)
	}
	x, _ := r.ledger.Exception(ids["id_reused"])
	if x.State != "open" || x.Attempts != 2 || time.Until(x.RetryAt) < time.Hour || len(x.History) != 0 {
		t.Errorf("%+v", x)
	}
	list, refused, err = r.in.DecideMany(ctx, []string{ids["id_reused"], ids["undecodable"], ids["undecodable"]}, Act{Action: protocol.ExceptionDiscard, Who: "ann", Note: "paid twice"})
	if err != nil || len(list) != 2 || len(refused) != 1 {
		t.Fatalf("%+v, %+v, %v", list, refused, err)
	}
	x, _ = r.ledger.Exception(ids["undecodable"])
	if h := x.History; x.State != "discarded" || len(h) != 1 || h[0].Who != "ann" || h[0].Note != "paid twice" || !x.RetryAt.IsZero() {
		t.Errorf("%+v", x)
	}
	if n, err := r.ledger.CountExceptions(); n != 1 || err != nil {
		t.Errorf("%d are open, %v", n, err)
	}
}
