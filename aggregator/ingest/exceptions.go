package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// PolicyName is who acts where a source's policy does.
const PolicyName = "policy"

// factEdited remembers, per event id, the content hash of the record that a person
// corrected: an agent that sends its journal again sends it as it was.
const factEdited = "edited/"

// Act is what is to be done to exceptions, and by whom.
type Act struct {
	Action string // protocol.ExceptionRetry, ExceptionDiscard
	Who    string
	Note   string
	// Again says, for a policy, how long after so many attempts the next one is.
	// nil: a person acts, and no attempt is counted.
	Again func(attempts int) time.Duration
}

// Retry folds a parked record in again, after what stood in its way is mended.
func (i *Ingest) Retry(ctx context.Context, id, who string) (protocol.Exception, error) {
	return i.decide(ctx, id, func(i *Ingest, x *protocol.Exception, nowUS int64) error {
		return i.act(x, &Act{Action: protocol.ExceptionRetry, Who: who}, nowUS)
	})
}

// Discard closes an exception without effect, for a stated reason.
func (i *Ingest) Discard(ctx context.Context, id, note, who string) (protocol.Exception, error) {
	return i.decide(ctx, id, func(i *Ingest, x *protocol.Exception, nowUS int64) error {
		return i.act(x, &Act{Action: protocol.ExceptionDiscard, Who: who, Note: note}, nowUS)
	})
}

// DecideMany does one thing to several exceptions in one commit. Each is answered by
// itself: as it stands now, or why it is left as it is.
func (i *Ingest) DecideMany(ctx context.Context, ids []string, a Act) (list []protocol.Exception, refused []protocol.ExceptionNote, err error) {
	if len(ids) > decideMax {
		return nil, nil, fmt.Errorf("decide %d exceptions: at most %d at once", len(ids), decideMax)
	}
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		if err := i.land(); err != nil { // what is on its way may be about them
			return err
		}
		for _, id := range ids {
			x, no, err := i.decideOne(id, nowUS, func(i *Ingest, x *protocol.Exception, nowUS int64) error { return i.act(x, &a, nowUS) })
			if err != nil {
				return err
			}
			if no != nil {
				refused = append(refused, protocol.ExceptionNote{ID: id, Message: no.Error()})
				continue
			}
			list = append(list, x)
		}
		return nil
	})
	return list, refused, err
}

// act does one thing to an open exception and notes it there, in the same commit.
func (i *Ingest) act(x *protocol.Exception, a *Act, nowUS int64) error {
	if a.Action == protocol.ExceptionDiscard {
		x.State, x.Note, x.DecidedAt = "discarded", a.Note, time.UnixMicro(nowUS).UTC()
		i.n.discarded.Add(1)
	} else if err := i.retry(x, nowUS); err != nil {
		return err
	}
	if x.State == "retried" {
		i.n.retried.Add(1)
	}
	x.RetryAt = time.Time{}
	if a.Again != nil {
		x.Attempts++
		if x.State == "open" {
			x.RetryAt = time.UnixMicro(nowUS).Add(a.Again(x.Attempts)).UTC()
			return nil // the number tells of attempts in vain
		}
		i.n.healed.Add(1)
	}
	note(x, protocol.ExceptionAct{Who: a.Who, Action: a.Action, Note: a.Note}, nowUS)
	return nil
}

// note writes down what was done. Of many, the oldest but the first go.
func note(x *protocol.Exception, act protocol.ExceptionAct, nowUS int64) {
	act.At, act.State = time.UnixMicro(nowUS).UTC(), x.State
	if x.State == "open" {
		act.Code = x.Code
	}
	if len(x.History) >= historyMax {
		x.History = slices.Delete(x.History, 1, 2)
	}
	x.History = append(x.History, act)
}

// retry folds a parked record in again. Where it is parked again, the exception
// says why now.
func (i *Ingest) retry(x *protocol.Exception, nowUS int64) error {
	if x.Counted {
		return i.mend(x, nowUS)
	}
	if x.Media != "" {
		return i.reread(x, nowUS)
	}
	if x.Code == "mass_zeroing" || x.Code == "snapshot_older" {
		return i.approve(x, nowUS)
	}
	if len(x.Raw) == 0 {
		return fmt.Errorf("retry exception %s: %w: it holds no record; discard it when it is dealt with", x.ID, ErrNotRetriable)
	}
	return i.refold(x, nowUS)
}

// refold folds an exception's record in at its own place.
func (i *Ingest) refold(x *protocol.Exception, nowUS int64) error {
	in := merge.Input{Origin: i.eng.Origin(x.Origin), Epoch: x.Epoch, Seq: x.Seq, MergedUS: nowUS, Record: x.Raw}
	before := len(i.exceptions)
	i.again = true
	out, _, err := i.apply(in, x.Origin)
	i.again = false
	if err != nil {
		return err
	}
	if out.Verdict == merge.Parked {
		i.exceptions = i.exceptions[:before] // it stays the exception that it is
		x.Code, x.Reason = out.Code, out.Reason
		return nil
	}
	x.State, x.DecidedAt = "retried", time.UnixMicro(nowUS).UTC()
	return nil
}

// ErrNotOpen and ErrNotRetriable say why an exception stays as it is.
var (
	ErrNotOpen      = errors.New("exception is not open")
	ErrNotRetriable = errors.New("exception cannot be retried")
)

type deciding func(*Ingest, *protocol.Exception, int64) error

func (i *Ingest) decide(ctx context.Context, id string, do deciding) (x protocol.Exception, err error) {
	var refused error
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		if err := i.land(); err != nil { // what is on its way may be about it
			return err
		}
		var err error
		x, refused, err = i.decideOne(id, nowUS, do)
		return err
	})
	return x, errors.Join(err, refused)
}

// decideOne reads an exception, which may stand in the open batch, and puts what
// becomes of it into that. refused: it stays as it is.
func (i *Ingest) decideOne(id string, nowUS int64, do deciding) (x protocol.Exception, refused, err error) {
	found := false
	for n := len(i.exceptions) - 1; n >= 0 && !found; n-- {
		if i.exceptions[n].ID == id {
			x, found = i.exceptions[n], true
		}
	}
	if !found {
		if x, err = i.o.Ledger.Exception(id); errors.Is(err, ledger.ErrNotFound) {
			return x, err, nil
		} else if err != nil {
			return x, nil, fmt.Errorf("decide exception: %w", err)
		}
	}
	if x.State != "open" {
		return x, fmt.Errorf("decide exception %s: %w: it is %s", id, ErrNotOpen, x.State), nil
	}
	was := x
	var p *protocol.Problem
	switch err := do(i, &x, nowUS); {
	case errors.Is(err, ErrNotRetriable), errors.As(err, &p):
		return was, err, nil
	case err != nil:
		return x, nil, err
	}
	i.exceptions = append(i.exceptions, x)
	return x, nil, nil
}

// Edit takes a corrected document in the place of the one that is parked: the same
// record time, the same place in its journal, the same event id where that was in
// order. What it was before, and what became another, stays with the exception.
func (i *Ingest) Edit(ctx context.Context, id string, document []byte, who, why string) (protocol.Exception, error) {
	return i.decide(ctx, id, func(i *Ingest, x *protocol.Exception, nowUS int64) error {
		if x.Counted || x.Code == "mass_zeroing" || x.Code == "snapshot_older" || len(x.Raw) == 0 && x.Document == nil {
			return fmt.Errorf("edit exception %s: %w: it holds no parked document", id, ErrNotRetriable)
		}
		if x.Media != "" {
			return fmt.Errorf("edit exception %s: %w: it holds what a partner sent, as it came; mend the table it fails by and retry, or have it sent anew", id, ErrNotRetriable)
		}
		e, p := corrected(x, document)
		if p != nil {
			return p
		}
		if len(x.Original) == 0 {
			x.Original = x.Raw
		}
		if err := i.takeEdited(x, e, nowUS); err != nil {
			return err
		}
		i.n.edited.Add(1)
		x.RetryAt = time.Time{}
		note(x, protocol.ExceptionAct{Who: who, Action: protocol.ExceptionEdit, Note: why, Changes: e.changes}, nowUS)
		return nil
	})
}

// takeEdited folds a corrected document in.
func (i *Ingest) takeEdited(x *protocol.Exception, e *edited, nowUS int64) error {
	x.EventID, x.Kind, x.DocumentID, x.Document = e.event.ID, e.event.Kind, e.event.DocumentID, protocol.ViewDocument(e.event)
	if x.Seq == 0 { // of a feed, and never in its journal: it comes as a document of its own
		results := make([]protocol.FeedResult, 1)
		before := len(i.exceptions)
		if err := i.feed(x.Origin, []*protocol.Event{e.event}, results, nowUS); err != nil {
			return err
		}
		if results[0].Status == "parked" {
			for _, y := range i.exceptions[before:] {
				x.Code, x.Reason = y.Code, y.Reason
			}
			i.exceptions = i.exceptions[:before]
			return nil
		}
		x.State, x.DecidedAt = "retried", time.UnixMicro(nowUS).UTC()
		return nil
	}
	x.Raw = protocol.AppendRecord(nil, e.recordUS, e.event)
	if err := i.refold(x, nowUS); err != nil {
		return err
	}
	if x.State != "open" && e.hash != nil {
		i.facts = append(i.facts, ledger.Fact{Key: factEdited + e.event.ID.String(), Value: e.hash})
	}
	return nil
}

// corrects tells whether a record that comes again was corrected by a person, and
// stands in the log as that.
func (i *Ingest) corrects(ev *protocol.Event) (bool, error) {
	hash, err := i.o.Ledger.Fact(factEdited + ev.ID.String())
	if errors.Is(err, ledger.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a correction of %s: %w", ev.ID, err)
	}
	content := ev.ContentHash()
	return slices.Equal(hash, content[:]), nil
}

func refuseEdit(pointer, message, hint string) *protocol.Problem {
	p := protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_field", "The correction is not acceptable", pointer+" "+message, hint)
	p.Errors = []protocol.FieldError{{Pointer: pointer, Message: message}}
	return p
}
