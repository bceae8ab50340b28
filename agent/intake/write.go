package intake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// writePaths are the addresses of single documents.
var writePaths = map[string]protocol.Kind{
	"/v1/sales":          protocol.KindSale,
	"/v1/returns":        protocol.KindReturn,
	"/v1/counts":         protocol.KindCount,
	"/v1/receipts":       protocol.KindReceipt,
	"/v1/adjustments":    protocol.KindAdjustment,
	"/v1/transfers":      protocol.KindTransfer,
	"/v1/voids":          protocol.KindVoid,
	"/v1/status_changes": protocol.KindStatusChange,
}

// write journals one document: decode, append, answer. Until Append returns
// nothing is promised; after it the event is on disk.
func (in *Intake) write(k protocol.Kind) bodyHandler {
	src := protocol.Source{Store: in.o.Store, Kind: k, Schemes: in.o.Schemes}
	return func(w http.ResponseWriter, r *http.Request, body []byte) {
		began := time.Now()
		e, p := protocol.DecodeDocument(body, src)
		if p != nil {
			in.count.refused(k, p)
			refuse(w, p)
			return
		}
		in.complete(e, r.Header.Get("Traceparent"))
		rec, err := in.o.Journal.Append(r.Context(), e)
		if err != nil {
			in.refuseJournal(w, k, err)
			return
		}
		in.count.journaled(e, rec.Duplicate)
		in.count.seconds.UpdateDuration(began)
		var room [320]byte
		answer(w, statusOf(&rec), "application/json", append(appendResult(room[:0], &rec, in.warnings(e)), '\n'))
	}
}

// complete adds what the document leaves to us: the trace of the request. The
// cut of counts is the journal's, which alone knows what stands before them.
func (in *Intake) complete(e *protocol.Event, traceparent string) {
	if e.Traceparent == "" && traceparent != "" && protocol.ValidTraceparent(traceparent) {
		e.Traceparent = traceparent // an invalid header is ignored, as W3C asks
	}
	now := in.o.Now()
	back := in.tellSetBack(e, now.UnixMicro())
	if e.Register != "" {
		in.regMu.Lock()
		if back || protocol.ClockSet(in.regAt, now).Abs() > protocol.ClockSetBackUS*time.Microsecond {
			in.registers = newRegisterClocks() // what was learnt was against a clock that is gone
		}
		if in.regAt = now; !back {
			e.ClockOffsetUS, e.ClockErrorUS = in.registers.learn(e.Register, e.EventTime.US, now.UnixMicro())
		}
		in.regMu.Unlock()
	}
	if !back && e.PostedLate(now.UnixMicro()) && in.o.Journal.Twice(e.OccurredUS()) {
		e.Flags |= protocol.FlagClockSetBack
	}
}

// tellSetBack marks, and tells, a document that is recorded while record times run ahead of the
// clock: they never fall, so where the clock was years fast and was set right, they go
// on from there. Without the mark, what is sold then looks as if it had been posted
// years late, and a count of the fast time would take it for counted.
func (in *Intake) tellSetBack(e *protocol.Event, nowUS int64) bool {
	if in.o.Journal.HeadUS()-nowUS <= protocol.ClockSetBackUS {
		return false
	}
	e.Flags |= protocol.FlagClockSetBack
	return true
}

// warnings are told with the 201: the document counts, but somebody should look.
func (in *Intake) warnings(e *protocol.Event) []string {
	var out []string
	if ahead := e.EventTime.Time().Sub(in.o.Now()); ahead > clockAheadWarn {
		in.count.clock.Inc()
		out = append(out, fmt.Sprintf("occurred_at is %s ahead of this agent's clock: check the clock of register %q", ahead.Round(time.Second), e.Register))
	}
	if e.Flags&protocol.FlagMasked != 0 {
		out = append(out, "a payment card number was masked in a text field: do not send card data")
	}
	return out
}

// journalProblem says what an Append error means for the caller, and after how
// many seconds to try again (0: not by itself).
func journalProblem(err error) (p *protocol.Problem, retryS int) {
	var reused *journal.IDReusedError
	switch {
	case errors.As(err, &reused):
		p = protocol.NewProblem(http.StatusConflict, "id_reused", "This document_id stands for another document",
			fmt.Sprintf("it was journaled as seq %d with another content", reused.Seq),
			"A retry must repeat the document unchanged; a new document needs a document_id of its own.")
		p.Errors = []protocol.FieldError{{Pointer: "/document_id", Message: "is already used by another document of this kind"}}
		return p, 0
	case errors.Is(err, journal.ErrFull):
		return protocol.NewProblem(http.StatusInsufficientStorage, "disk_floor", "The disk of the agent is full",
			"", "Free space on the volume of the journal. Keep the document and send it again: nothing was journaled."), 30
	case errors.Is(err, journal.ErrQueueFull):
		return protocol.NewProblem(http.StatusTooManyRequests, "queue_full", "The journal cannot keep up",
			"", "Send it again in a second, under the same document_id."), retryAfterS
	case errors.Is(err, journal.ErrRecovering):
		return protocol.NewProblem(http.StatusServiceUnavailable, "recovering", "The journal is being checked after a failed write",
			"whether this document is journaled is open", "Send it again unchanged, under the same document_id: it will count once."), 2 * retryAfterS
	case errors.Is(err, journal.ErrClosed):
		return protocol.NewProblem(http.StatusServiceUnavailable, "stopping", "The agent is stopping",
			"", "Send it again unchanged when the agent is back."), 5
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return protocol.NewProblem(http.StatusServiceUnavailable, "cancelled", "The request ended before the journal answered",
			"whether this document is journaled is open", "Send it again unchanged, under the same document_id: it will count once."), retryAfterS
	}
	return protocol.NewProblem(http.StatusServiceUnavailable, "journal_failed", "The journal refused the document",
		err.Error(), "Send it again unchanged; when it stays so, look at the agent's page and log."), 2 * retryAfterS
}

// journalRefused counts and logs what the journal refused, and says what to answer.
func (in *Intake) journalRefused(k protocol.Kind, err error) (p *protocol.Problem, retryS int) {
	p, retryS = journalProblem(err)
	in.count.refused(k, p)
	if p.Code == "journal_failed" {
		in.o.Log.Error().Err(err).Msg("journal refused a document")
	}
	return p, retryS
}

func (in *Intake) refuseJournal(w http.ResponseWriter, k protocol.Kind, err error) {
	p, retryS := in.journalRefused(k, err)
	if retryS > 0 {
		refuseRetry(w, p, retryS)
		return
	}
	refuse(w, p)
}
