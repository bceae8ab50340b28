package reserve

import (
	"fmt"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"tillwire/protocol"
)

// reach drives a reservation "r" of two X at S1 into a state.
func reach(t tester, st protocol.ReservationState) *desk {
	d := newDesk(t)
	q := ask("r", want("X", 2, "S1"))
	q.Fulfilment = protocol.FulfilmentPickup
	d.reserve(q)
	steps := map[protocol.ReservationState]func(){
		protocol.ReservationHeld:      func() {},
		protocol.ReservationConfirmed: func() { d.do(d.b.Confirm("r", d.s, d.now)) },
		protocol.ReservationPending: func() {
			d.do(d.b.Confirm("r", d.s, d.now))
			for _, c := range d.b.Delivered("S1", d.b.Rev("S1"), d.now) {
				d.change(c)
			}
		},
		protocol.ReservationAccepted: func() {
			d.do(d.b.Confirm("r", d.s, d.now))
			d.observe(reply("S1", "r", protocol.HoldAccept))
		},
		protocol.ReservationPicked: func() {
			d.do(d.b.Confirm("r", d.s, d.now))
			d.observe(reply("S1", "r", protocol.HoldPicked))
		},
		protocol.ReservationCollected: func() { d.do(d.b.Fulfil("r", d.s, d.now)) },
		protocol.ReservationReleased:  func() { d.do(d.b.Release("r", d.now)) },
		protocol.ReservationExpired:   func() { d.now += 101 * sec },
		protocol.ReservationRejected: func() {
			d.do(d.b.Confirm("r", d.s, d.now))
			d.observe(reply("S1", "r", protocol.HoldReject))
		},
	}
	steps[st]()
	d.is(d.state("r"), string(st))
	return d
}

// TestEveryCommandInEveryState: what each comes to, and what is held then.
func TestEveryCommandInEveryState(t *testing.T) {
	const no = "reservation_state"
	for _, c := range []struct {
		state                             protocol.ReservationState
		confirm, extend, release, fulfil  string
		accept, picked, reject, collected string
		again                             string // the same request once more
	}{
		{"held", "confirmed", "held", "released", "collected", "held", "held", "held", "collected", "held"},
		{"confirmed", "confirmed", no, "released", "collected", "accepted", "picked", "rejected", "collected", "confirmed"},
		{"pending", "pending", no, "released", "collected", "accepted", "picked", "rejected", "collected", "pending"},
		{"accepted", "accepted", no, "released", "collected", "accepted", "picked", "rejected", "collected", "accepted"},
		{"picked", "picked", no, "released", "collected", "picked", "picked", "rejected", "collected", "picked"},
		{"collected", no, no, no, "collected", "collected", "collected", "collected", "collected", "collected"},
		{"released", no, no, "released", "collected", "released", "released", "released", "collected", "released"},
		{"expired", "confirmed", no, "expired", "collected", "expired", "expired", "expired", "collected", "expired"},
		{"rejected", no, no, "rejected", no, "rejected", "rejected", "rejected", "collected", "rejected"},
	} {
		command := func(fn func(*desk) (Result, *protocol.Problem)) func(*desk) string {
			return func(d *desk) string {
				_, st := d.do(fn(d))
				return st
			}
		}
		answer := func(action string) func(*desk) string {
			return func(d *desk) string {
				d.observe(reply("S1", "r", action))
				return d.state("r")
			}
		}
		for _, x := range []struct {
			name, want string
			do         func(*desk) string
		}{
			{"confirm", c.confirm, command(func(d *desk) (Result, *protocol.Problem) { return d.b.Confirm("r", d.s, d.now) })},
			{"extend", c.extend, command(func(d *desk) (Result, *protocol.Problem) { return d.b.Extend("r", 60, d.now) })},
			{"release", c.release, command(func(d *desk) (Result, *protocol.Problem) { return d.b.Release("r", d.now) })},
			{"fulfil", c.fulfil, command(func(d *desk) (Result, *protocol.Problem) { return d.b.Fulfil("r", d.s, d.now) })},
			{"accept", c.accept, answer(protocol.HoldAccept)},
			{"picked", c.picked, answer(protocol.HoldPicked)},
			{"reject", c.reject, answer(protocol.HoldReject)},
			{"collected", c.collected, answer(protocol.HoldCollected)},
			{"the same request", c.again, command(func(d *desk) (Result, *protocol.Problem) {
				q := ask("r", want("X", 2, "S1"))
				q.Fulfilment = protocol.FulfilmentPickup
				res, p := d.b.Reserve(q, d.s, d.now)
				if res.Created || res.Change != nil {
					d.t.Fatal("held a second time")
				}
				return res, p
			})},
		} {
			t.Run(fmt.Sprintf("%s %s", x.name, c.state), func(t *testing.T) {
				d := reach(t, c.state)
				shelf := d.s.onHand[at("S1", "X")]
				got := x.do(d)
				d.is(got, x.want)
				if got == no {
					got = string(c.state)
				}
				d.heldIn(got)
				if left := d.s.onHand[at("S1", "X")]; left != shelf && (x.name != "fulfil" || c.state == "collected" || shelf-left != 2000) {
					t.Fatalf("the shelf went from %s to %s", shelf, left)
				}
			})
		}
	}
}

// heldIn checks what a state takes from S1's X.
func (d *desk) heldIn(state string) {
	d.t.Helper()
	switch state {
	case "held":
		d.held("S1", "X", 2, 0)
	case "confirmed", "pending", "accepted", "picked":
		d.held("S1", "X", 0, 2)
	default:
		d.held("S1", "X", 0, 0)
	}
}

// Illegal transitions say which state it is in and what can be done.
func TestRefusalsNameStateAndRemedy(t *testing.T) {
	d := reach(t, protocol.ReservationCollected)
	_, p := d.b.Release("r", d.now)
	if p == nil || p.Status != 409 || p.Detail != "reservation r is collected and cannot be released" || p.Hint == "" {
		t.Errorf("%+v", p)
	}
	d = newDesk(t)
	_, p = d.b.Reserve(ask("r", want("X", 9, "S1"), want("W", 1, "T3"), want("Y", 3, "S1")), d.s, d.now)
	if p == nil || len(p.Shortfalls) != 2 || p.Shortfalls[1] != (protocol.Shortfall{Line: 2, SKU: "Y", Location: "S1", Requested: 3000, Available: 2000}) || p.Errors[1].Pointer != "/lines/2/quantity" {
		t.Errorf("%+v", p)
	}
}

// TestLostUpdateUnderConcurrency: many ask at once, one writer decides and applies.
func TestLostUpdateUnderConcurrency(t *testing.T) {
	d := newDesk(t)
	var writer sync.Mutex
	var all sync.WaitGroup
	held := 0
	for i := range 64 {
		all.Go(func() {
			for n := range 4 {
				writer.Lock()
				res, p := d.b.Reserve(ask(fmt.Sprintf("r%d-%d", i, n), want("X", 1, "S1")), d.s, d.now)
				if p == nil {
					d.b.Apply(res.Change)
					held++
				}
				writer.Unlock()
			}
		})
	}
	all.Wait()
	if held != 5 {
		t.Fatalf("%d of 5 were promised", held)
	}
	d.held("S1", "X", 5, 0)
}

// TestReservationIsNeverLeaked: from whatever state, time or one release ends it.
func TestReservationIsNeverLeaked(t *testing.T) {
	for _, st := range states {
		if st == protocol.ReservationShipped {
			continue
		}
		d := reach(t, st)
		d.now += 1000 * sec
		d.do(d.b.Release("r", d.now))
		d.held("S1", "X", 0, 0)
		if d.b.Live() != 0 || len(d.b.place("S1").skus) != 0 || d.b.place("S1").tasks.len() != 0 {
			t.Errorf("%s leaves something behind", st)
		}
		d.now += 2 * rememberUS
		d.b.Advance(d.now)
		if d.b.Len() != 0 || len(d.b.orders) != 0 {
			t.Errorf("%s is never forgotten", st)
		}
	}
}

// plain is the same book without any index: lines in a list, walked for each
// question, expiry looked up when asked.
type plain struct {
	now  int64
	list []*plainHold
}

type plainHold struct {
	id      string
	expires int64
	taken   map[Key]protocol.Quantity
	firm    bool
	over    protocol.ReservationState
}

func (p *plain) state(h *plainHold) protocol.ReservationState {
	switch {
	case h.over != "":
		return h.over
	case h.firm:
		return protocol.ReservationConfirmed
	case p.now >= h.expires:
		return protocol.ReservationExpired
	}
	return protocol.ReservationHeld
}

func (p *plain) held(k Key) (reserved, allocated protocol.Quantity) {
	for _, h := range p.list {
		switch p.state(h) { //nolint:exhaustive // the others hold nothing
		case protocol.ReservationHeld:
			reserved += h.taken[k]
		case protocol.ReservationConfirmed:
			allocated += h.taken[k]
		}
	}
	return reserved, allocated
}

func (p *plain) fits(s *shelf, taken map[Key]protocol.Quantity) bool {
	for k, q := range taken {
		if r, a := p.held(k); r+a+q > s.onHand[k] {
			return false
		}
	}
	return true
}

func (p *plain) find(id string) *plainHold {
	for _, h := range p.list {
		if h.id == id {
			return h
		}
	}
	return nil
}

// command is what a command comes to.
func (p *plain) command(what, id string, s *shelf) string {
	h := p.find(id)
	if h == nil {
		return "unknown_reservation"
	}
	st := p.state(h)
	over := st == protocol.ReservationExpired || st == protocol.ReservationReleased
	switch {
	case what == "confirm" && st == protocol.ReservationExpired && !p.fits(s, h.taken):
		return "reservation_expired"
	case what == "confirm" && (st == protocol.ReservationHeld || st == protocol.ReservationExpired):
		h.firm = true
	case what == "confirm" && st == protocol.ReservationConfirmed:
	case what == "extend" && st == protocol.ReservationHeld:
		h.expires = p.now + 50*sec
	case what == "release" && over:
	case what == "release" && (st == protocol.ReservationHeld || st == protocol.ReservationConfirmed):
		h.over = protocol.ReservationReleased
	case what == "fulfil" && st == protocol.ReservationShipped:
	case what == "fulfil" && over && !p.fits(s, h.taken):
		return "insufficient_stock"
	case what == "fulfil":
		h.over = protocol.ReservationShipped
	default:
		return "reservation_state"
	}
	return string(p.state(h))
}

// TestBookEqualsThePlainModel draws commands, and asks both.
func TestBookEqualsThePlainModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &desk{t: t, b: New(), s: newShelf(), now: sec}
		p := &plain{now: sec}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			d.now += rapid.SampledFrom([]int64{0, 1, 49 * sec, 50 * sec, 100 * sec}).Draw(t, "later")
			p.now = d.now
			id := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "id")
			what := rapid.SampledFrom([]string{"reserve", "reserve", "confirm", "extend", "release", "fulfil"}).Draw(t, "what")
			if what == "reserve" && p.find(id) == nil {
				d.both(t, p, id)
				continue
			}
			w := p.command(what, id, d.s)
			var got string
			switch what {
			case "reserve":
				got, w = d.state(id), string(p.state(p.find(id)))
			case "confirm":
				_, got = d.do(d.b.Confirm(id, d.s, d.now))
			case "extend":
				_, got = d.do(d.b.Extend(id, 50, d.now))
			case "release":
				_, got = d.do(d.b.Release(id, d.now))
			case "fulfil":
				_, got = d.do(d.b.Fulfil(id, d.s, d.now))
			}
			if got != w {
				t.Fatalf("%s %s: %s, the model says %s", what, id, got, w)
			}
			d.equals(t, p)
		}
	})
}

// both asks the book and the model for new stock.
func (d *desk) both(t *rapid.T, p *plain, id string) {
	var lines []protocol.ReservationRequestLine
	taken := map[Key]protocol.Quantity{}
	for range rapid.IntRange(1, 3).Draw(t, "lines") {
		l := want(rapid.SampledFrom([]string{"X", "Y", "SET"}).Draw(t, "sku"), rapid.Int64Range(1, 3).Draw(t, "qty"), rapid.SampledFrom([]string{"S1", "S2"}).Draw(t, "loc"))
		lines = append(lines, l)
		(&Line{Location: l.Location, SKU: l.SKU, Quantity: l.Quantity, Parts: d.s.kits[l.SKU]}).each(func(k Key, q protocol.Quantity) { taken[k] += q })
	}
	w := "insufficient_stock"
	if p.fits(d.s, taken) {
		w = "held"
		p.list = append(p.list, &plainHold{id: id, expires: p.now + 100*sec, taken: taken})
	}
	if _, got := d.reserve(ask(id, lines...)); got != w {
		t.Fatalf("%v: %s, the model says %s", lines, got, w)
	}
	d.equals(t, p)
}

func (d *desk) equals(t *rapid.T, p *plain) {
	for k := range d.s.onHand {
		r, a := d.b.Held(k, d.now)
		if wr, wa := p.held(k); r != wr || a != wa {
			t.Fatalf("%v: %s and %s are held, the model says %s and %s", k, r, a, wr, wa)
		}
	}
}
