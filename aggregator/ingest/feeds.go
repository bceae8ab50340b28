package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// AcceptWith merges the documents of a feed as Accept does, and keeps what stands
// beside them in the same commit. beside is called by the writer when the answers are
// known; nil: there is nothing.
func (i *Ingest) AcceptWith(ctx context.Context, o protocol.Origin, events []*protocol.Event, beside func([]protocol.FeedResult) ([]protocol.Exception, []ledger.Fact)) ([]protocol.FeedResult, error) {
	results := make([]protocol.FeedResult, len(events))
	err := i.wait(ctx, true, func(i *Ingest, nowUS int64) error {
		if len(events) > 0 {
			if err := i.feed(o, events, results, nowUS); err != nil {
				return err
			}
		}
		if beside == nil {
			return nil
		}
		parked, facts := beside(results)
		i.facts = append(i.facts, facts...)
		for k := range parked {
			if err := i.parkDocument(&parked[k]); err != nil {
				return err
			}
		}
		return nil
	})
	return results, err
}

// parkDocument keeps a document that could not be made an event. One that was
// decided before and comes again stays decided.
func (i *Ingest) parkDocument(x *protocol.Exception) error {
	if err := i.land(); err != nil { // a decision may be on its way
		return err
	}
	state, err := i.stateOf(x.ID)
	if err != nil {
		return fmt.Errorf("park document of %s: %w", x.Origin, err)
	}
	switch state {
	case "":
		i.n.parked.Add(1)
		if i.o.Parked != nil {
			i.o.Parked(x.Origin, x.Code)
		}
	case "open": // shown anew, with the reason of now
	default:
		return nil
	}
	i.exceptions = append(i.exceptions, *x)
	return nil
}

// stateOf is how an exception stands; "" where there is none.
func (i *Ingest) stateOf(id string) (string, error) {
	x, err := i.o.Ledger.Exception(id)
	if errors.Is(err, ledger.ErrNotFound) {
		return "", nil
	}
	return x.State, err
}

// reread takes a feed's parked document after what stood in its way is mended: in the
// tables of the configuration, mostly.
func (i *Ingest) reread(x *protocol.Exception, nowUS int64) error {
	if i.o.Reread == nil {
		return fmt.Errorf("retry exception %s: %w: nothing here reads it", x.ID, ErrNotRetriable)
	}
	events, p := i.o.Reread(x)
	if p != nil {
		return nil //nolint:nilerr // it stays the exception that it is, with the reason of now
	}
	for from := 0; from < len(events); {
		to := from + 1
		for to < len(events) && events[to].Store == events[from].Store {
			to++
		}
		o := protocol.Origin{Store: events[from].Store, Agent: x.Origin.Agent}
		if err := i.feed(o, events[from:to], make([]protocol.FeedResult, to-from), nowUS); err != nil {
			return err
		}
		from = to
	}
	x.State, x.DecidedAt = "retried", time.UnixMicro(nowUS).UTC()
	return nil
}
