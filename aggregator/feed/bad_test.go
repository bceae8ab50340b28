package feed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tillwire/aggregator/feed"
	"tillwire/aggregator/feed/feedtest"
	"tillwire/protocol"
)

// TestBadBodiesAreKept: what could not be read is refused to its sender, and waits as
// an exception with its bytes.
func TestBadBodiesAreKept(t *testing.T) {
	const doc = `{"kind":"receipt","document_id":"r1","location":"DC1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"X","quantity":5}]}`
	wide := func(s string) string { return "\xff\xfe" + strings.Join(strings.Split(s, ""), "\x00") + "\x00" }
	for name, c := range map[string]struct{ body, cause string }{
		"half":            {`{"events":[` + doc, "feed_unreadable"},
		"UTF-16":          {wide(`{"events":[` + doc + `]}`), "feed_unreadable"},
		"byte order mark": {"\xef\xbb\xbf" + `{"events":[` + doc + `]}`, "feed_unreadable"},
		"Latin-1":         {`{"events":[` + strings.Replace(doc, "X", "\xc4", 1) + `]}`, "feed_unreadable"},
		"deep nesting":    {`{"events":` + strings.Repeat("[", 200_000), "feed_unreadable"},
		"XML":             {`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>`, "feed_unreadable"},
		"later schema":    {`{"schema_version":7,"events":[` + doc + `]}`, "schema_unsupported"},
		"no documents":    {`{"events":[]}`, "feed_invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			door := &feedtest.Door{}
			d := desk(t, door)
			for range 2 { // twice the same is one exception
				_, err := d.Events(context.Background(), "wms", []byte(c.body))
				var p *protocol.Problem
				if !errors.As(err, &p) || !strings.Contains(p.Hint, "feed-wms-") {
					t.Fatalf("the sender hears %v", err)
				}
			}
			if len(door.Exceptions) != 1 || len(door.Events) != 0 {
				t.Fatalf("%d exceptions, took %q", len(door.Exceptions), door.Said())
			}
			for _, x := range door.Exceptions {
				kept := min(len(c.body), 256<<10)
				if x.Code != c.cause || len(x.Raw) != kept || x.RawCut != (kept < len(c.body)) || x.Reason == "" {
					t.Errorf("kept as %s, %d bytes, cut %v: %s", x.Code, len(x.Raw), x.RawCut, x.Reason)
				}
				if _, p := d.Reread(&x); p == nil {
					t.Error("a retry takes it")
				}
			}
			if s := d.Connectors()[0]; s.State != protocol.ConnectorFailing || s.Parked != 2 || s.LastError == nil {
				t.Errorf("shown as %+v", s)
			}
			if _, err := d.Events(context.Background(), "wms", []byte(`{"schema_version":1,"events":[`+doc+`]}`)); err != nil {
				t.Fatal(err)
			}
			if s := d.Connectors()[0]; s.State != protocol.ConnectorOK || s.In != 1 || s.LastDocument.ID != "r1" {
				t.Errorf("after a good one: %+v", s)
			}
		})
	}
}

// TestWhatIsNotKept: card data never, and no flood.
func TestWhatIsNotKept(t *testing.T) {
	door := &feedtest.Door{}
	now := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	d, err := feed.New(feed.Options{Accept: door.Accept, Fact: door.Fact, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	send := func(id string) protocol.FeedResult {
		t.Helper()
		got, err := d.Events(context.Background(), "wms", []byte(fmt.Sprintf(`{"events":[{"kind":"receipt","document_id":%q,"location":"DC1","occurred_at":"2026-11-23T10:00:00Z","lines":[{"sku":"X","quantity":-5}]}]}`, id)))
		if err != nil {
			t.Fatal(err)
		}
		return got[0]
	}
	if r := send("4111111111111111"); r.Status != "refused" || r.ExceptionID != "" {
		t.Errorf("card data: %+v", r)
	}
	if _, err := d.Events(context.Background(), "wms", []byte(`{"note":"4111111111111111"`)); err == nil || len(door.Exceptions) != 0 {
		t.Errorf("a body with card data is kept: %v", err)
	}
	for n := range 1000 {
		if r := send(fmt.Sprint("d", n)); r.Status != "parked" {
			t.Fatalf("document %d: %+v", n, r)
		}
	}
	if r := send("flood"); r.Status != "refused" || len(door.Exceptions) != 1000 {
		t.Errorf("beyond the bound: %+v, %d kept", r, len(door.Exceptions))
	}
	now = now.Add(time.Hour)
	if r := send("flood"); r.Status != "parked" {
		t.Errorf("an hour later: %+v", r)
	}
}
