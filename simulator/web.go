package simulator

import (
	"container/heap"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"tillwire/protocol"
)

// shoppers are the customers of the web shop. Each orders, thinks, and pays,
// cancels or forgets. They know the chain by its public API alone.
type shoppers struct {
	crew   *crew
	chain  *chain
	places []place
	report func(string) // a question that failed
}

const (
	shoppersAtOnce = 4
	webLinesMax    = 3
	thinkMean      = 3 * time.Minute // in the story
	webChannel     = "web"
)

// thought is what a customer will do, and when.
type thought struct {
	at    time.Time // in the story
	id    string
	store *worker
	what  func(context.Context, thought)
}

type thoughts []thought

func (t thoughts) Len() int           { return len(t) }
func (t thoughts) Less(i, k int) bool { return t[i].at.Before(t[k].at) }
func (t thoughts) Swap(i, k int)      { t[i], t[k] = t[k], t[i] }
func (t *thoughts) Push(x any)        { *t = append(*t, x.(thought)) } //nolint:forcetypeassert // container/heap
func (t *thoughts) Pop() any {
	old := *t
	x := old[len(old)-1]
	*t = old[:len(old)-1]
	return x
}

// run orders until selling ends. Who has not decided by then, never does.
func (s *shoppers) run(hard, selling context.Context, seed uint64) {
	if s.crew.story.Web.Orders == 0 {
		return
	}
	var wg sync.WaitGroup
	for k := range shoppersAtOnce {
		wg.Go(func() {
			one := &shopper{shoppers: s, no: k, rng: rand.New(rand.NewPCG(seed, 0x77656273686f70+uint64(k)))}
			one.run(hard, selling)
		})
	}
	wg.Wait()
}

type shopper struct {
	*shoppers

	no, n int
	rng   *rand.Rand
	mind  thoughts
}

func (s *shopper) run(hard, selling context.Context) {
	clock := s.crew.clock
	next := s.after(clock.story())
	for {
		until := next
		if len(s.mind) > 0 && s.mind[0].at.Before(until) {
			until = s.mind[0].at
		}
		if wait := clock.real(until.Sub(clock.story())); wait > 0 {
			if !pause(selling, min(wait, lookEvery)) {
				return
			}
			continue
		}
		if selling.Err() != nil {
			return
		}
		if len(s.mind) > 0 && s.mind[0].at.Equal(until) {
			t := heap.Pop(&s.mind).(thought) //nolint:forcetypeassert // container/heap
			t.what(hard, t)
			continue
		}
		next = s.after(next)
		s.order(hard)
	}
}

// after draws when the next order comes.
func (s *shopper) after(at time.Time) time.Time {
	web := s.crew.story.Web
	perHour := web.Orders * float64(len(s.places)) / shoppersAtOnce * rhythm(at)
	since := at.Sub(s.crew.starts)
	for _, r := range s.crew.story.Rushes {
		if since >= r.At.D() && since < (r.At+r.Lasts).D() {
			if r.Web > 0 {
				perHour *= r.Web
			} else {
				perHour *= r.Times
			}
		}
	}
	return at.Add(time.Duration(min(s.rng.ExpFloat64()/perHour, 24) * float64(time.Hour)))
}

// order asks for goods in a store, or anywhere in a region.
func (s *shopper) order(hard context.Context) {
	i := s.rng.IntN(len(s.places))
	w := s.crew.shops[i]
	s.n++
	r := &protocol.ReservationRequest{
		ReservationID: fmt.Sprintf("W%d-%s-%06d", s.no, s.places[i].Store, s.n), Channel: webChannel,
		TTLS: int64(s.crew.story.Web.TTL.D().Seconds()), Fulfilment: protocol.FulfilmentPickup,
	}
	r.OrderID = "ORDER-" + r.ReservationID
	lines := 1 + s.rng.IntN(webLinesMax)
	if s.rng.Float64() < s.crew.story.Web.Ship {
		r.Fulfilment, r.Group, lines = protocol.FulfilmentShip, s.places[i].Region, 1
	}
	_, x := s.crew.rate(1, s.crew.clock.story())
	for range lines {
		k := min(w.shop.goods.fame.pick(s.rng), len(w.shop.goods.articles)/2-1) // what every store carries
		if x.articles > 0 && s.rng.Float64() < x.share {
			k = s.rng.IntN(min(x.articles, len(w.shop.goods.articles)/2))
		}
		l := protocol.ReservationRequestLine{SKU: w.shop.goods.articles[k].SKU, Quantity: protocol.Units(1)}
		if r.Fulfilment == protocol.FulfilmentPickup {
			l.Location = s.places[i].Store
		}
		r.Lines = append(r.Lines, l)
	}
	s.ask(hard, r, w)
}

func (s *shopper) ask(hard context.Context, r *protocol.ReservationRequest, w *worker) {
	book := s.crew.pledge
	got, granted, err := s.chain.reserve(hard, r)
	switch {
	case err != nil:
		if hard.Err() == nil {
			s.report(err.Error())
			book.note("", "", func(o *Orders) { o.Asked++; o.Errors++ })
		}
		return
	case !granted:
		book.note("", "", func(o *Orders) { o.Asked++; o.Refused++ })
		return
	}
	book.note(r.ReservationID, protocol.ReservationHeld, func(o *Orders) { o.Asked++; o.Promised++ })
	if at := s.crew.by[placeOf(&got)]; at != nil {
		w = at
	}
	t := thought{id: r.ReservationID, store: w, at: s.crew.clock.story().Add(time.Duration(s.rng.ExpFloat64() * float64(thinkMean)))}
	web := s.crew.story.Web
	switch x := s.rng.Float64(); {
	case x < web.Abandoned:
		book.note("", "", func(o *Orders) { o.Abandoned++ })
		return
	case x < web.Abandoned+web.Cancelled:
		t.what = s.cancel
	default:
		t.what = s.pay
	}
	heap.Push(&s.mind, t)
}

func (s *shopper) pay(hard context.Context, t thought) {
	if s.command(hard, http.MethodPost, t.id, "/confirm", protocol.ReservationConfirmed, func(o *Orders) { o.Paid++ }) {
		t.store.expect()
	}
}

func (s *shopper) cancel(hard context.Context, t thought) {
	s.command(hard, http.MethodDelete, t.id, "", protocol.ReservationReleased, func(o *Orders) { o.Cancelled++ })
}

// command says a word on an order; done tells that it had its effect. What has
// expired meanwhile stays so, and the answer says it.
func (s *shopper) command(hard context.Context, method, id, verb string, want protocol.ReservationState, count func(*Orders)) (done bool) {
	status, b, err := s.chain.send(hard, method, "/v1/reservations/"+id+verb, nil)
	book := s.crew.pledge
	var got protocol.Reservation
	if err == nil && status/100 == 2 {
		err = json.Unmarshal(b, &got)
	}
	switch {
	case err == nil && status == http.StatusConflict, err == nil && got.State == protocol.ReservationExpired:
		book.note("", "", func(o *Orders) { o.TooLate++ })
	case err == nil && status/100 == 2:
		book.note(id, want, count)
		return true
	case hard.Err() == nil:
		s.report(fmt.Sprintf("%s %s%s: status %d: %.200s %v", method, id, verb, status, b, err))
		book.doubt(id)
	}
	return false
}
