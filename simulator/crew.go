package simulator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// crew drives all shops of a fleet against their agents and tells the oracle
// what was acknowledged.
type crew struct {
	oracle *oracle
	shops  []*worker
	speed  float64
	began  time.Time // real time at which the profile's clock stood at start
	start  time.Time // the profile's clock then
	log    zerolog.Logger

	posted    atomic.Uint64 // documents acknowledged the first time
	lines     atomic.Uint64
	repeats   atomic.Uint64 // re-posts on purpose
	poison    atomic.Uint64 // bad documents sent
	swallowed atomic.Uint64 // bad documents that an agent took: a fault
	refused   atomic.Uint64 // good documents that an agent refused: a fault
	wrongSeq  atomic.Uint64 // re-posts answered with another seq: a fault

	mu         sync.Mutex
	firstFault string
}

// worker is one shop with its till and its parcels.
type worker struct {
	shop    *shop
	till    *till
	share   float64
	parcels chan parcel
	crew    *crew
	rng     *rand.Rand
}

type parcel struct {
	out  *document
	from protocol.StoreID
}

// Shares of deliberate nuisance, in thousandths of documents.
const (
	perMilleRepeat   = 10 // the same document again, later
	perMilleParallel = 5  // the same document twice at once
	perMillePoison   = 6
	parcelsMax       = 16
	pollEvery        = 500 * time.Millisecond // how often a quiet shop looks around
)

// newCrew hires one worker per till. Everything random follows seed.
func newCrew(o *oracle, ps []place, tills []*till, seed uint64, speed float64, log zerolog.Logger) *crew {
	c := &crew{oracle: o, speed: speed, start: busyMoment(), began: time.Now(), log: log}
	all := articles(4 * assortmentMax)
	names := make([]protocol.StoreID, len(ps))
	for i, p := range ps {
		names[i] = p.Store
	}
	weights := shares(len(ps))
	for i, p := range ps {
		rng := rand.New(rand.NewPCG(seed, uint64(i)+1))
		var peers []protocol.StoreID
		for k := 1; k <= 3 && k < len(names); k++ {
			peers = append(peers, names[(i+k)%len(names)])
		}
		n := assortmentMax
		c.shops = append(c.shops, &worker{
			shop: newShop(p, newAssortment(all, n, rng), rng, peers), till: tills[i], share: weights[i],
			parcels: make(chan parcel, parcelsMax), crew: c, rng: rng,
		})
	}
	return c
}

// work opens every shop and sells until selling ends; then every till posts
// what it still holds. hard ends everything at once.
func (c *crew) work(hard, selling context.Context) error {
	var wg sync.WaitGroup
	errs := make(chan error, len(c.shops))
	for _, w := range c.shops {
		wg.Go(func() {
			if err := w.run(hard, selling); err != nil {
				errs <- fmt.Errorf("store %s: %w", w.shop.Store, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// rate is documents per second of one worker now.
func (c *crew) rate(share float64) float64 {
	virtual := c.start.Add(time.Duration(float64(time.Since(c.began)) * c.speed))
	return share * basketsPerStoreHour / 3600 * rhythm(virtual) * c.speed
}

// virtual is the profile's clock.
func (c *crew) virtual() time.Time {
	return c.start.Add(time.Duration(float64(time.Since(c.began)) * c.speed))
}

func (w *worker) run(hard, selling context.Context) error {
	if err := w.tell(hard, w.shop.open(time.Now())); err != nil {
		return err
	}
	for {
		// Waiting times are exponential and so have no memory: a long one may
		// be cut at pollEvery and drawn anew, and follows the rhythm.
		wait := time.Duration(w.rng.ExpFloat64() / w.crew.rate(w.share) * float64(time.Second))
		if wait > pollEvery {
			if !pause(selling, pollEvery) {
				return w.finish(hard)
			}
			if err := w.chores(hard); err != nil {
				return err
			}
			continue
		}
		if !pause(selling, wait) {
			return w.finish(hard)
		}
		d := w.shop.next(time.Now())
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

// chores posts what became due meanwhile.
func (w *worker) chores(hard context.Context) error {
	for _, d := range w.shop.backlog(time.Now()) {
		if err := w.tell(hard, d); err != nil {
			return err
		}
	}
	if w.rng.IntN(1000) < perMillePoison {
		w.tellPoison(hard)
	}
	select {
	case p := <-w.parcels:
		return w.tell(hard, w.shop.receive(p.out, p.from, time.Now()))
	default:
		return nil
	}
}

// finish empties the till at closing time.
func (w *worker) finish(hard context.Context) error {
	for _, d := range w.shop.closing() {
		if err := w.tell(hard, d); err != nil {
			return err
		}
	}
	return nil
}

// tell posts one document, now and then more than once, and records it.
func (w *worker) tell(hard context.Context, d *document) error {
	nuisance := w.rng.IntN(1000)
	var a ack
	var err error
	if nuisance < perMilleParallel {
		a, err = w.tellTwice(hard, d)
	} else {
		a, err = w.till.post(hard, d)
	}
	var r *refusal
	switch {
	case errors.As(err, &r):
		w.crew.refused.Add(1)
		w.crew.fault(fmt.Sprintf("%s %s of %s was refused: %v", d.kind, d.DocumentID, w.shop.Store, err))
		return nil
	case err != nil:
		return err
	}
	w.crew.oracle.record(w.shop.Store, d, a.Seq)
	w.crew.posted.Add(1)
	w.crew.lines.Add(uint64(len(d.Lines)))
	if d.Direction == "out" {
		w.crew.ship(parcel{out: d, from: w.shop.Store}, protocol.StoreID(d.Counterparty))
	}
	if nuisance >= perMilleParallel && nuisance < perMilleParallel+perMilleRepeat {
		return w.tellAgain(hard, d, a)
	}
	return nil
}

// tellTwice posts the same document over two connections at once.
func (w *worker) tellTwice(hard context.Context, d *document) (ack, error) {
	var other ack
	var otherErr error
	var wg sync.WaitGroup
	wg.Go(func() { other, otherErr = w.till.post(hard, d) })
	a, err := w.till.post(hard, d)
	wg.Wait()
	if err != nil || otherErr != nil {
		return a, errors.Join(err, otherErr)
	}
	w.crew.repeats.Add(1)
	w.crew.oracle.recordRepeat(w.shop.Store)
	if a.Seq != other.Seq || a.Duplicate == other.Duplicate {
		w.crew.wrongSeq.Add(1)
		w.crew.fault(fmt.Sprintf("%s of %s sent twice at once: seq %d (duplicate %v) and seq %d (duplicate %v)",
			d.DocumentID, w.shop.Store, a.Seq, a.Duplicate, other.Seq, other.Duplicate))
	}
	return a, nil
}

// tellAgain posts an acknowledged document once more.
func (w *worker) tellAgain(hard context.Context, d *document, first ack) error {
	a, err := w.till.post(hard, d)
	if err != nil {
		return err
	}
	w.crew.repeats.Add(1)
	w.crew.oracle.recordRepeat(w.shop.Store)
	if a.Seq != first.Seq || !a.Duplicate {
		w.crew.wrongSeq.Add(1)
		w.crew.fault(fmt.Sprintf("%s of %s sent again: seq %d, duplicate %v; the first answer was seq %d",
			d.DocumentID, w.shop.Store, a.Seq, a.Duplicate, first.Seq))
	}
	return nil
}

// ship hands a parcel to its receiver; a full lorry leaves it in transit.
func (c *crew) ship(p parcel, to protocol.StoreID) {
	for _, w := range c.shops {
		if w.shop.Store == to {
			select {
			case w.parcels <- p:
			default:
			}
			return
		}
	}
}

// fault keeps the first thing that went wrong, in words.
func (c *crew) fault(what string) {
	c.log.Error().Str("fault", what).Msg("agent broke the contract")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.firstFault == "" {
		c.firstFault = what
	}
}

// tellPoison posts a document that no agent may take.
func (w *worker) tellPoison(hard context.Context) {
	kind, body := poison(w.shop, w.rng)
	w.crew.poison.Add(1)
	_, err := w.till.send(hard, path(kind), "application/json", body)
	var r *refusal
	if err == nil || (errors.As(err, &r) && r.Status/100 != 4) {
		w.crew.swallowed.Add(1)
		w.crew.fault(fmt.Sprintf("bad document was not refused with 4xx (%v): %.300s", err, body))
	}
}
