package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tillwire/protocol"
)

// job is an order that a shop works on. Goods that were picked lie in a box: they
// are in the house until somebody takes them away.
//
//	pending ──accept, when the shelf has it──▶ accepted ──▶ picked ──▶ collected
//	   └─────reject, when it has not: the promise was one too many
type job struct {
	task  task
	state protocol.ReservationState
	due   time.Time // in the story: the next step
	taken []int     // boxed, by index of the shop's goods
}

// task is what GET /v1/holds tells of an order.
type task struct {
	HoldID     string                    `json:"hold_id"`
	State      protocol.ReservationState `json:"state"`
	Fulfilment string                    `json:"fulfilment"`
	OrderID    string                    `json:"order_id"`
	Lines      []protocol.HoldLine       `json:"lines"`
}

const (
	askEvery    = 20 * time.Second     // real: a shop looks for orders that it does not expect
	askSoon     = time.Second          // and for one that is on its way
	askPerStore = 5 * time.Millisecond // on top, each: together they ask the less often, the more they are
	expectFor   = 20 * time.Second
	pickAfter   = 8 * time.Minute // in the story
	takesSale   = 0.7             // of orders go over the till; for the others the shop says "collected"
)

// expect tells a shop that an order is on its way.
func (w *worker) expect() { w.expected.Store(time.Now().Add(expectFor).UnixNano()) }

// pick looks for orders and works on those that are due.
func (w *worker) pick(hard context.Context) error {
	if w.crew.story.Web.Orders == 0 {
		return nil
	}
	now := time.Now()
	every := askEvery
	if w.expected.Load() > now.UnixNano() {
		every = askSoon
	}
	if now.Sub(w.lookedAt) >= every+time.Duration(len(w.crew.shops))*askPerStore {
		w.lookedAt = now
		if err := w.lookForOrders(hard); err != nil {
			return err
		}
	}
	story := w.crew.clock.story()
	for id, j := range w.jobs {
		if story.Before(j.due) {
			continue
		}
		if err := w.proceed(hard, j, story); err != nil {
			return err
		}
		if !isOpen(j.state) {
			delete(w.jobs, id)
		}
	}
	return nil
}

func (w *worker) lookForOrders(hard context.Context) error {
	b, err := w.till.get(hard, "/v1/holds")
	if err != nil {
		return nil //nolint:nilerr // the agent restarts; with the next look
	}
	var got struct {
		Holds []task `json:"holds"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		return fmt.Errorf("read holds: %w", err)
	}
	there := map[string]bool{}
	for _, t := range got.Holds {
		there[t.HoldID] = true
		if w.jobs[t.HoldID] == nil && t.State == protocol.ReservationPending {
			w.jobs[t.HoldID] = &job{task: t, state: t.State}
			w.expected.Store(0)
		}
	}
	for id, j := range w.jobs {
		if !there[id] { // taken back meanwhile: the goods return to the shelf
			w.unbox(j, true)
			delete(w.jobs, id)
		}
	}
	return nil
}

// proceed takes one step of an order.
func (w *worker) proceed(hard context.Context, j *job, story time.Time) error {
	id := j.task.HoldID
	switch j.state {
	case protocol.ReservationPending:
		if !w.box(j) {
			return w.answer(hard, j, w.shop.moment(w.now()), protocol.HoldReject, protocol.ReservationRejected, func(o *Orders) { o.Oversold++ })
		}
		j.due = story.Add(pickAfter)
		return w.answer(hard, j, w.shop.moment(w.now()), protocol.HoldAccept, protocol.ReservationAccepted, func(*Orders) {})
	case protocol.ReservationAccepted:
		wait := time.Duration(w.rng.ExpFloat64() * float64(w.crew.story.Web.CollectAfter))
		j.due = story.Add(wait)
		return w.answer(hard, j, w.shop.moment(w.now()), protocol.HoldPicked, protocol.ReservationPicked, func(o *Orders) { o.Picked++ })
	case protocol.ReservationPicked:
		if open, next := w.crew.story.Shop.Open(story); !open {
			j.due = next
			return nil
		}
		d := w.handOver(j)
		if j.task.Fulfilment == protocol.FulfilmentPickup && w.rng.Float64() < takesSale {
			if err := w.tell(hard, d); err != nil {
				return err
			}
			j.state = protocol.ReservationCollected
			w.crew.pledge.note(id, j.state, func(o *Orders) { o.Collected++ })
			return nil
		}
		if err := w.answer(hard, j, d.at, protocol.HoldCollected, protocol.ReservationCollected, func(o *Orders) { o.Collected++ }); err != nil {
			return err
		}
		if j.state == protocol.ReservationCollected {
			w.crew.oracle.moveAt(w.shop.Store, d)
		}
		return nil
	default:
		return nil
	}
}

// answer tells the agent; its answers are journaled as its own events.
func (w *worker) answer(hard context.Context, j *job, at time.Time, verb string, to protocol.ReservationState, count func(*Orders)) error {
	body := fmt.Appendf(nil, `{"occurred_at":%q}`, tillTime(at))
	if verb == protocol.HoldReject {
		body = fmt.Appendf(nil, `{"occurred_at":%q,"reason":"the shelf is empty"}`, tillTime(at))
	}
	_, err := w.till.insist(hard, "/v1/holds/"+j.task.HoldID+"/"+verb, "application/json", body)
	var r *refusal
	switch {
	case errors.As(err, &r) && (r.Status == http.StatusNotFound || r.Status == http.StatusConflict):
		w.crew.pledge.doubt(j.task.HoldID) // taken back at this moment
		w.unbox(j, true)
		j.state = protocol.ReservationReleased
		return nil
	case err != nil:
		return err
	}
	j.state = to
	w.crew.pledge.note(j.task.HoldID, to, count)
	return nil
}

// box takes an order's goods off the shelf, all or none.
func (w *worker) box(j *job) bool {
	for _, l := range j.task.Lines {
		k, ok := w.shop.carries(l.SKU)
		if !ok || w.shop.shelf[k] < l.Quantity {
			w.unbox(j, true)
			return false
		}
		w.shop.shelf[k] -= l.Quantity
		w.shop.boxed[k] += l.Quantity
		j.taken = append(j.taken, k)
	}
	return true
}

// unbox empties the box: back onto the shelf, or out of the house.
func (w *worker) unbox(j *job, back bool) {
	for i, k := range j.taken {
		q := j.task.Lines[i].Quantity
		w.shop.boxed[k] -= q
		if back {
			w.shop.shelf[k] += q
		}
	}
	j.taken = nil
}

// handOver is the sale by which a customer takes an order away.
func (w *worker) handOver(j *job) *document {
	s := w.shop
	d := s.begin(kindSale, w.now())
	d.HoldID, d.OrderID = j.task.HoldID, j.task.OrderID
	for i, k := range j.taken {
		q := j.task.Lines[i].Quantity
		s.moveLine(d, k, q, -q)
		s.shelf[k] += q // it was taken off when it was boxed
	}
	w.unbox(j, false)
	return d
}

// carries is the index of an article, where the shop has it.
func (s *shop) carries(sku protocol.SKU) (int, bool) {
	for k, a := range s.goods.articles {
		if a.SKU == sku {
			return k, true
		}
	}
	return 0, false
}

// moveAt notes what a document did that is journaled as an agent's own event.
func (o *oracle) moveAt(s protocol.StoreID, d *document) {
	t := o.store(s)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.take(d)
}

// get asks the agent once.
func (t *till) get(ctx context.Context, p string) ([]byte, error) {
	return t.do(ctx, http.MethodGet, p, "", nil)
}
