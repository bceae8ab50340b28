package feed

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"tillwire/protocol"
	"tillwire/protocol/epcis"
	"tillwire/store/ledger"
)

// jobs are the captures that can still be asked for. They are kept in the ledger,
// in as many places as there may be: capture N stands at N modulo jobsMax, over the
// one that stood there. Its id names N.
type jobs struct {
	fact func(string) ([]byte, error)
	next atomic.Uint64
}

const factCapture = "capture/"

// openJobs finds the number of the newest capture.
func (d *Desk) openJobs() error {
	d.jobs.fact = d.o.Fact
	for slot := range uint64(jobsMax) {
		b, err := d.o.Fact(factCapture + strconv.FormatUint(slot, 10))
		if errors.Is(err, ledger.ErrNotFound) {
			continue
		}
		var job protocol.CaptureJob
		if err == nil {
			err = json.Unmarshal(b, &job)
		}
		if err != nil {
			return fmt.Errorf("read capture job %d: %w", slot, err)
		}
		if n, ok := numberOf(job.CaptureID); ok {
			d.jobs.next.Store(max(d.jobs.next.Load(), n+1))
		}
	}
	return nil
}

// numberOf is N of the id N-random.
func numberOf(id string) (uint64, bool) {
	no, _, ok := strings.Cut(id, "-")
	n, err := strconv.ParseUint(no, 10, 64)
	return n, ok && err == nil
}

func slotOf(n uint64) string { return factCapture + strconv.FormatUint(n%jobsMax, 10) }

// Capture takes an EPCIS document. Each event is judged by itself ("proceed" in
// the standard's words): those that can be taken are durable when it returns, and so
// is the job.
func (d *Desk) Capture(ctx context.Context, source string, body []byte) (protocol.CaptureJob, error) {
	items, p := d.readCapture(body)
	if p != nil {
		return protocol.CaptureJob{}, d.unreadable(ctx, source, mediaEPCIS, body, p)
	}
	return d.capture(ctx, source, items)
}

// CaptureEvent takes one bare EPCIS event; the problem is the event's.
func (d *Desk) CaptureEvent(ctx context.Context, source string, body []byte) (protocol.CaptureJob, error) {
	it := d.epcisItem(epcis.ReadEvent(body, &d.o.EPCIS), body)
	if it.Problem != nil {
		return protocol.CaptureJob{}, d.unreadable(ctx, source, mediaEPCISEvent, body, it.Problem)
	}
	return d.capture(ctx, source, []Item{it})
}

func (d *Desk) readCapture(body []byte) ([]Item, *protocol.Problem) {
	read, p := epcis.ReadDocument(body, &d.o.EPCIS)
	if p != nil {
		return nil, p
	}
	items := make([]Item, len(read))
	for i := range read {
		items[i] = d.epcisItem(read[i], read[i].Raw)
	}
	return items, nil
}

func (d *Desk) epcisItem(it epcis.Item, raw []byte) Item {
	out := Item{DocumentID: it.EventID, What: "epcis 2.0", Still: it.Still, Problem: it.Problem, Raw: raw, media: mediaEPCISEvent}
	if it.Event != nil {
		out.Events = []*protocol.Event{it.Event}
	}
	return out
}

func (d *Desk) capture(ctx context.Context, source string, items []Item) (protocol.CaptureJob, error) {
	n := d.jobs.next.Add(1) - 1
	job := protocol.CaptureJob{
		CaptureID: strconv.FormatUint(n, 10) + "-" + rand.Text(), CreatedAt: d.o.Now().UTC(), Success: true, CaptureErrorBehaviour: "proceed", Errors: []protocol.Problem{},
	}
	for i := range items {
		p := items[i].Problem
		if p == nil {
			continue
		}
		if job.Success = false; len(job.Errors) < captureErrorsMax {
			job.Errors = append(job.Errors, *p)
		}
	}
	results, err := d.take(ctx, source, mediaEPCIS, items, func(answers []protocol.FeedResult) []ledger.Fact {
		kept := job
		kept.FinishedAt, kept.Results = d.o.Now().UTC(), answers[:min(len(answers), captureResultsMax)]
		b, err := json.Marshal(&kept)
		if err != nil {
			return nil // cannot happen: it is strings and numbers
		}
		return []ledger.Fact{{Key: slotOf(n), Value: b}}
	})
	if err != nil {
		return protocol.CaptureJob{}, err
	}
	job.FinishedAt, job.Results = d.o.Now().UTC(), results
	return job, nil
}

// Job is an earlier capture; false where it is not known any more.
func (d *Desk) Job(id string) (job protocol.CaptureJob, ok bool) {
	n, ok := numberOf(id)
	if !ok {
		return job, false
	}
	b, err := d.jobs.fact(slotOf(n))
	if err != nil || json.Unmarshal(b, &job) != nil {
		return protocol.CaptureJob{}, false
	}
	return job, job.CaptureID == id
}
