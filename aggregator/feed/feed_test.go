package feed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tillwire/aggregator/feed"
	"tillwire/aggregator/feed/feedtest"
	"tillwire/protocol"
)

func desk(t *testing.T, d *feedtest.Door) *feed.Desk {
	t.Helper()
	x, err := feed.New(feed.Options{Accept: d.Accept, Fact: d.Fact})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestEventsAreJudgedOneByOne(t *testing.T) {
	d := &feedtest.Door{}
	doc := func(id, place string, qty string) string {
		return fmt.Sprintf(`{"kind":"receipt","document_id":%q,"location":%q,"occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"X","quantity":%s}]}`, id, place, qty)
	}
	body := `{"events":[` + strings.Join([]string{doc("r1", "DC1", "5"), doc("r2", "DC2", "1"), doc("bad", "DC1", "-1"), doc("r3", "DC1", "2")}, ",") + `]}`
	got, err := desk(t, d).Events(context.Background(), "wms", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"accepted", "accepted", "parked", "accepted"} {
		if got[i].Status != want {
			t.Errorf("document %d is %s (%+v), want %s", i, got[i].Status, got[i], want)
		}
	}
	if got[2].DocumentID != "bad" || len(got[2].Errors) == 0 || got[2].Errors[0].Pointer != "/lines/0/quantity" {
		t.Errorf("refusal says %+v", got[2])
	}
	if x := d.Exceptions[got[2].ExceptionID]; x.Code != "feed_invalid" || x.Media != "event" || x.Origin.Store != "DC1" || !strings.Contains(x.Reason, "/lines/0/quantity") {
		t.Errorf("parked as %+v", x)
	}
	if len(d.Events) != 3 || d.Origins[0].String() != "DC1/feed:wms" || d.Events[1].DocumentID != "r3" || d.Events[0].Source != "wms" {
		t.Errorf("accepted %d events, first of %s", len(d.Events), d.Origins[0])
	}
}

func TestStatementsOfAnyLengthAreOneStatement(t *testing.T) {
	d := &feedtest.Door{}
	var lines []string
	for i := range 2500 {
		lines = append(lines, fmt.Sprintf(`{"sku":"P%d","quantity":%d}`, i, i))
	}
	head := `{"snapshot_id":"n1","location":"DC1","as_of":"2026-11-23T10:00:00Z","complete":true,"lines":[`
	got, err := desk(t, d).Snapshot(context.Background(), "wms", []byte(head+strings.Join(lines, ",")+"]}"))
	if err != nil || len(got) != 3 {
		t.Fatalf("%d results, %v", len(got), err)
	}
	total := 0
	for _, ev := range d.Events {
		total += len(ev.Lines)
		if ev.Session != "n1" || ev.Kind != protocol.KindSnapshot || !ev.Complete {
			t.Errorf("part %s: session %q kind %s complete %v", ev.DocumentID, ev.Session, ev.Kind, ev.Complete)
		}
	}
	if total != 2500 {
		t.Errorf("%d lines, want 2500", total)
	}
	lines[2100] = `{"sku":"P","quantity":"many"}`
	_, err = desk(t, d).Snapshot(context.Background(), "wms", []byte(head+strings.Join(lines, ",")+"]}"))
	var p *protocol.Problem
	if !errors.As(err, &p) || p.Errors[0].Pointer != "/lines/2100/quantity" {
		t.Errorf("a bad line of the third part: %v %+v", err, p)
	}
	if len(d.Events) != 3 {
		t.Errorf("a bad statement was taken in part: %d events", len(d.Events))
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
			d := &feedtest.Door{}
			_, err := desk(t, d).Events(context.Background(), "wms", []byte(c.body))
			var p *protocol.Problem
			if !errors.As(err, &p) || p.Code != c.code || p.Hint == "" {
				t.Fatalf("%v", err)
			}
			if c.pointer != "" && (len(p.Errors) == 0 || p.Errors[0].Pointer != c.pointer) {
				t.Errorf("points at %+v, want %s", p.Errors, c.pointer)
			}
			if len(d.Events) != 0 {
				t.Error("something was taken")
			}
		})
	}
}
