package aggregator

import (
	"context"
	"time"

	"tillwire/aggregator/feed"
	"tillwire/aggregator/fleet"
	"tillwire/aggregator/ingest"
	"tillwire/aggregator/mending"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

func (a *Aggregator) openMending() (err error) {
	a.mending, err = mending.Open(mending.Options{
		Now: a.deps.Now, Log: a.deps.Log, Policies: a.cfg.policies(), List: a.ledger.Exceptions, Fact: a.ledger.Fact,
		Put:      func(ctx context.Context, key string, value []byte) error { return a.ingest.PutFact(ctx, key, value) },
		Incident: func(summary string) { a.fleet.Chain(fleet.CodeSourcePaused, summary) },
		Decide: func(ctx context.Context, ids []string, action, who, note string, again func(int) time.Duration) ([]protocol.Exception, []protocol.ExceptionNote, error) {
			return a.ingest.DecideMany(ctx, ids, ingest.Act{Action: action, Who: who, Note: note, Again: again})
		},
	})
	return err
}

// accept is the door of all feeds: closed where the source is paused.
func (a *Aggregator) accept(ctx context.Context, o protocol.Origin, events []*protocol.Event, beside feed.Beside) ([]protocol.FeedResult, error) {
	if err := a.mending.Paused(o); err != nil {
		return nil, err
	}
	return a.ingest.AcceptWith(ctx, o, events, beside)
}

// EditException takes a corrected document.
func (d desk) EditException(ctx context.Context, id string, document []byte, who, note string) (protocol.Exception, error) {
	before := d.exception(id)
	x, err := d.Edit(ctx, id, document, who, note)
	after := struct {
		State   string                 `json:"state"`
		Code    string                 `json:"code"`
		Changes []protocol.FieldChange `json:"changes,omitempty"`
	}{State: x.State, Code: x.Code}
	if n := len(x.History); n > 0 {
		after.Changes = x.History[n-1].Changes
	}
	d.record(ctx, who, "exception.edit", id, note, before, after, err)
	return x, err
}

// ExceptionStep decides many, or with preview counts them.
func (d desk) ExceptionStep(ctx context.Context, f ledger.Filter, action, who, note string, preview bool) (protocol.ExceptionBulk, error) {
	if preview {
		return d.a.mending.Preview(f, action)
	}
	b, err := d.a.mending.Step(ctx, f, action, who, note)
	what := struct {
		Source string           `json:"source,omitempty"`
		Code   string           `json:"code,omitempty"`
		Store  protocol.StoreID `json:"store,omitempty"`
		Since  time.Time        `json:"since,omitzero"`
		Until  time.Time        `json:"until,omitzero"`
		After  string           `json:"after,omitempty"`
	}{f.Source, f.Code, f.Store, f.Since, f.Until, f.After}
	if err != nil || b.Matched > 0 {
		d.record(ctx, who, "exception.bulk_"+action, "exceptions", note, what, b, err)
	}
	return b, err
}

// ExceptionCauses tells what is open, by cause.
func (d desk) ExceptionCauses(f ledger.Filter) ([]protocol.ExceptionCause, bool, error) {
	return d.a.mending.Causes(f)
}

// Sources tells how each source stands.
func (d desk) Sources() ([]protocol.SourceStanding, error) { return d.a.mending.Sources() }

// PauseSource takes nothing of a feed until it is resumed.
func (d desk) PauseSource(ctx context.Context, source, who, reason string) error {
	err := d.a.mending.Pause(ctx, source, who, reason)
	d.record(ctx, who, "source.pause", source, reason, nil, nil, err)
	return err
}

// ResumeSource takes documents of a feed again.
func (d desk) ResumeSource(ctx context.Context, source, who, reason string) error {
	err := d.a.mending.Resume(ctx, source)
	d.record(ctx, who, "source.resume", source, reason, nil, nil, err)
	return err
}

func (a *Aggregator) putMending(x *exposition) {
	n := a.ingest.Stats()
	x.family("exceptions_decided_total", "counter", "Exceptions that were dealt with, by how; by policy is among retried.")
	for _, k := range []struct {
		how string
		n   uint64
	}{{"retried", n.Retried}, {"edited", n.Edited}, {"discarded", n.Discarded}, {"policy", n.Healed}} {
		x.of("exceptions_decided_total", "how", k.how, k.n)
	}
	x.gauge("sources_paused", "Feeds of which nothing is taken until a person resumes them.", a.mending.PausedCount())
}
