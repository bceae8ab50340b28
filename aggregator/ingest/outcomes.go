package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"tillwire/aggregator/outcomes"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// actionEscrow marks, in a reservation's journaled change, that its store had sold
// more than its escrow: a replay does not know what the escrow was.
const actionEscrow = "escrow_breach"

// Actions of journaled changes of drift: a system's statement, a person's decision.
const (
	actionStatement = "statement"
	actionDecided   = "decided"
)

// measured says which measure an ending is.
var measured = map[reserve.Ending]outcomes.Measure{
	reserve.Kept: outcomes.Kept, reserve.Short: outcomes.Short, reserve.Rejected: outcomes.Rejected,
	reserve.Moved: outcomes.Moved, reserve.Cancelled: outcomes.Cancelled, reserve.AtRisk: outcomes.AtRisk,
}

// tally tells the outcomes' book of a merged event, live and on replay.
func (f *Fold) tally(ev *protocol.Event, mergedUS int64, feed bool) {
	f.tallyEnds()
	seen := f.Seen()
	if ev.Store == protocol.ChainStore {
		f.tallyChain(ev, mergedUS)
		return
	}
	if !feed {
		f.Outcomes.Synced(mergedUS, seen.RecordUS, ev.Store)
	}
	for _, l := range seen.Late {
		f.Outcomes.Late(mergedUS, uint32(l.Cell), l.Session, int64(l.OnHand))
	}
	for i := range seen.Counted {
		c := &seen.Counted[i]
		f.Outcomes.Counted(mergedUS, uint32(c.Cell), c.Session, ev.Store, int64(c.Before), int64(c.After), c.First)
	}
	for _, id := range seen.Below {
		f.Outcomes.Add(mergedUS, f.Cell(id).Location, "", outcomes.BelowZero)
	}
}

// tallyEnds takes what ended of reservations. They carry their own times: it may be
// told late.
func (f *Fold) tallyEnds() {
	f.Book.TakeEnds(func(e reserve.End) { f.Outcomes.Add(e.US, e.Location, e.Channel, measured[e.How]) })
}

// tallyChain takes what people decided, and broken escrows. What cannot be read
// is refused where it is applied.
func (f *Fold) tallyChain(ev *protocol.Event, mergedUS int64) {
	switch {
	case ev.Kind == protocol.KindDecision && ev.Action == actionDecided:
		var c struct {
			Location protocol.StoreID `json:"location"`
		}
		if json.Unmarshal(ev.Body, &c) == nil {
			f.Outcomes.Add(mergedUS, c.Location, "", outcomes.Decision)
		}
	case ev.Kind == protocol.KindReservation && ev.Action == actionEscrow:
		var c struct {
			Record struct {
				Channel string `json:"channel"`
				Lines   []struct {
					Risk     bool             `json:"risk"`
					Location protocol.StoreID `json:"loc"`
				} `json:"lines"`
			} `json:"record"`
		}
		if json.Unmarshal(ev.Body, &c) != nil {
			return
		}
		for _, l := range c.Record.Lines {
			if l.Risk {
				f.Outcomes.Add(mergedUS, l.Location, c.Record.Channel, outcomes.EscrowBreach)
				return
			}
		}
	}
}

// Outcomes adds up how well numbers and promises held.
func (i *Ingest) Outcomes(ctx context.Context, f protocol.OutcomesFilter) (out protocol.Outcomes, err error) {
	var refused error
	err = i.call(ctx, func(i *Ingest, _ int64) error {
		i.eng.tallyEnds()
		out, refused = i.eng.Outcomes.Report(&f)
		return nil
	})
	if errors.Is(refused, outcomes.ErrTooMany) {
		return out, protocol.NewProblem(http.StatusUnprocessableEntity, "too_many_rows", "The answer would be too long", refused.Error(), "give from and to, a store, or group=week")
	}
	return out, errors.Join(err, refused)
}
