package feed

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"tillwire/protocol"
	"tillwire/protocol/epcis"
)

// jobsMax bounds the captures that can be asked for; the oldest is forgotten.
const jobsMax = 1000

// jobs are the captures that can still be asked for. They are reports, not
// state: after a start there are none, and what they captured is in the ledger.
type jobs struct {
	mu    sync.Mutex
	byID  map[string]protocol.CaptureJob
	order []string // oldest first
}

func (j *jobs) add(job protocol.CaptureJob) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.byID == nil {
		j.byID = map[string]protocol.CaptureJob{}
	}
	if len(j.order) == jobsMax {
		delete(j.byID, j.order[0])
		j.order = j.order[1:]
	}
	j.byID[job.CaptureID] = job
	j.order = append(j.order, job.CaptureID)
}

// Capture takes an EPCIS document. Each event is judged by itself ("proceed" in
// the standard's words): those that can be taken are durable when it returns.
func (d *Desk) Capture(ctx context.Context, source string, body []byte) (protocol.CaptureJob, error) {
	started := time.Now()
	items, p := epcis.ReadDocument(body, d.places)
	if p != nil {
		return protocol.CaptureJob{}, p
	}
	return d.capture(ctx, source, items, started)
}

// CaptureEvent takes one bare EPCIS event; the problem is the event's.
func (d *Desk) CaptureEvent(ctx context.Context, source string, body []byte) (protocol.CaptureJob, error) {
	started := time.Now()
	it := epcis.ReadEvent(body, d.places)
	if it.Problem != nil {
		return protocol.CaptureJob{}, it.Problem
	}
	return d.capture(ctx, source, []epcis.Item{it}, started)
}

func (d *Desk) capture(ctx context.Context, source string, items []epcis.Item, started time.Time) (protocol.CaptureJob, error) {
	results := make([]protocol.FeedResult, len(items))
	events := make([]*protocol.Event, len(items))
	job := protocol.CaptureJob{
		CaptureID: rand.Text(), CreatedAt: started.UTC(), Success: true, CaptureErrorBehaviour: "proceed", Errors: []protocol.Problem{},
	}
	for i, it := range items {
		switch {
		case it.Problem != nil:
			results[i] = protocol.FeedResult{DocumentID: it.EventID, Status: "refused", Code: it.Problem.Code, Errors: it.Problem.Errors}
			job.Success = false
			if len(job.Errors) < captureErrorsMax {
				job.Errors = append(job.Errors, *it.Problem)
			}
		case it.Event == nil:
			results[i] = protocol.FeedResult{DocumentID: it.EventID, Status: "no_movement", Code: "no_movement", Errors: []protocol.FieldError{{Message: it.Still}}}
		default:
			it.Event.Source = source
			events[i] = it.Event
		}
	}
	if err := d.enter(ctx, source, events, results); err != nil {
		return protocol.CaptureJob{}, err
	}
	job.FinishedAt, job.Results = time.Now().UTC(), results
	kept := job
	kept.Results = results[:min(len(results), captureResultsMax)]
	d.jobs.add(kept)
	return job, nil
}

// The bounds of what a job keeps.
const (
	captureErrorsMax  = 20
	captureResultsMax = 100
)

// Job is an earlier capture; false where it is not known any more.
func (d *Desk) Job(id string) (protocol.CaptureJob, bool) {
	d.jobs.mu.Lock()
	defer d.jobs.mu.Unlock()
	job, ok := d.jobs.byID[id]
	return job, ok
}
