package reserve

import (
	"encoding/json"
	"testing"

	"tillwire/protocol"
)

const hourUS = 3600 * usPerS

func recallEvent(t *testing.T, store string, task *protocol.HoldTask) *protocol.Event {
	t.Helper()
	b, err := json.Marshal(task)
	if err != nil {
		t.Fatal(err)
	}
	return &protocol.Event{Kind: protocol.KindHold, Action: protocol.HoldRecalled, Store: protocol.StoreID(store), HoldID: task.HoldID, OrderID: task.OrderID, Body: b}
}

func pickup(id string, created int64, state protocol.ReservationState) *protocol.HoldTask {
	return &protocol.HoldTask{
		HoldID: id, State: state, Fulfilment: protocol.FulfilmentPickup, Channel: "web", OrderID: "o-" + id, CreatedUS: created,
		Lines: []protocol.HoldLine{{SKU: "A", Quantity: protocol.Units(2)}},
	}
}

// TestRecall holds the table of recall: what the book knows of the reservation, and
// what becomes of it.
func TestRecall(t *testing.T) {
	const now = 100 * hourUS
	known := func(state protocol.ReservationState, loc string) *Record {
		r := &Record{
			ID: "r1", Hash: 7, Channel: "web", Mode: protocol.ModeAllOrNothing, Fulfilment: protocol.FulfilmentPickup, CreatedUS: now - hourUS, UpdatedUS: now - hourUS,
			Lines: []Line{{SKU: "A", Quantity: protocol.Units(2), Location: protocol.StoreID(loc), State: state}},
		}
		if state == protocol.ReservationHeld {
			r.ExpiresUS = now + hourUS
		}
		return r
	}
	cases := []struct {
		name      string
		known     *Record
		task      *protocol.HoldTask
		allocated protocol.Quantity // at S1
		state     protocol.ReservationState
	}{
		{"unknown, and young: made again", nil, pickup("r1", now-hourUS, protocol.ReservationAccepted), protocol.Units(2), protocol.ReservationAccepted},
		{"unknown, and older than the book's memory: it has ended", nil, pickup("r1", now-8*24*hourUS, protocol.ReservationPending), 0, ""},
		{"unknown, from tomorrow", nil, pickup("r1", now+hourUS, protocol.ReservationPending), 0, ""},
		{"held at the copy: it was confirmed since", known(protocol.ReservationHeld, "S1"), pickup("r1", now-hourUS, protocol.ReservationPicked), protocol.Units(2), protocol.ReservationPicked},
		{"expired since the copy, for nobody could confirm", known(protocol.ReservationExpired, "S1"), pickup("r1", now-hourUS, protocol.ReservationPending), protocol.Units(2), protocol.ReservationPending},
		{"known and going on", known(protocol.ReservationAccepted, "S1"), pickup("r1", now-hourUS, protocol.ReservationPending), protocol.Units(2), protocol.ReservationAccepted},
		{"released before the copy", known(protocol.ReservationReleased, "S1"), pickup("r1", now-hourUS, protocol.ReservationPending), 0, protocol.ReservationReleased},
		{"collected before the copy", known(protocol.ReservationCollected, "S1"), pickup("r1", now-hourUS, protocol.ReservationPending), 0, protocol.ReservationCollected},
		{"another store's part is known", known(protocol.ReservationConfirmed, "S2"), pickup("r1", now-hourUS, protocol.ReservationAccepted), protocol.Units(2), protocol.ReservationConfirmed},
		{"another store's part is over", known(protocol.ReservationReleased, "S2"), pickup("r1", now-hourUS, protocol.ReservationAccepted), 0, protocol.ReservationReleased},
		{"a state that is no task's", nil, pickup("r1", now-hourUS, protocol.ReservationHeld), 0, ""},
		{"a delivery, which is nobody's task", nil, func() *protocol.HoldTask {
			x := pickup("r1", now-hourUS, protocol.ReservationAccepted)
			x.Fulfilment = protocol.FulfilmentDelivery
			return x
		}(), 0, ""},
		{"a negative quantity", nil, func() *protocol.HoldTask {
			x := pickup("r1", now-hourUS, protocol.ReservationAccepted)
			x.Lines[0].Quantity = -1
			return x
		}(), 0, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := New()
			b.Advance(now - hourUS)
			if c.known != nil {
				b.Apply(&Change{Why: "test", Record: *c.known})
			}
			b.Advance(now)
			ev := recallEvent(t, "S1", c.task)
			for range 2 { // a second word changes nothing
				if id := b.Observe(ev, now); id != "" {
					t.Errorf("asks to source %s again", id)
				}
			}
			if _, got := b.Held(Key{"S1", "A"}, now); got != c.allocated {
				t.Errorf("allocated %s, want %s", got, c.allocated)
			}
			r, ok := b.Get("r1", now)
			if ok != (c.state != "") || ok && r.Lines[0].State != c.state {
				t.Errorf("%t %+v, want %q", ok, r, c.state)
			}
			again := New()
			if err := b.Chunks(func(no uint32, data []byte) {
				if err := again.Restore(no, data); err != nil {
					t.Error(err)
				}
			}); err != nil {
				t.Error(err)
			}
			if _, got := again.Held(Key{"S1", "A"}, now); got != c.allocated {
				t.Errorf("after a checkpoint allocated %s, want %s", got, c.allocated)
			}
		})
	}
	b := New()
	b.Observe(&protocol.Event{Kind: protocol.KindHold, Action: protocol.HoldRecalled, Store: "S1", HoldID: "x", Body: []byte("{")}, now)
	b.Observe(recallEvent(t, "S1", pickup("r1", now-hourUS, protocol.ReservationAccepted)), now)
	// the channel repeats its request: it is answered with what stands, whatever the body
	res, p := b.Reserve(&protocol.ReservationRequest{ReservationID: "r1", Channel: "web", Lines: []protocol.ReservationRequestLine{{SKU: "A", Quantity: 1}}}, nil, now)
	if p != nil || res.Created || res.Answer.Lines[0].State != protocol.ReservationAccepted || res.Answer.Lines[0].Reason == "" {
		t.Errorf("%+v %v", res, p)
	}
	if _, ok := b.Get("x", now); ok {
		t.Error("a body that cannot be read made a reservation")
	}
}
