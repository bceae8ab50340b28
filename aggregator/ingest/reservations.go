package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// World is what decisions need to know beyond the fold: how fresh it is, and
// which locations there are. It is asked on ingest's goroutine.
type World interface {
	// Free is what a channel may be promised of a position, holds not taken off.
	Free(c *merge.Cell, channel string, nowUS int64) protocol.Quantity
	// Candidates lists the locations that ever had an article.
	Candidates(sku protocol.SKU, group string) []reserve.Candidate
	Kit(sku protocol.SKU) []protocol.KitComponent
	Sourcing(sku protocol.SKU, nowUS int64) string
	Resource(sku protocol.SKU, loc protocol.StoreID, nowUS int64) bool
}

// stock is the fold as the book of reservations sees it, at one moment.
type stock struct {
	i     *Ingest
	nowUS int64
}

func (s stock) cell(k reserve.Key) merge.Cell {
	c, _ := s.i.cellAt(k.Location, k.SKU)
	return c
}

func (s stock) Free(k reserve.Key, channel string) protocol.Quantity {
	c := s.cell(k)
	return s.i.o.World.Free(&c, channel, s.nowUS)
}

func (s stock) OnHand(k reserve.Key) protocol.Quantity {
	c := s.cell(k)
	return c.OnHand - c.Unavailable
}

func (s stock) Explode(sku protocol.SKU) []protocol.KitComponent { return s.i.o.World.Kit(sku) }
func (s stock) Sourcing(sku protocol.SKU) string                 { return s.i.o.World.Sourcing(sku, s.nowUS) }

func (s stock) Candidates(sku protocol.SKU, group string) []reserve.Candidate {
	return s.i.o.World.Candidates(sku, group)
}

func (s stock) Resource(k reserve.Key) bool {
	return s.i.o.World.Resource(k.SKU, k.Location, s.nowUS)
}

// Rate is how fast a position sells, where an agent journals. It belongs to the
// writer's goroutine, as World's questions do.
func (i *Ingest) Rate(c *merge.Cell) float32 {
	if !i.eng.HasAgents(c.Location) {
		return 0
	}
	return i.eng.Demand.Rate(uint32(c.ID), c.Location, i.lastUS)
}

// Reserve decides on a request. The decision is durable when it is answered.
func (i *Ingest) Reserve(ctx context.Context, r *protocol.ReservationRequest) (protocol.Reservation, bool, error) {
	return i.reservation(ctx, func(s stock) (reserve.Result, *protocol.Problem) { return i.eng.Book.Reserve(r, s, s.nowUS) })
}

// Command carries a command out. ttlS is of extend only.
func (i *Ingest) Command(ctx context.Context, id string, what reserve.Command, ttlS int64) (protocol.Reservation, error) {
	r, _, err := i.reservation(ctx, func(s stock) (reserve.Result, *protocol.Problem) {
		switch what {
		case reserve.Confirm:
			return i.eng.Book.Confirm(id, s, s.nowUS)
		case reserve.Extend:
			return i.eng.Book.Extend(id, ttlS, s.nowUS)
		case reserve.Release:
			return i.eng.Book.Release(id, s.nowUS)
		case reserve.Fulfil:
			return i.eng.Book.Fulfil(id, s, s.nowUS)
		}
		return reserve.Result{}, protocol.NewProblem(404, "unknown_command", "No such command", string(what), "use confirm, extend, fulfil, or DELETE")
	})
	return r, err
}

func (i *Ingest) reservation(ctx context.Context, decide func(stock) (reserve.Result, *protocol.Problem)) (answer protocol.Reservation, created bool, err error) {
	var refused *protocol.Problem
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		res, p := decide(stock{i, nowUS})
		if p != nil {
			refused = p
			return nil //nolint:nilerr // told to the caller; nothing was changed
		}
		answer, created = res.Answer, res.Created
		if res.Change == nil {
			return nil
		}
		if err := i.change(res.Change, nowUS); err != nil {
			return err
		}
		for _, m := range res.Moves {
			if err := i.handOut(&m, nowUS); err != nil {
				return err
			}
		}
		answer.Token = i.token(i.eng.Head())
		return nil
	})
	if err == nil && refused != nil {
		err = refused
	}
	return answer, created, err
}

// change journals a step of the book and puts it into effect.
func (i *Ingest) change(c *reserve.Change, nowUS int64) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode reservation %s: %w", c.Record.ID, err)
	}
	if err := i.journal(protocol.ReservationsOrigin, protocol.KindReservation, c.Record.ID, c.Why, body, nowUS); err != nil {
		return err
	}
	i.eng.Book.Apply(c)
	return nil
}

// handOut journals goods that a reservation's fulfilment takes off a location's
// shelf: the same document that the store's own answer would be, so that only one
// of them counts, and neither beside a sale that names the reservation.
func (i *Ingest) handOut(m *reserve.Move, nowUS int64) error {
	ev := &protocol.Event{
		Kind: protocol.KindHold, Store: m.Location, DocumentID: protocol.HoldDocumentID(m.HoldID, protocol.HoldCollected),
		EventTime: protocol.Stamp{US: nowUS}, HoldID: m.HoldID, Action: protocol.HoldCollected, Source: "reservations",
	}
	for n, l := range m.Lines {
		ev.Lines = append(ev.Lines, protocol.Line{Line: n + 1, SKU: l.SKU, Quantity: l.Quantity})
	}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	_, _, err := i.append(protocol.Origin{Store: m.Location, Agent: protocol.ReservationsOrigin.Agent}, ev, nowUS)
	return err
}

// journal writes a decision of the aggregator's own into one of its journals.
func (i *Ingest) journal(o protocol.Origin, kind protocol.Kind, about, action string, body []byte, nowUS int64) error {
	s := i.session(o)
	ev := &protocol.Event{
		Kind: kind, Store: o.Store, DocumentID: fmt.Sprintf("%d", s.mark.Seq+1), EventTime: protocol.Stamp{US: nowUS},
		HoldID: about, Action: action, Body: body,
	}
	ev.ID = protocol.MakeEventID(ev.Store, kind, ev.DocumentID)
	out, _, err := i.append(o, ev, nowUS)
	if err == nil && out.Verdict != merge.Merged {
		err = fmt.Errorf("journal %s %s: %s: %s", kind, about, out.Code, out.Reason)
	}
	return err
}

// append merges one event into a journal that the aggregator keeps.
func (i *Ingest) append(o protocol.Origin, ev *protocol.Event, nowUS int64) (merge.Outcome, string, error) {
	s := i.session(o)
	if s.mark.Epoch == 0 {
		s.mark.Epoch, s.mark.Lease = 1, 1
	}
	us := max(nowUS, s.mark.RecordUS+1)
	rec := protocol.AppendRecord(nil, us, ev)
	in := merge.Input{Origin: i.eng.Origin(o), Epoch: s.mark.Epoch, Seq: s.mark.Seq + 1, MergedUS: nowUS, Record: rec}
	out, id, err := i.apply(in, o)
	if err != nil || out.Verdict == merge.Duplicate {
		return out, id, err
	}
	s.mark.Seq++
	s.mark.HeadSeen = s.mark.Seq
	s.assume()
	s.mark.Chain = s.mark.Chain.Next(rec)
	s.mark.RecordUS, s.mark.MergedUS = us, nowUS
	s.merged++
	i.owe(s)
	return out, id, nil
}

// settle follows up on what a batch did: promises that stock no longer covers,
// and what a store rejected. It journals within the same commit.
func (i *Ingest) settle(nowUS int64) error {
	s := stock{i, nowUS}
	for _, id := range i.rejected {
		if c := i.eng.Book.Resource(id, s, nowUS); c != nil {
			if err := i.change(c, nowUS); err != nil {
				return err
			}
		}
	}
	i.rejected = i.rejected[:0]
	keys := i.eng.Book.TakeTouched()
	touched := len(keys)
	if len(keys) == 0 && i.eng.Book.Len() == 0 {
		return nil
	}
	i.eng.EachDirty(func(c merge.Cell) {
		if r, a := i.eng.Book.Held(reserve.Key{Location: c.Location, SKU: c.SKU}, nowUS); r+a > 0 {
			keys = append(keys, reserve.Key{Location: c.Location, SKU: c.SKU})
		}
	})
	if len(keys) == 0 {
		return nil
	}
	for _, c := range i.eng.Book.Conflicts(keys, s, nowUS) {
		body, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("encode reservation %s: %w", c.Record.ID, err)
		}
		action := c.Why
		if c.Why == "at_risk" {
			breach, err := i.broken(c, nowUS)
			if err != nil {
				return err
			}
			if breach {
				action = actionEscrow
			}
		}
		if err := i.journal(protocol.ReservationsOrigin, protocol.KindReservation, c.Record.ID, action, body, nowUS); err != nil {
			return err
		}
	}
	i.held = append(i.held, keys[:touched]...)
	i.held = append(i.held, i.eng.Book.TakeTouched()...)
	return nil
}

// broken opens an exception for a promise that stock no longer covers. It tells
// whether that is because the location sold more than its escrow while it was dark.
func (i *Ingest) broken(c *reserve.Change, nowUS int64) (escrow bool, err error) {
	r := &c.Record
	for n := range r.Lines {
		l := &r.Lines[n]
		if !l.Risk {
			continue
		}
		x := protocol.Exception{
			ID: promiseID(r.ID), State: "open", Code: "promise_at_risk", Counted: true, About: r.ID,
			Origin: protocol.Origin{Store: l.Location, Agent: protocol.ReservationsOrigin.Agent}, At: time.UnixMicro(nowUS).UTC(),
		}
		cell, _ := i.cellAt(l.Location, l.SKU)
		x.Reason = fmt.Sprintf("%s of %s at %s are promised to %s (%s), but %s are on hand there. Source it elsewhere, or tell the customer; recount the shelf.", l.Quantity, l.SKU, l.Location, r.ID, r.Channel, cell.OnHand)
		units, sold, err := i.breach(l.SKU, l.Location, nowUS)
		if err != nil {
			return false, err
		}
		if sold > units {
			x.Code, escrow = "escrow_breach", true
			x.Reason = fmt.Sprintf("the store sold %s while nobody heard of it, more than the %s in its escrow. %s", sold, units, x.Reason)
		}
		i.exceptions = append(i.exceptions, x)
		i.o.Log.Warn().Str("store", string(l.Location)).Str("reservation", r.ID).Str("sku", string(l.SKU)).Msg("promised stock is gone")
	}
	return escrow, nil
}

// calm closes the exceptions of promises that are at risk no longer. What is on its way
// has landed: they may have been opened by it.
func (i *Ingest) calm(nowUS int64) error {
	for _, id := range i.eng.Book.TakeCalm() {
		if r, ok := i.eng.Book.Get(id, nowUS); ok && r.AtRisk { // again, in the same batch
			continue
		}
		_, refused, err := i.decideOne(promiseID(id), nowUS, func(_ *Ingest, x *protocol.Exception, nowUS int64) error {
			x.State, x.Note, x.DecidedAt = "retried", "the promise is covered, released, moved or handed out", time.UnixMicro(nowUS).UTC()
			return nil
		})
		if err != nil {
			return err
		}
		if refused != nil {
			i.o.Log.Debug().Str("reservation", id).Err(refused).Msg("broken promise was closed before")
		}
	}
	return nil
}

// promiseID names the exception of a reservation's broken promise.
func promiseID(reservation string) string { return "promise-" + shortHash(reservation) }

// breach is what a location has in escrow of an article, and what it sold of it while
// it was dark: more, where the escrow is broken. Of a kit it is the part that is.
func (i *Ingest) breach(sku protocol.SKU, loc protocol.StoreID, nowUS int64) (units, sold protocol.Quantity, err error) {
	if i.o.Escrow == nil {
		return 0, 0, nil
	}
	parts := []protocol.SKU{sku}
	if kit := i.o.World.Kit(sku); len(kit) > 0 {
		parts = parts[:0]
		for _, p := range kit {
			parts = append(parts, p.SKU)
		}
	}
	for _, part := range parts {
		e, darkUS := i.o.Escrow(part, loc)
		id, ok := i.eng.Lookup(loc, part)
		if e <= 0 || darkUS <= 0 || !ok {
			continue
		}
		q, err := i.eng.Unheard(id, darkUS, escrowReadsMax)
		if err != nil {
			return 0, 0, err
		}
		here := i.eng.Cell(id)
		for _, s := range i.stores[loc] { // what is announced of a silence, and on its way
			if s.lane != nil && s.lane.fold != nil && nowUS-s.mark.RecordUS > darkUS {
				with := here
				s.lane.over(&with)
				q += here.OnHand - with.OnHand
			}
		}
		if q > e {
			return e, q, nil
		}
	}
	return 0, 0, nil
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// Reservation returns one as it stands now.
func (i *Ingest) Reservation(ctx context.Context, id string) (r protocol.Reservation, ok bool, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		r, ok = i.eng.Book.Get(id, nowUS)
		return nil
	})
	return r, ok, err
}

// Reservations lists those that a filter matches.
func (i *Ingest) Reservations(ctx context.Context, f reserve.Filter) (list []protocol.Reservation, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		list = i.eng.Book.List(f, nowUS)
		return nil
	})
	return list, err
}

// HoldsAt lists who holds a position.
func (i *Ingest) HoldsAt(ctx context.Context, k reserve.Key) (holds []protocol.ExplainHold, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		holds = i.eng.Book.HoldsAt(k, nowUS)
		return nil
	})
	return holds, err
}

// Split makes part of a reservation one of its own, see reserve.Book.Split.
func (i *Ingest) Split(ctx context.Context, id, partID string, lines []protocol.HoldLine) (answer protocol.Reservation, err error) {
	var refused *protocol.Problem
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		changes, a, p := i.eng.Book.Split(id, partID, lines, nowUS)
		if p != nil {
			refused = p
			return nil //nolint:nilerr // told to the caller; nothing was changed
		}
		answer = a
		for _, c := range changes {
			if err := i.change(c, nowUS); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && refused != nil {
		err = refused
	}
	return answer, err
}
