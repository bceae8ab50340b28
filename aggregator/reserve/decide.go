package reserve

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"strings"

	"tillwire/protocol"
)

// Command is what may be asked of a reservation that exists.
type Command string

// The commands.
const (
	Confirm Command = "confirm"
	Extend  Command = "extend"
	Release Command = "release"
	Fulfil  Command = "fulfil"
)

// Result is what a command came to.
type Result struct {
	Change  *Change // to be journaled, then applied; nil: a repeat, nothing is new
	Answer  protocol.Reservation
	Created bool
	Moves   []Move // fulfil: goods that leave a location with this step
}

// Move is goods handed out at a location: a collected answer of the store.
type Move struct {
	Location protocol.StoreID
	HoldID   string
	Lines    []protocol.HoldLine
}

func refuse(code, title, detail, hint string) *protocol.Problem {
	return protocol.NewProblem(409, code, title, detail, hint)
}

// Reserve holds stock for a request that has been checked, or answers an earlier
// one of the same id and body.
func (b *Book) Reserve(r *protocol.ReservationRequest, s Stock, nowUS int64) (Result, *protocol.Problem) {
	b.Advance(nowUS)
	rec := Record{
		ID: r.ReservationID, Channel: r.Channel, Order: r.OrderID, Mode: or(r.Mode, protocol.ModeAllOrNothing),
		Fulfilment: or(r.Fulfilment, protocol.FulfilmentDelivery), Group: r.Group, Sourcing: r.Sourcing,
		CreatedUS: b.nowUS, UpdatedUS: b.nowUS, ExpiresUS: b.nowUS + ttlUS(r.TTLS),
	}
	rec.Hash = b.hashOf(&rec, ttlUS(r.TTLS), r.Lines)
	if e := b.all[r.ReservationID]; e != nil {
		if e.Hash != rec.Hash && e.Hash != 0 { // 0: its store brought it back, its request is not known
			return Result{}, refuse("reservation_id_reused", "The reservation id belongs to another request",
				fmt.Sprintf("reservation %s was made with another body and is %s", e.ID, e.state()), "use an id of its own for each request; repeat a request with exactly the same body")
		}
		return Result{Answer: e.answer()}, nil
	}
	if len(b.all)-b.closed.Len() >= liveMax {
		return Result{}, protocol.NewProblem(503, "reservations_full", "The book of reservations is full",
			fmt.Sprintf("%d reservations hold stock", liveMax), "release what is not needed, or ask again when holds have expired")
	}
	lines, short := b.table(s, &rec).seat(r.Lines)
	if len(short) > 0 && (rec.Mode == protocol.ModeAllOrNothing || !anyHeld(lines)) {
		return Result{}, insufficient(short)
	}
	rec.Lines = lines
	if rec.exceeds(requestBytesMax) {
		return Result{}, protocol.NewProblem(422, "reservation_too_large", "The reservation is too large to be kept",
			fmt.Sprintf("its %d lines and their kits' parts take more than %d bytes", len(lines), requestBytesMax), "reserve in several requests, with an id each")
	}
	return Result{Change: change("reserve", rec), Answer: rec.answer(), Created: true}, nil
}

// ttlUS of a request's or an extension's seconds.
func ttlUS(s int64) int64 {
	if s <= 0 {
		s = protocol.ReservationTTLUsualS
	}
	return min(s, protocol.ReservationTTLMaxS) * usPerS
}

func anyHeld(lines []Line) bool {
	for i := range lines {
		if lines[i].live() {
			return true
		}
	}
	return false
}

// insufficient is the 409 with what each line lacked.
func insufficient(short []protocol.Shortfall) *protocol.Problem {
	var words []string
	p := refuse("insufficient_stock", "There is not enough stock", "", "ask for less, for another location, or with mode partial; shortfalls[] says what each line lacks")
	for _, x := range short {
		at := ""
		if x.Location != "" {
			at = " at " + string(x.Location)
		}
		m := fmt.Sprintf("%s of %s%s requested, %s available", x.Requested, x.SKU, at, x.Available)
		words = append(words, m)
		p.Errors = append(p.Errors, protocol.FieldError{Pointer: fmt.Sprintf("/lines/%d/quantity", x.Line), Message: m})
	}
	p.Detail = strings.Join(words, "; ")
	p.Shortfalls = short
	return p
}

// hashOf is over what a request means: defaults are spelt out, and its trace may
// differ in a repeat. Each text stands behind its length. The form is on disk by
// its hash: changing it makes repeats of older requests look like others.
func (b *Book) hashOf(r *Record, ttlUS int64, lines []protocol.ReservationRequestLine) uint64 {
	w := b.scratch[:0]
	for _, s := range [...]string{r.ID, r.Channel, r.Order, r.Mode, r.Fulfilment, r.Group, r.Sourcing} {
		w = appendText(w, s)
	}
	w = binary.AppendVarint(w, ttlUS)
	for i := range lines {
		w = appendText(appendText(w, lines[i].SKU), lines[i].Location)
		w = binary.AppendVarint(w, int64(lines[i].Quantity))
	}
	b.scratch = w
	sum := sha256.Sum256(w)
	return binary.BigEndian.Uint64(sum[:])
}

func or[T ~string](s, otherwise T) T {
	if s == "" {
		return otherwise
	}
	return s
}

// Confirm makes a hold firm: from here on it does not expire. One that has
// expired is honoured where stock remains.
func (b *Book) Confirm(id string, s Stock, nowUS int64) (Result, *protocol.Problem) {
	e, p := b.find(id, nowUS)
	if p != nil {
		return Result{}, p
	}
	switch st := e.state(); st { //nolint:exhaustive // the others are told below
	case protocol.ReservationHeld:
	case protocol.ReservationExpired:
		if short := b.table(s, &e.Record).again(&e.Record); len(short) > 0 {
			q := insufficient(short)
			q.Code, q.Title = "reservation_expired", "The reservation has expired, and its stock is gone"
			return Result{}, q
		}
	case protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked:
		return Result{Answer: e.answer()}, nil
	default:
		return Result{}, wrongState(e, "confirmed", "held")
	}
	r := e.copy(b.nowUS)
	for i := range r.Lines {
		if l := &r.Lines[i]; l.reserves() || l.State == protocol.ReservationExpired {
			l.State = protocol.ReservationConfirmed
		}
	}
	r.ExpiresUS = 0
	return Result{Change: change("confirm", r), Answer: r.answer()}, nil
}

// Extend gives a hold ttlS seconds from now; 0 is the usual time.
func (b *Book) Extend(id string, ttlS int64, nowUS int64) (Result, *protocol.Problem) {
	e, p := b.find(id, nowUS)
	if p != nil {
		return Result{}, p
	}
	if e.state() != protocol.ReservationHeld {
		return Result{}, wrongState(e, "extended", "held")
	}
	r := e.copy(b.nowUS)
	r.ExpiresUS = b.nowUS + ttlUS(ttlS)
	return Result{Change: change("extend", r), Answer: r.answer()}, nil
}

// Release gives back what is live of a reservation. What is over already stays
// as it is.
func (b *Book) Release(id string, nowUS int64) (Result, *protocol.Problem) {
	e, p := b.find(id, nowUS)
	if p != nil {
		return Result{}, p
	}
	if !e.live() {
		switch e.state() { //nolint:exhaustive // goods that have left cannot be given back
		case protocol.ReservationCollected, protocol.ReservationShipped:
			return Result{}, wrongState(e, "released", "held, confirmed, pending, accepted or picked")
		}
		return Result{Answer: e.answer()}, nil
	}
	r := e.copy(b.nowUS)
	for i := range r.Lines {
		if r.Lines[i].live() {
			r.Lines[i].State, r.Lines[i].Risk = protocol.ReservationReleased, false
		}
	}
	r.ExpiresUS = 0
	return Result{Change: change("release", r), Answer: r.answer()}, nil
}

// Fulfil says that the goods are handed out: hold and stock are consumed, once,
// whatever the stores' own answers and sales say of it later.
func (b *Book) Fulfil(id string, s Stock, nowUS int64) (Result, *protocol.Problem) {
	e, p := b.find(id, nowUS)
	if p != nil {
		return Result{}, p
	}
	done := protocol.ReservationCollected
	if e.Fulfilment != protocol.FulfilmentPickup {
		done = protocol.ReservationShipped
	}
	late := false
	switch e.state() { //nolint:exhaustive // live states go on
	case protocol.ReservationCollected, protocol.ReservationShipped:
		return Result{Answer: e.answer()}, nil
	case protocol.ReservationExpired, protocol.ReservationReleased:
		late = true
		if short := b.table(s, &e.Record).again(&e.Record); len(short) > 0 {
			return Result{}, insufficient(short)
		}
	case protocol.ReservationRejected:
		return Result{}, wrongState(e, "fulfilled", "held, confirmed, pending, accepted or picked")
	}
	r := e.copy(b.nowUS)
	res := Result{}
	for i := range r.Lines {
		l := &r.Lines[i]
		if !l.live() && !(late && (l.State == protocol.ReservationExpired || l.State == protocol.ReservationReleased)) {
			continue
		}
		l.State, l.Risk = done, false
		res.move(r.ID, l)
	}
	r.ExpiresUS = 0
	res.Change, res.Answer = change("fulfil", r), r.answer()
	return res, nil
}

// move adds a line's goods to what leaves its location.
func (res *Result) move(id string, l *Line) {
	at := -1
	for i := range res.Moves {
		if res.Moves[i].Location == l.Location {
			at = i
		}
	}
	if at < 0 {
		at = len(res.Moves)
		res.Moves = append(res.Moves, Move{Location: l.Location, HoldID: id})
	}
	m := &res.Moves[at]
	l.each(func(k Key, q protocol.Quantity) {
		m.Lines = append(m.Lines, protocol.HoldLine{SKU: k.SKU, Quantity: q})
	})
}

func (b *Book) find(id string, nowUS int64) (*entry, *protocol.Problem) {
	b.Advance(nowUS)
	if e := b.all[id]; e != nil {
		return e, nil
	}
	return nil, protocol.NewProblem(404, "unknown_reservation", "No such reservation", fmt.Sprintf("reservation %q is not known", id),
		"check the id; what is over is forgotten after 7 days")
}

func wrongState(e *entry, what, from string) *protocol.Problem {
	return refuse("reservation_state", "The reservation's state does not allow this",
		fmt.Sprintf("reservation %s is %s and cannot be %s", e.ID, e.state(), what), "only what is "+from+" can be "+what+"; reserve anew under another id")
}
