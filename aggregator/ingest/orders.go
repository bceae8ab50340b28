package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"tillwire/aggregator/orders"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// factOrders keeps what an agent is to be like and to do. It is written in the
// commit that merges an answer, so that an order and its answer are never apart.
const factOrders = "orders/"

// ordersOf reads an agent's orders when they are first asked for. nil, nil where
// there are none.
func (i *Ingest) ordersOf(o protocol.Origin) (*orders.Orders, error) {
	s := i.session(o)
	if s.ordersRead {
		return s.orders, nil
	}
	b, err := i.o.Ledger.Fact(factOrders + o.String())
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return nil, fmt.Errorf("read orders of %s: %w", o, err)
	default:
		s.orders = &orders.Orders{}
		if err := json.Unmarshal(b, s.orders); err != nil {
			return nil, fmt.Errorf("read orders of %s: %w: %w", o, ledger.ErrCorrupt, err)
		}
	}
	s.ordersRead = true
	return s.orders, nil
}

// keepOrders adds them to the open batch.
func (i *Ingest) keepOrders(o protocol.Origin, x *orders.Orders) error {
	b, err := json.Marshal(x)
	if err != nil {
		return fmt.Errorf("encode orders of %s: %w", o, err)
	}
	i.facts = append(i.facts, ledger.Fact{Key: factOrders + o.String(), Value: b})
	return nil
}

// order sends what is due; what cannot be sent now is due again.
func (i *Ingest) order(o protocol.Origin, begin bool, nowUS int64) {
	x, err := i.ordersOf(o)
	if err != nil {
		i.o.Log.Error().Err(err).Msg("orders not sent")
		return
	}
	if x == nil {
		return
	}
	d, commands := x.Due(begin, nowUS)
	if d != nil {
		i.later(o, protocol.DnDesired, d)
	}
	for n := range commands {
		i.later(o, protocol.DnCommand, &commands[n])
	}
}

// obeyed takes an agent's answer to a command, in the batch that merges it.
func (i *Ingest) obeyed(o protocol.Origin, ev *protocol.Event, nowUS int64) error {
	x, err := i.ordersOf(o)
	if err != nil || x == nil || !x.Told(ev, nowUS) {
		return err
	}
	return i.keepOrders(o, x)
}

// heardOrders takes what a heartbeat says of the desired state, and sends what was
// not answered.
func (i *Ingest) heardOrders(o protocol.Origin, version uint64, refused string, nowUS int64) {
	x, err := i.ordersOf(o)
	if err != nil {
		i.o.Log.Error().Err(err).Msg("orders not read")
		return
	}
	if x != nil {
		x.Heard(version, refused)
		i.order(o, false, nowUS)
	}
}

// withOrders runs fn on an agent's orders and keeps them, where it says so.
func (i *Ingest) withOrders(ctx context.Context, o protocol.Origin, begin bool, fn func(x *orders.Orders, nowUS int64) (keep bool, err error)) error {
	var refused error
	err := i.call(ctx, func(i *Ingest, nowUS int64) error {
		s := i.sessions[o]
		if s == nil || s.mark.Epoch == 0 || o.IsFeed() {
			refused = protocol.NewProblem(http.StatusNotFound, "unknown_agent", "No such agent", o.String(), "orders can be given to agents that have connected once")
			return nil
		}
		x, err := i.ordersOf(o)
		if err != nil {
			return err
		}
		if x == nil {
			x = &orders.Orders{}
			if begin {
				s.orders = x
			}
		}
		keep, err := fn(x, nowUS)
		switch {
		case errors.Is(err, orders.ErrInvalid):
			refused = protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_order", "The order is not acceptable", err.Error(), "see the contract: GET /openapi.json")
		case errors.Is(err, orders.ErrFull):
			refused = protocol.NewProblem(http.StatusConflict, "orders_full", "Too many commands wait", err.Error(), "wait for their results, or until they expire")
		case errors.Is(err, orders.ErrChanged):
			refused = protocol.NewProblem(http.StatusConflict, "desired_changed", "Somebody else set it meanwhile", err.Error(), "GET it, and set what is to change on top of that")
		case err != nil:
			refused = err
		case keep:
			if err := i.keepOrders(o, x); err != nil {
				return err
			}
			if s.live {
				i.ordered = append(i.ordered, s.address())
			}
		}
		return nil
	})
	return errors.Join(err, refused)
}

// WantState sets what an agent is to be like; base, where it is not nil, is the
// version that it is to follow.
func (i *Ingest) WantState(ctx context.Context, o protocol.Origin, values map[string]json.RawMessage, base *uint64, who string) (st protocol.DesiredState, err error) {
	err = i.withOrders(ctx, o, true, func(x *orders.Orders, nowUS int64) (bool, error) {
		err := x.Want(values, base, who, nowUS)
		st = x.State()
		return err == nil, err
	})
	return st, err
}

// DesiredState tells what an agent is to be like, and whether it is.
func (i *Ingest) DesiredState(ctx context.Context, o protocol.Origin) (st protocol.DesiredState, err error) {
	err = i.withOrders(ctx, o, false, func(x *orders.Orders, _ int64) (bool, error) { st = x.State(); return false, nil })
	return st, err
}

// IssueCommand has an agent do something once. c's id is the caller's, so that a
// repeated call issues nothing.
func (i *Ingest) IssueCommand(ctx context.Context, o protocol.Origin, c protocol.Command, valid time.Duration, who string) (st protocol.CommandState, err error) {
	err = i.withOrders(ctx, o, true, func(x *orders.Orders, nowUS int64) (bool, error) {
		if old := x.Find(c.CommandID); old != nil {
			st = old.View()
			return false, nil
		}
		c.NotAfterUS = nowUS + valid.Microseconds()
		now, err := x.Issue(c, who, nowUS)
		if err == nil {
			st = now.View()
		}
		return err == nil, err
	})
	return st, err
}

// ListCommands lists an agent's commands, newest first.
func (i *Ingest) ListCommands(ctx context.Context, o protocol.Origin) (list []protocol.CommandState, err error) {
	err = i.withOrders(ctx, o, false, func(x *orders.Orders, _ int64) (bool, error) {
		for n := range x.Commands {
			list = append(list, x.Commands[n].View())
		}
		slices.Reverse(list)
		return false, nil
	})
	return list, err
}

// Wanted tells whether a command waits for its result: whether what an agent sends
// for it was asked for.
func (i *Ingest) Wanted(ctx context.Context, o protocol.Origin, id, kind string) (ok bool, err error) {
	err = i.withOrders(ctx, o, false, func(x *orders.Orders, _ int64) (bool, error) {
		c := x.Find(id)
		ok = c != nil && c.Kind == kind && (!protocol.CommandEnded(c.State) || c.State == protocol.CommandDone)
		return false, nil
	})
	return ok, err
}
