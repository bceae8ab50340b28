package feed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tillwire/protocol"
)

// door keeps what it is given and accepts it.
type door struct {
	events  []*protocol.Event
	origins []protocol.Origin
}

func (d *door) accept(_ context.Context, o protocol.Origin, events []*protocol.Event) ([]protocol.FeedResult, error) {
	out := make([]protocol.FeedResult, len(events))
	for i, ev := range events {
		d.events = append(d.events, ev)
		d.origins = append(d.origins, o)
		out[i] = protocol.FeedResult{DocumentID: ev.DocumentID, EventID: ev.ID, Status: "accepted"}
	}
	return out, nil
}

func TestEventsAreJudgedOneByOne(t *testing.T) {
	d := &door{}
	doc := func(id, place string, qty string) string {
		return fmt.Sprintf(`{"kind":"receipt","document_id":%q,"location":%q,"occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"X","quantity":%s}]}`, id, place, qty)
	}
	body := `{"events":[` + strings.Join([]string{doc("r1", "DC1", "5"), doc("r2", "DC2", "1"), doc("bad", "DC1", "-1"), doc("r3", "DC1", "2")}, ",") + `]}`
	got, err := New(d.accept, nil).Events(context.Background(), "wms", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"accepted", "accepted", "refused", "accepted"} {
		if got[i].Status != want {
			t.Errorf("document %d is %s (%+v), want %s", i, got[i].Status, got[i], want)
		}
	}
	if got[2].DocumentID != "bad" || len(got[2].Errors) == 0 || got[2].Errors[0].Pointer != "/lines/0/quantity" {
		t.Errorf("refusal says %+v", got[2])
	}
	if len(d.events) != 3 || d.origins[0].String() != "DC1/feed:wms" || d.events[1].DocumentID != "r3" || d.events[0].Source != "wms" {
		t.Errorf("accepted %d events, first of %s", len(d.events), d.origins[0])
	}
}

func TestStatementsOfAnyLengthAreOneStatement(t *testing.T) {
	d := &door{}
	var lines []string
	for i := range 2500 {
		lines = append(lines, fmt.Sprintf(`{"sku":"P%d","quantity":%d}`, i, i))
	}
	head := `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T10:00:00Z","complete":true,"lines":[`
	got, err := New(d.accept, nil).Snapshot(context.Background(), "wms", []byte(head+strings.Join(lines, ",")+"]}"))
	if err != nil || len(got) != 3 {
		t.Fatalf("%d results, %v", len(got), err)
	}
	total := 0
	for _, ev := range d.events {
		total += len(ev.Lines)
		if ev.Session != "n1" || ev.Kind != protocol.KindSnapshot || !ev.Complete {
			t.Errorf("part %s: session %q kind %s complete %v", ev.DocumentID, ev.Session, ev.Kind, ev.Complete)
		}
	}
	if total != 2500 {
		t.Errorf("%d lines, want 2500", total)
	}
	lines[2100] = `{"sku":"P","quantity":"many"}`
	_, err = New(d.accept, nil).Snapshot(context.Background(), "wms", []byte(head+strings.Join(lines, ",")+"]}"))
	var p *protocol.Problem
	if !errors.As(err, &p) || p.Errors[0].Pointer != "/lines/2100/quantity" {
		t.Errorf("a bad line of the third part: %v %+v", err, p)
	}
	if len(d.events) != 3 {
		t.Errorf("a bad statement was taken in part: %d events", len(d.events))
	}
}

func TestBadBodiesNameFieldAndRemedy(t *testing.T) {
	for name, c := range map[string]struct{ body, code, pointer string }{
		"malformed":     {`{"events":`, "malformed_json", ""},
		"unknown field": {`{"evnts":[]}`, "unknown_field", "/evnts"},
		"wrong type":    {`{"events":5}`, "invalid_field", "/events"},
		"empty":         {`{"events":[]}`, "invalid_field", "/events"},
		"two values":    {`{"events":[{}]} {}`, "malformed_json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := &door{}
			_, err := New(d.accept, nil).Events(context.Background(), "wms", []byte(c.body))
			var p *protocol.Problem
			if !errors.As(err, &p) || p.Code != c.code || p.Hint == "" {
				t.Fatalf("%v", err)
			}
			if c.pointer != "" && (len(p.Errors) == 0 || p.Errors[0].Pointer != c.pointer) {
				t.Errorf("points at %+v, want %s", p.Errors, c.pointer)
			}
			if len(d.events) != 0 {
				t.Error("something was taken")
			}
		})
	}
}
