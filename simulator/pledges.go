package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"

	"tillwire/protocol"
)

// pledges are the simulator's own record of web orders: what it was promised, and
// the last word that it said on each and got an answer to. Like the oracle it
// knows only what was acknowledged, and nothing of how reservations are kept.
type pledges struct {
	mu     sync.Mutex
	orders map[string]*pledge
	tally  Orders
}

// pledge is one order.
type pledge struct {
	state   protocol.ReservationState // of our last acknowledged word
	adrift  bool                      // a store refused it: the aggregator may have found another
	unclear bool                      // a word got no clear answer
}

// Orders is what became of the web orders of a run.
type Orders struct {
	Asked     int `json:"asked"`
	Promised  int `json:"promised"`  // answered 201
	Refused   int `json:"refused"`   // not enough stock: a lost sale, no broken promise
	Paid      int `json:"paid"`      // confirmed
	Cancelled int `json:"cancelled"` // by the customer, before they were paid
	Abandoned int `json:"abandoned"` // never paid
	TooLate   int `json:"too_late"`  // paid after they expired, and refused
	Picked    int `json:"picked"`
	Collected int `json:"collected"`
	Oversold  int `json:"oversold"`      // promised, and the shelf did not have it
	Wrong     int `json:"orders_wrong"`  // end in a state that nobody brought about
	Leaked    int `json:"orders_leaked"` // cells whose promised stock is not what open orders hold
	Errors    int `json:"errors"`        // questions without an answer
}

func newPledges() *pledges { return &pledges{orders: map[string]*pledge{}} }

// note changes the tally and, where id is not "", the order's state.
func (p *pledges) note(id string, s protocol.ReservationState, count func(*Orders)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	count(&p.tally)
	if id == "" {
		return
	}
	o := p.orders[id]
	if o == nil {
		o = &pledge{}
		p.orders[id] = o
	}
	o.state = s
	if s == protocol.ReservationRejected {
		o.adrift = true
	}
}

func (p *pledges) doubt(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tally.Errors++
	if o := p.orders[id]; o != nil {
		o.unclear = true
	}
}

func (p *pledges) result() Orders {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tally
}

// may lists the states in which an order can stand at the end, by our own words
// alone.
func (o *pledge) may() []protocol.ReservationState {
	switch o.state {
	case protocol.ReservationHeld:
		return []protocol.ReservationState{protocol.ReservationHeld, protocol.ReservationExpired}
	case protocol.ReservationConfirmed:
		return []protocol.ReservationState{protocol.ReservationConfirmed, protocol.ReservationPending}
	case protocol.ReservationCollected:
		return []protocol.ReservationState{protocol.ReservationCollected, protocol.ReservationShipped}
	case protocol.ReservationRejected:
		return []protocol.ReservationState{protocol.ReservationRejected, protocol.ReservationConfirmed, protocol.ReservationPending}
	default:
		return []protocol.ReservationState{o.state}
	}
}

// judgeOrders compares every order's end with what was said on it, and what the
// chain holds back on each shelf with what its open orders hold.
func (v *Verdict) judgeOrders(ctx context.Context, p *pledges, c *chain) error {
	told, err := c.reservations(ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	ids := make([]string, 0, len(p.orders))
	for id := range p.orders {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		o := p.orders[id]
		v.Orders++
		got, known := told[id]
		switch {
		case o.unclear:
		case !known:
			v.OrdersWrong++
			v.diff(Diff{What: fmt.Sprintf("order %s is %s, and the chain does not know it", id, o.state)})
		case !slices.Contains(o.may(), got.State):
			v.OrdersWrong++
			v.diff(Diff{Store: placeOf(got), What: fmt.Sprintf("order %s must be %s, and is %s", id, o.state, got.State)})
		}
	}
	p.tally.Wrong = v.OrdersWrong
	if err := v.judgeHeld(ctx, told, c); err != nil {
		return err
	}
	p.tally.Leaked = v.OrdersLeaked
	return nil
}

func placeOf(r *protocol.Reservation) protocol.StoreID {
	if len(r.Lines) == 0 {
		return ""
	}
	return r.Lines[0].Location
}

// isOpen tells whether a line still holds goods.
func isOpen(s protocol.ReservationState) bool {
	switch s {
	case protocol.ReservationHeld, protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked:
		return true
	default:
		return false
	}
}

// judgeHeld looks for stock that is held for nobody, or promised and not held.
// Held baskets may expire between the two questions; their cells are left out.
func (v *Verdict) judgeHeld(ctx context.Context, told map[string]*protocol.Reservation, c *chain) error {
	type cell struct {
		store protocol.StoreID
		sku   protocol.SKU
	}
	want, skip := map[cell]protocol.Quantity{}, map[cell]bool{}
	var skus []protocol.SKU
	for _, r := range told {
		for _, l := range r.Lines {
			if c.only != nil && !c.only[string(l.Location)] {
				continue // another run's
			}
			at := cell{l.Location, l.SKU}
			skus = append(skus, l.SKU)
			skip[at] = skip[at] || l.State == protocol.ReservationHeld
			if isOpen(l.State) {
				want[at] += l.Quantity
			} else {
				want[at] += 0
			}
		}
	}
	slices.Sort(skus)
	got, err := c.cells(ctx, slices.Compact(skus))
	if err != nil {
		return err
	}
	for at, q := range want {
		if have := got[at.store][at.sku].promised; !skip[at] && have != q {
			v.OrdersLeaked++
			v.diff(Diff{Store: at.store, SKU: at.sku, Want: q, Got: have, What: "promised stock is not what open orders hold"})
		}
	}
	return nil
}

// reservations lists all of them, by id.
func (c *chain) reservations(ctx context.Context) (map[string]*protocol.Reservation, error) {
	out := map[string]*protocol.Reservation{}
	for after := ""; ; {
		var page struct {
			Reservations []protocol.Reservation `json:"reservations"`
			Next         string                 `json:"next"`
		}
		if err := c.do(ctx, http.MethodGet, "/v1/reservations?limit=1000&after="+url.QueryEscape(after), nil, &page); err != nil {
			return nil, err
		}
		for i := range page.Reservations {
			out[page.Reservations[i].ReservationID] = &page.Reservations[i]
		}
		if after = page.Next; after == "" {
			return out, nil
		}
	}
}

// reserve asks for goods. granted is false where stock does not suffice.
func (c *chain) reserve(ctx context.Context, r *protocol.ReservationRequest) (answer protocol.Reservation, granted bool, err error) {
	b, err := json.Marshal(r)
	if err != nil {
		return answer, false, fmt.Errorf("encode reservation: %w", err)
	}
	status, b, err := c.send(ctx, http.MethodPost, "/v1/reservations", b)
	switch {
	case err != nil:
		return answer, false, err
	case status == http.StatusConflict:
		return answer, false, nil
	case status/100 != 2:
		return answer, false, fmt.Errorf("reserve %s: status %d: %.300s", r.ReservationID, status, b)
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return answer, false, fmt.Errorf("read reservation: %w", err)
	}
	return answer, true, nil
}
