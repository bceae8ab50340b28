// Package feedtest is what every format of a feed must stand: a suite that its tests
// run, and a door that remembers what came. It stops at the format and the folder:
// what documents do to stock is the merge's own suite.
package feedtest

import (
	"context"
	"fmt"
	"sync"

	"tillwire/aggregator/feed"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Door keeps what it is given: documents by their ids, as the real one does. The zero
// value is empty.
type Door struct {
	mu         sync.Mutex // guards what follows
	Events     []*protocol.Event
	Origins    []protocol.Origin
	Exceptions map[string]protocol.Exception
	facts      map[string][]byte
	ids        map[protocol.EventID]bool
	Fail       error // of the next call
}

// Accept is the door's.
func (d *Door) Accept(_ context.Context, o protocol.Origin, events []*protocol.Event, beside feed.Beside) ([]protocol.FeedResult, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.Fail; err != nil {
		d.Fail = nil
		return nil, err
	}
	if d.ids == nil {
		d.ids, d.facts, d.Exceptions = map[protocol.EventID]bool{}, map[string][]byte{}, map[string]protocol.Exception{}
	}
	out := make([]protocol.FeedResult, len(events))
	for i, ev := range events {
		out[i] = protocol.FeedResult{DocumentID: ev.DocumentID, EventID: ev.ID, Status: "accepted"}
		if d.ids[ev.ID] {
			out[i].Status = "duplicate"
			continue
		}
		d.ids[ev.ID] = true
		d.Events, d.Origins = append(d.Events, ev), append(d.Origins, o)
	}
	if beside != nil {
		parked, facts := beside(out)
		for _, x := range parked {
			if _, known := d.Exceptions[x.ID]; !known {
				d.Exceptions[x.ID] = x
			}
		}
		for _, f := range facts {
			d.facts[f.Key] = f.Value
		}
	}
	return out, nil
}

// Fact is what stands under a key.
func (d *Door) Fact(key string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v, ok := d.facts[key]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("fact %s: %w", key, ledger.ErrNotFound)
}

// Said is each document in one line, in their order.
func (d *Door) Said() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]string, len(d.Events))
	for i, e := range d.Events {
		s := fmt.Sprintf("%s %s %s", e.Kind, e.Store, e.DocumentID)
		if e.Kind == protocol.KindVoid {
			s += " of " + e.Voids
		}
		if e.Counterparty != "" {
			s += fmt.Sprintf(" %s %s by %s", e.Direction, e.Counterparty, e.TransferID)
		}
		if e.AdviceID != "" {
			s += " advised " + e.AdviceID
		}
		for k := range e.Lines {
			l := &e.Lines[k]
			s += fmt.Sprintf(" %s×%s%s", l.SKU, l.Quantity, l.UOM)
			if l.Disposition != protocol.DispositionNone {
				s += " " + l.Disposition.String()
			}
		}
		out[i] = s
	}
	return out
}
