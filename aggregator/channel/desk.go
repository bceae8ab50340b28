package channel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Reservations hold stock. Their answers are durable.
type Reservations struct {
	Reserve func(ctx context.Context, r *protocol.ReservationRequest) (protocol.Reservation, bool, error)
	Confirm func(ctx context.Context, id string) (protocol.Reservation, error)
	Release func(ctx context.Context, id string) (protocol.Reservation, error)
	Fulfil  func(ctx context.Context, id string) (protocol.Reservation, error)
	Split   func(ctx context.Context, id, partID string, lines []protocol.HoldLine) (protocol.Reservation, error)
	Get     func(ctx context.Context, id string) (protocol.Reservation, bool, error)
}

// OrderLine is what a channel sold.
type OrderLine struct {
	ID       string            `json:"id"`
	SKU      protocol.SKU      `json:"sku"`
	Quantity protocol.Quantity `json:"quantity"` // as ordered
	Location protocol.StoreID  `json:"location,omitempty"`
}

// Parcel is a part of an order that went out, or was cancelled. Its id is the
// channel's, so that it counts once however often it is told.
type Parcel struct {
	ID        string
	Cancelled bool
	Total     bool                         // Lines tell all so far, not this part alone
	Lines     map[string]protocol.Quantity // by line
}

// Order is what a channel says of one. Nothing of it is a difference: parcels that
// were told before count once, in whatever order they come.
type Order struct {
	ID      string
	Lines   []OrderLine // nil: it says nothing of them
	Parcels []Parcel
}

// Desk turns a channel's orders into reservations.
//
//	order ──▶ one reservation, confirmed ──parcel──▶ split off ──▶ fulfilled or released
//
// What an open order has come to is a fact of the ledger, written before each step is
// taken and after it: whatever is told again, or after a crash, takes each step once.
type Desk struct {
	Name       string // of the connector: reservations are NAME.ORDER
	Channel    string
	Fulfilment string
	Facts      Facts
	Book       Reservations

	mu sync.Mutex // one order at a time
}

// ErrUnknownOrder tells of a parcel whose order has not come.
var ErrUnknownOrder = errors.New("the order is not known")

// kept is what is known of an open order.
type kept struct {
	Lines   []OrderLine            `json:"lines"`
	Parcels map[string]*keptParcel `json:"parcels,omitempty"`
	Parts   int                    `json:"parts,omitempty"` // reservations split off
	Held    bool                   `json:"held,omitempty"`
	Nothing bool                   `json:"nothing,omitempty"` // no reservation was made: the fact stays, so that the order is known
}

type keptParcel struct {
	Cancelled bool                         `json:"cancelled,omitempty"`
	Lines     map[string]protocol.Quantity `json:"lines"`
	Part      int                          `json:"part,omitempty"` // number of its reservation, once its step began
	Take      []protocol.HoldLine          `json:"take,omitempty"` // what is split off
	Done      bool                         `json:"done,omitempty"`
}

// Outcome is what became of an order.
type Outcome struct {
	News     bool                       // something was new
	Problems []string                   // for a person: promised and not there
	Went     []protocol.ReservationLine // what left its location with this
}

func (d *Desk) fact(order string) string { return "channel/order/" + d.Name + "/" + order }

func (d *Desk) reservation(order string) string { return d.Name + "." + order }

// Take makes an order's state ours. After an error the same call goes on.
func (d *Desk) Take(ctx context.Context, o *Order) (out Outcome, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k := &kept{}
	if err := d.Facts.Load(d.fact(o.ID), k); err != nil {
		return out, err
	}
	if len(k.Lines) == 0 {
		known, err := d.over(ctx, o)
		if err != nil || known {
			return out, err
		}
		if len(o.Lines) == 0 {
			return out, fmt.Errorf("%w: %s", ErrUnknownOrder, o.ID)
		}
		k.Lines = o.Lines
	}
	out.Problems = k.differs(o.Lines)
	changed, err := k.add(o.Parcels)
	if err != nil {
		return out, err
	}
	if !k.Held || changed {
		out.News = true
		if err := d.Facts.Save(ctx, d.fact(o.ID), k); err != nil {
			return out, err
		}
	}
	if !k.Held {
		short, err := d.hold(ctx, o.ID, k)
		if err != nil {
			return out, err
		}
		out.Problems = append(out.Problems, short...)
		k.Held = true
		if err := d.Facts.Save(ctx, d.fact(o.ID), k); err != nil {
			return out, err
		}
	}
	for _, id := range k.open() {
		lacks, went, err := d.step(ctx, o.ID, k, id)
		out.Went = append(out.Went, went...)
		if err != nil {
			return out, err
		}
		out.Problems = append(out.Problems, lacks...)
	}
	if k.closed() && !k.Nothing { // from here on the book of reservations knows
		return out, d.Facts.Put(ctx, d.fact(o.ID), nil)
	}
	return out, nil
}

// over tells an order that is closed: its reservation is known, and its fact is gone.
func (d *Desk) over(ctx context.Context, o *Order) (bool, error) {
	_, err := d.Facts.Read(d.fact(o.ID))
	if !errors.Is(err, ledger.ErrNotFound) {
		return false, err
	}
	_, ok, err := d.Book.Get(ctx, d.reservation(o.ID))
	return ok, err
}

// differs tells what an edit of the order asks for beyond what was held.
func (k *kept) differs(lines []OrderLine) (words []string) {
	for _, l := range lines {
		i := slices.IndexFunc(k.Lines, func(x OrderLine) bool { return x.ID == l.ID })
		switch {
		case i < 0:
			words = append(words, fmt.Sprintf("line %s (%s of %s) was added to the order and is not held", l.ID, l.Quantity, l.SKU))
		case l.Quantity > k.Lines[i].Quantity:
			words = append(words, fmt.Sprintf("line %s was raised from %s to %s; the rest is not held", l.ID, k.Lines[i].Quantity, l.Quantity))
		}
	}
	return words
}

// add takes parcels that are new.
func (k *kept) add(list []Parcel) (changed bool, err error) {
	for _, p := range list {
		if p.Total && !k.since(&p) || k.Parcels[p.ID] != nil {
			continue
		}
		if len(k.Parcels) >= orderPartsMax {
			return changed, fmt.Errorf("the order has more than %d parcels", orderPartsMax)
		}
		if k.Parcels == nil {
			k.Parcels = map[string]*keptParcel{}
		}
		k.Parcels[p.ID] = &keptParcel{Cancelled: p.Cancelled, Lines: p.Lines}
		changed = true
	}
	return changed, nil
}

// since makes a part of a total: what was not told before. false: nothing.
func (k *kept) since(p *Parcel) bool {
	rest, sum := map[string]protocol.Quantity{}, protocol.Quantity(0)
	for line, q := range p.Lines {
		rest[line] = q
		sum += q
	}
	for id, old := range k.Parcels {
		if strings.HasPrefix(id, p.ID+"@") {
			for line, q := range old.Lines {
				rest[line] -= q
			}
		}
	}
	more := false
	for line, q := range rest {
		if q <= 0 {
			delete(rest, line)
			continue
		}
		more = true
	}
	p.ID, p.Lines = fmt.Sprintf("%s@%d", p.ID, sum), rest
	return more
}

// open lists the parcels whose step is to be taken: those that began first, then what
// went out before what was cancelled.
func (k *kept) open() []string {
	var ids []string
	for id, p := range k.Parcels {
		if !p.Done {
			ids = append(ids, id)
		}
	}
	rank := func(id string) string {
		p := k.Parcels[id]
		switch {
		case p.Part > 0:
			return "0" + id
		case !p.Cancelled:
			return "1" + id
		}
		return "2" + id
	}
	slices.SortFunc(ids, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	return ids
}

// closed tells that all that was ordered went out or was cancelled.
func (k *kept) closed() bool {
	left := map[string]protocol.Quantity{}
	for _, l := range k.Lines {
		left[l.ID] += l.Quantity
	}
	for _, p := range k.Parcels {
		if !p.Done {
			return false
		}
		for id, q := range p.Lines {
			left[id] -= q
		}
	}
	for _, q := range left {
		if q > 0 {
			return false
		}
	}
	return true
}

// hold reserves what was ordered, as far as it is there: the sale is made already.
func (d *Desk) hold(ctx context.Context, order string, k *kept) (short []string, err error) {
	id := d.reservation(order)
	req := &protocol.ReservationRequest{
		ReservationID: id, Channel: d.Channel, OrderID: order, Mode: protocol.ModePartial, Fulfilment: d.Fulfilment,
		TTLS: protocol.ReservationTTLMaxS, // it is confirmed at once; should this process die in between, it is confirmed when the order is told again
	}
	for _, l := range k.Lines {
		req.Lines = append(req.Lines, protocol.ReservationRequestLine{SKU: l.SKU, Quantity: l.Quantity, Location: l.Location})
	}
	r, _, err := d.Book.Reserve(ctx, req)
	var p *protocol.Problem
	switch {
	case errors.As(err, &p) && p.Code == "insufficient_stock":
		k.Nothing = true
		return []string{"nothing of the order could be held: " + p.Detail}, nil
	case err != nil:
		return nil, fmt.Errorf("hold order %s: %w", order, err)
	}
	for _, l := range r.Lines {
		if l.Shortfall > 0 {
			short = append(short, fmt.Sprintf("%s of %s could not be held: the channel sold more than there is", l.Shortfall, l.SKU))
		}
	}
	if r.State == protocol.ReservationHeld {
		if _, err := d.Book.Confirm(ctx, id); err != nil {
			return nil, fmt.Errorf("confirm order %s: %w", order, err)
		}
	}
	return short, nil
}

// step takes one parcel off what is held.
func (d *Desk) step(ctx context.Context, order string, k *kept, id string) (lacks []string, went []protocol.ReservationLine, err error) {
	p := k.Parcels[id]
	if p.Part == 0 {
		var want map[protocol.SKU]protocol.Quantity
		if p.Take, want, err = d.measure(ctx, order, k, p); err != nil {
			return nil, nil, err
		}
		for sku, q := range want {
			if q > 0 && !p.Cancelled {
				lacks = append(lacks, fmt.Sprintf("%s of %s went out that were not held; count the shelf they came from", q, sku))
			}
		}
		k.Parts++
		p.Part = k.Parts
		if err := d.Facts.Save(ctx, d.fact(order), k); err != nil { // what is split off is settled before it is
			return nil, nil, err
		}
	}
	if len(p.Take) > 0 {
		part := d.reservation(order) + "." + strconv.Itoa(p.Part)
		if _, err := d.Book.Split(ctx, d.reservation(order), part, p.Take); err != nil {
			return nil, nil, fmt.Errorf("split order %s: %w", order, err)
		}
		end := d.Book.Fulfil
		if p.Cancelled {
			end = d.Book.Release
		}
		r, err := end(ctx, part)
		if err != nil {
			return nil, nil, fmt.Errorf("end part %d of order %s: %w", p.Part, order, err)
		}
		if !p.Cancelled {
			went = r.Lines
		}
	}
	p.Done = true
	return lacks, went, d.Facts.Save(ctx, d.fact(order), k)
}

// measure says how much of a parcel is held, and what is not.
func (d *Desk) measure(ctx context.Context, order string, k *kept, p *keptParcel) (take []protocol.HoldLine, want map[protocol.SKU]protocol.Quantity, err error) {
	r, _, err := d.Book.Get(ctx, d.reservation(order))
	if err != nil {
		return nil, nil, err
	}
	held := map[protocol.SKU]protocol.Quantity{}
	for _, l := range r.Lines {
		switch l.State { //nolint:exhaustive // the others hold nothing
		case protocol.ReservationHeld, protocol.ReservationConfirmed, protocol.ReservationPending, protocol.ReservationAccepted, protocol.ReservationPicked:
			held[l.SKU] += l.Quantity
		}
	}
	want = map[protocol.SKU]protocol.Quantity{}
	var skus []protocol.SKU
	for _, l := range k.Lines {
		if q := p.Lines[l.ID]; q > 0 {
			if want[l.SKU] == 0 {
				skus = append(skus, l.SKU)
			}
			want[l.SKU] += min(q, l.Quantity)
		}
	}
	for _, sku := range skus {
		if n := min(want[sku], held[sku]); n > 0 {
			take = append(take, protocol.HoldLine{SKU: sku, Quantity: n})
			want[sku] -= n
		}
	}
	return take, want, nil
}
