package intake

import (
	"bytes"
	"net/http"
	"time"

	"tillwire/protocol"
	"tillwire/protocol/poslog"
	"tillwire/store/journal"
)

// bulkItem answers one document of a bulk call, as its own call would have been
// answered.
type bulkItem struct {
	Index       int               `json:"index"` // of the document, or of the POSLog's transaction
	Status      int               `json:"status"`
	Kind        *protocol.Kind    `json:"kind,omitempty"`
	DocumentID  string            `json:"document_id,omitempty"`
	EventID     *protocol.EventID `json:"event_id,omitempty"`
	Seq         uint64            `json:"seq,omitempty"`
	JournaledAt *time.Time        `json:"journaled_at,omitempty"`
	Duplicate   bool              `json:"duplicate,omitempty"`
	Warnings    []string          `json:"warnings,omitempty"`
	Problem     *protocol.Problem `json:"problem,omitempty"`
	retryS      int               // seconds, of a journal that refused
}

// bulkAnswer is the body of POST /v1/events and /v1/poslog.
type bulkAnswer struct {
	Results    []bulkItem `json:"results"`
	Accepted   int        `json:"accepted"` // journaled now
	Duplicates int        `json:"duplicates"`
	Refused    int        `json:"refused"`
	*POSLogFacts
}

// POSLogFacts are what only a POSLog has.
type POSLogFacts struct {
	Dialect      string         `json:"dialect"`
	Transactions int            `json:"transactions"`
	Skipped      poslog.Skipped `json:"skipped"`
}

// events journals many documents at once. Each stands for itself: a bad one is
// answered in its place and the others are journaled.
func (in *Intake) events(w http.ResponseWriter, r *http.Request, body []byte) {
	docs, p := protocol.SplitDocuments(body)
	if p != nil {
		in.count.refused(protocol.KindInvalid, p)
		refuse(w, p)
		return
	}
	items := make([]bulkItem, len(docs))
	events := make([]*protocol.Event, 0, len(docs))
	at := make([]int, 0, len(docs)) // index of each event's item
	src := protocol.Source{Store: in.o.Store, Schemes: in.o.Schemes}
	for i, d := range docs {
		items[i].Index = i
		e, p := protocol.DecodeDocument(d, src)
		if p != nil {
			in.count.refused(protocol.KindInvalid, p)
			items[i].refuse(p)
			continue
		}
		in.complete(e, r.Header.Get("Traceparent"))
		events, at = append(events, e), append(at, i)
	}
	in.journalAll(w, r, items, events, at, nil)
}

// journalAll appends the events of a bulk call in one group and answers. When
// the journal takes none of them, the call as a whole says so, since the sender
// has to come back with all.
func (in *Intake) journalAll(w http.ResponseWriter, r *http.Request, items []bulkItem, events []*protocol.Event, at []int, facts *POSLogFacts) {
	var recs []journal.Receipt
	var errs []error
	if len(events) > 0 {
		recs, errs = in.o.Journal.AppendAll(r.Context(), events)
	}
	a := bulkAnswer{Results: items, POSLogFacts: facts}
	waiting := 0
	for j, e := range events {
		it := &items[at[j]]
		it.Kind, it.DocumentID, it.EventID = &e.Kind, e.DocumentID, &e.ID
		if j < len(errs) && errs[j] != nil {
			p, retryS := journalProblem(errs[j])
			in.count.refused(e.Kind, p)
			it.refuse(p)
			if it.retryS = retryS; retryS > 0 {
				waiting++
			}
			continue
		}
		in.count.journaled(e, recs[j].Duplicate)
		t := time.UnixMicro(recs[j].RecordUS).UTC()
		it.Status, it.Seq, it.JournaledAt, it.Duplicate = statusOf(&recs[j]), recs[j].Seq, &t, recs[j].Duplicate
		it.Warnings = in.warnings(e)
	}
	if waiting > 0 && waiting == len(events) {
		it := &items[at[0]]
		refuseRetry(w, it.Problem, it.retryS)
		return
	}
	for i := range items {
		switch {
		case items[i].Problem != nil:
			a.Refused++
		case items[i].Duplicate:
			a.Duplicates++
		default:
			a.Accepted++
		}
	}
	answerJSON(w, http.StatusOK, &a)
}

func (it *bulkItem) refuse(p *protocol.Problem) { it.Status, it.Problem = p.Status, p }

// poslog journals the transactions of a POSLog.
func (in *Intake) poslog(w http.ResponseWriter, r *http.Request, body []byte) {
	res, p := poslog.Decode(bytes.NewReader(body), poslog.Options{
		Store: in.o.Store, RetailStore: in.o.RetailStore, Zone: in.o.Zone, BytesMax: protocol.BodyBytesMax, Schemes: in.o.Schemes,
	})
	if p != nil {
		in.count.refused(protocol.KindInvalid, p)
		refuse(w, p)
		return
	}
	items := make([]bulkItem, 0, len(res.Events)+len(res.Problems))
	at := make([]int, len(res.Events))
	for i, e := range res.Events {
		in.complete(e, r.Header.Get("Traceparent"))
		at[i] = i
		items = append(items, bulkItem{Index: i})
	}
	for _, bad := range res.Problems {
		in.count.refused(protocol.KindInvalid, bad.Problem)
		items = append(items, bulkItem{Index: len(items), Status: bad.Problem.Status, DocumentID: bad.DocumentID, Problem: bad.Problem})
	}
	in.journalAll(w, r, items, res.Events, at, &POSLogFacts{Dialect: res.Dialect, Transactions: res.Transactions, Skipped: res.Skipped})
}
