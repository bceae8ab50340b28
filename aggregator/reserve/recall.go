package reserve

import (
	"encoding/json"
	"slices"

	"tillwire/protocol"
)

const recalledReason = "taken back from its store after a restore"

// recall takes a task that a store was told of by a ledger that is lost: the one
// restored in its place knows less. The task goes on as the store knows it, unless
// this book knows how it ended.
//
//	the book knows at that store          │ then
//	nothing of the id, made within 7 days │ it is made again; its request is not known
//	held or expired                       │ it was confirmed since: as the store says
//	confirmed … picked                    │ nothing is missing
//	released, rejected, collected         │ the store has not heard of it yet
//	nothing, other stores' lines live     │ the store's lines are added
//
// What is older than the book's memory and unknown has ended before: it would be
// made again by a store that was dark for long, and nobody would ever end it.
func (b *Book) recall(ev *protocol.Event) bool {
	t, ok := recalled(ev)
	if !ok || t.CreatedUS > b.nowUS || b.nowUS-t.CreatedUS > rememberUS {
		return false
	}
	e := b.all[t.HoldID]
	if e == nil {
		if len(b.all)-b.closed.Len() >= liveMax {
			return false
		}
		r := Record{
			ID: t.HoldID, Channel: t.Channel, Order: t.OrderID, Mode: protocol.ModeAllOrNothing, Fulfilment: t.Fulfilment,
			CreatedUS: t.CreatedUS, UpdatedUS: b.nowUS,
		}
		r.recallLines(t, ev.Store)
		if r.check() != nil || r.exceeds(requestBytesMax) {
			return false
		}
		b.put(r)
		return true
	}
	r := e.copy(b.nowUS)
	here, changed := false, false
	for i := range r.Lines {
		l := &r.Lines[i]
		if l.Location != ev.Store || l.Replaced {
			continue
		}
		here = true
		if l.Quantity > 0 && (l.State == protocol.ReservationHeld || l.State == protocol.ReservationExpired) {
			l.State, l.Reason, changed = t.State, recalledReason, true
		}
	}
	if !here && r.live() {
		r.recallLines(t, ev.Store)
		changed = true
	}
	if !r.reserving() {
		r.ExpiresUS = 0
	}
	if !changed || r.check() != nil || r.exceeds(recordBytesMax) {
		return false
	}
	b.put(r)
	return true
}

func (r *Record) recallLines(t *protocol.HoldTask, at protocol.StoreID) {
	for n, l := range t.Lines {
		r.Lines = append(r.Lines, Line{Request: int32(n), SKU: l.SKU, Quantity: l.Quantity, Location: at, State: t.State, Reason: recalledReason})
	}
}

// recalled reads the task that a store recalls; what no aggregator can have told
// it is refused.
func recalled(ev *protocol.Event) (*protocol.HoldTask, bool) {
	var t protocol.HoldTask
	if err := json.Unmarshal(ev.Body, &t); err != nil {
		return nil, false
	}
	states := []protocol.ReservationState{
		protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked,
	}
	work := t.Fulfilment == protocol.FulfilmentPickup || t.Fulfilment == protocol.FulfilmentShip
	return &t, t.HoldID != "" && t.HoldID == ev.HoldID && work && slices.Contains(states, t.State) && t.CreatedUS > 0 && len(t.Lines) > 0 &&
		len(t.Channel) <= protocol.NameBytesMax && len(t.OrderID) <= protocol.IDBytesMax
}
