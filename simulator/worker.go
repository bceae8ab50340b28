package simulator

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tillwire/protocol"
)

// worker is one shop with its till and its parcels. Customers come when they
// come: a till that falls behind works through its queue, and says how late it is.
type worker struct {
	shop    *shop
	till    *till
	share   float64
	parcels chan parcel
	crew    *crew
	rng     *rand.Rand
	due     time.Time // in the story: the next customer

	// Orders of the web shop; see picking.go.
	jobs     map[string]*job
	lookedAt time.Time
	expected atomic.Int64 // real time until which an order is on its way, in ns; 0: none is

	// What faults order; they are carried out between two documents.
	skew     *atomic.Int64 // how wrong the shop's clock is, in ns
	skewNext atomic.Pointer[time.Duration]
	late     atomic.Int64 // how often an old POS uploads, in ns of documents' time; 0: at once
	bad      atomic.Int64 // further bad documents, per mille
	countAll atomic.Bool

	floor sync.Mutex // a sale of the probes and a look at all shelves exclude each other
}

type parcel struct {
	out  *document
	from protocol.StoreID
}

// now is the shop's own clock; its agent goes by the same.
func (w *worker) now() time.Time {
	return w.crew.clock.stamp().Add(time.Duration(w.skew.Load()))
}

func (w *worker) run(hard, selling context.Context) error {
	c := w.crew
	for w.due = c.clock.story(); ; {
		perHour, r := c.rate(w.share, w.due)
		gap, customer := drawStep, false
		if perHour > 0 {
			// Waits have no memory: a long one may be cut and drawn anew.
			if drawn := time.Duration(min(w.rng.ExpFloat64()/perHour, 24) * float64(time.Hour)); drawn < gap {
				gap, customer = drawn, true
			}
		}
		w.due = w.due.Add(gap)
		open, err := w.await(hard, selling)
		if err != nil {
			return err
		}
		if !open {
			return w.finish(hard)
		}
		if !customer {
			continue
		}
		w.shop.rush = r
		d := w.shop.next(w.now())
		if d == nil || w.shop.isWithheld(d) {
			continue
		}
		if err := w.tell(hard, d); err != nil {
			return err
		}
		if err := w.chores(hard); err != nil {
			return err
		}
	}
}

// await looks around until the next customer comes; false: the day is over.
func (w *worker) await(hard, selling context.Context) (bool, error) {
	for {
		if selling.Err() != nil {
			return false, nil //nolint:nilerr // closing time is no error
		}
		early := w.due.Sub(w.crew.clock.story())
		if early <= 0 {
			w.crew.lateNS.Add(int64(-early))
			w.crew.lateN.Add(1)
			return true, nil
		}
		wait := w.crew.clock.real(early)
		if !pause(selling, min(wait, lookEvery)) {
			return false, nil
		}
		if err := w.chores(hard); err != nil {
			return false, err
		}
	}
}

// chores posts what became due meanwhile, and does what faults order.
func (w *worker) chores(hard context.Context) error {
	jump := w.skewNext.Swap(nil)
	if jump != nil {
		w.shop.countDue = time.Time{} // what was looked at is told before: its moment was by the old clock
	}
	if err := w.backlog(hard); err != nil {
		return err
	}
	if jump != nil {
		w.skew.Store(int64(*jump))
		w.shop.clockSet = true
	}
	if h := w.shop.habits.BadDocuments + int(w.bad.Load()); w.rng.IntN(1000) < h {
		w.tellPoison(hard)
	}
	if w.countAll.Load() {
		if err := w.stocktake(hard); err != nil {
			return err
		}
	}
	if err := w.pick(hard); err != nil {
		return err
	}
	select {
	case p := <-w.parcels:
		return w.tell(hard, w.shop.receive(p.out, p.from, w.now()))
	default:
		return nil
	}
}

// backlog posts counts that were keyed in by now, and what tills kept.
func (w *worker) backlog(hard context.Context) error {
	s := w.shop
	if every := time.Duration(w.late.Load()); every != s.uploadEvery {
		s.uploadEvery, s.uploadDue = every, w.now().Add(every) // what is kept goes up with the next look
	}
	docs := s.backlog(w.now())
	if len(docs) > bulkDocsMax/2 {
		return w.tellMany(hard, docs)
	}
	for _, d := range docs {
		if err := w.tell(hard, d); err != nil {
			return err
		}
	}
	return nil
}

// stocktake counts everything, once nothing is withheld any more.
func (w *worker) stocktake(hard context.Context) error {
	if !w.shop.mayCount(w.now()) {
		return nil // with the next look
	}
	w.countAll.Store(false)
	w.floor.Lock()
	defer w.floor.Unlock()
	return w.tell(hard, w.shop.countAll(w.now()))
}

// finish empties the till at closing time.
func (w *worker) finish(hard context.Context) error {
	docs := w.shop.closing()
	if len(docs) > bulkDocsMax/2 {
		return w.tellMany(hard, docs)
	}
	for _, d := range docs {
		if err := w.tell(hard, d); err != nil {
			return err
		}
	}
	return nil
}
