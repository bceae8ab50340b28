package trace

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

var at = time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)

// sale is an event as a till journals it.
func sale(doc string, more func(*protocol.Event)) *protocol.Event {
	e := &protocol.Event{
		Kind: protocol.KindSale, Store: "S1", DocumentID: doc, Register: "R3", EventTime: protocol.StampOf(at), Traceparent: parent,
		Lines: []protocol.Line{{Line: 1, SKU: "ART 1/2", Quantity: 2000}},
	}
	if more != nil {
		more(e)
	}
	e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
	return e
}

// book is a real ledger with some entries and exceptions.
func book(t *testing.T, events []*protocol.Event, parked ...protocol.Exception) *bolt.Ledger {
	t.Helper()
	l, err := bolt.Open(bolt.Options{Path: filepath.Join(t.TempDir(), "ledger.db"), Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	o := protocol.Origin{Store: "S1", Agent: "server"}
	b := &ledger.Batch{Journals: []ledger.Journal{{ID: 1, Origin: o}}, Exceptions: parked}
	for n, e := range events {
		b.Entries = append(b.Entries, ledger.Entry{
			Position: ledger.Position(n + 1), Origin: 1, Epoch: 1, Seq: uint64(n + 1), MergedUS: at.Add(3 * time.Second).UnixMicro(), EventID: e.ID,
			Record: protocol.AppendRecord(nil, at.Add(time.Second).UnixMicro(), e),
		})
	}
	if err := l.Commit(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	return l
}

func hops(d *protocol.TracedDocument) string {
	var names []string
	for _, h := range d.Hops {
		names = append(names, h.Hop)
	}
	return strings.Join(names, " ")
}

func TestEveryNameOfADocumentLeadsToIt(t *testing.T) {
	e := sale("S1-R3-000187", func(e *protocol.Event) { e.OrderID, e.HoldID = "web-100234", "hold-77" })
	x := New(book(t, []*protocol.Event{sale("S1-R3-000186", func(e *protocol.Event) { e.Traceparent = "" }), e}))
	for name, c := range map[string]struct {
		q        protocol.TraceQuery
		searched bool
	}{
		"event id":             {protocol.TraceQuery{ID: e.ID.String()}, false},
		"document id and more": {protocol.TraceQuery{ID: e.DocumentID, Store: "S1", Kind: protocol.KindSale}, false},
		"document id, store":   {protocol.TraceQuery{ID: e.DocumentID, Store: "S1"}, false},
		"document id":          {protocol.TraceQuery{ID: e.DocumentID}, true},
		"trace id":             {protocol.TraceQuery{ID: "4bf92f3577b34da6a3ce929d0e0e4736"}, true},
		"order":                {protocol.TraceQuery{ID: "web-100234"}, true},
		"hold":                 {protocol.TraceQuery{ID: "hold-77", Store: "S1"}, true},
	} {
		got, err := x.Trace(t.Context(), c.q)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got.Documents) != 1 || got.Documents[0].EventID != e.ID || (got.Searched != nil) != c.searched {
			t.Errorf("%s: %+v", name, got)
		}
		if got.Searched != nil && (!got.Searched.Whole || got.Searched.Entries != 2) {
			t.Errorf("%s: searched %+v", name, got.Searched)
		}
	}
	got, _ := x.Trace(t.Context(), protocol.TraceQuery{ID: e.ID.String()})
	d := &got.Documents[0]
	second, two := int64(1000), int64(2000)
	want := []protocol.Hop{
		{Hop: "occurred", At: at, Clock: "register", By: "R3"},
		{Hop: "journaled", At: at.Add(time.Second), Clock: "agent", By: "S1/server", Detail: "epoch 1, seq 2", AfterMS: &second, Ref: map[string]any{"epoch": uint64(1), "seq": uint64(2)}},
		{Hop: "merged", At: at.Add(3 * time.Second), Clock: "aggregator", By: "aggregator", Detail: "position 2 of the log; availability shows it from here on", AfterMS: &two, Ref: map[string]any{"position": uint64(2)}},
	}
	if diff := cmp.Diff(want, d.Hops); diff != "" {
		t.Error(diff)
	}
	if d.Lines[0].Explain != "/v1/availability/ART%201%2F2/explain?location=S1" {
		t.Error(d.Lines[0].Explain)
	}
}

func TestWhatNoNameLeadsTo(t *testing.T) {
	x := New(book(t, []*protocol.Event{sale("S1-R3-000187", nil)}))
	for name, c := range map[string]struct {
		q    protocol.TraceQuery
		want string
	}{
		"part of a document id": {protocol.TraceQuery{ID: "R3-0001"}, "unknown_trace"},
		"another store":         {protocol.TraceQuery{ID: "S1-R3-000187", Store: "S2"}, "unknown_trace"},
		"another kind":          {protocol.TraceQuery{ID: "S1-R3-000187", Kind: protocol.KindReturn}, "unknown_trace"},
		"too short":             {protocol.TraceQuery{ID: "S1"}, "invalid_field"},
		"too long":              {protocol.TraceQuery{ID: strings.Repeat("x", 129)}, "invalid_field"},
	} {
		_, err := x.Trace(t.Context(), c.q)
		var p *protocol.Problem
		if !errors.As(err, &p) || p.Code != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestParkedDocumentsAndWhatWasDecided(t *testing.T) {
	bad := sale("S1-R3-000190", nil)
	odd := sale("S1-R3-000191", nil)
	o := protocol.Origin{Store: "S1", Agent: "server"}
	x := New(book(t, []*protocol.Event{odd},
		protocol.Exception{
			ID: "S1-server-1-9", State: "discarded", Code: "undecodable", Reason: "it is broken", Origin: o, Epoch: 1, Seq: 9, At: at.Add(4 * time.Second),
			EventID: bad.ID, Kind: bad.Kind, DocumentID: bad.DocumentID, Raw: protocol.AppendRecord(nil, at.Add(time.Second).UnixMicro(), bad),
			Note: "the till was on a training course", DecidedAt: at.Add(time.Hour),
		},
		protocol.Exception{
			ID: "sku_unknown-1", State: "open", Code: "sku_unknown", Reason: "no such article", Counted: true, Origin: o, Epoch: 1, Seq: 1, At: at.Add(3 * time.Second),
			EventID: odd.ID, Kind: odd.Kind, DocumentID: odd.DocumentID,
		}))
	for id, want := range map[string]string{bad.DocumentID: "discarded: occurred journaled parked decided", odd.DocumentID: "merged: occurred journaled merged noted"} {
		got, err := x.Trace(t.Context(), protocol.TraceQuery{ID: id})
		if err != nil || len(got.Documents) != 1 {
			t.Fatal(id, err)
		}
		if d := &got.Documents[0]; d.State+": "+hops(d) != want {
			t.Errorf("%s: %s: %s, want %s", id, d.State, hops(d), want)
		}
	}
}

// A long log is searched from its newest entries on, and what follows from a
// document comes last.
func TestALongLog(t *testing.T) {
	var events []*protocol.Event
	for n := range chunk + 10 {
		events = append(events, sale("S1-R3-"+time.Unix(int64(n), 0).UTC().Format("150405.000000")+"-"+string(rune('a'+n%26))+time.Duration(n).String(), nil))
	}
	events[5] = sale("the-old-one", nil)
	further := func(_ context.Context, ev *protocol.Event, p ledger.Position) ([]protocol.Hop, error) {
		return []protocol.Hop{{Hop: "posted", At: at.Add(time.Minute), Clock: "erp", Detail: ev.DocumentID, Ref: map[string]any{"at": uint64(p)}}}, nil
	}
	got, err := New(book(t, events), further).Trace(t.Context(), protocol.TraceQuery{ID: "the-old-one"})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Searched.Whole || got.Searched.Entries != len(events) || hops(&got.Documents[0]) != "occurred journaled merged posted" {
		t.Errorf("%+v: %s", got.Searched, hops(&got.Documents[0]))
	}
}
