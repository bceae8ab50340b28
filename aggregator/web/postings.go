package web

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"tillwire/aggregator/posting"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Postings are the documents that ERPs are sent. Decisions are recorded under who.
type Postings interface {
	Postings(ctx context.Context, f posting.Filter) ([]protocol.Posting, error)
	Posting(ctx context.Context, id string) (protocol.Posting, error)
	PostingsOf(ctx context.Context, id protocol.EventID) ([]protocol.Posting, error)
	RetryPosting(ctx context.Context, id, who string) (protocol.Posting, error)
	DiscardPosting(ctx context.Context, id, who, note string) (protocol.Posting, error)
	ResumePostings(ctx context.Context, who, note string) error
	Standings(ctx context.Context) ([]protocol.PostingStanding, error)
}

type postingsData struct {
	*listing
	Standings []standingRow
	Parked    []postingData // on the first page: they wait for a person
	List      []postingData
	State     string
	Due       int
	Held      bool   // by a restore: somebody must let them go on
	Wrong     string // with what the list is narrowed by
}

// standingRow is how an ERP's queue stands, and how it went.
type standingRow struct {
	protocol.PostingStanding
	Past sparks
}

type postingData struct {
	protocol.Posting
	Ops bool
	Can []verb
	Who []protocol.AuditEntry // what people did with it
}

// postingVerbs are what a person may do with a document as it stands.
func postingVerbs(p *protocol.Posting) []verb {
	if p.State != protocol.PostingParked {
		return nil
	}
	what := p.Class + " of " + string(p.Store) + " on " + p.Day
	return []verb{
		{"retry", "Try again", "Send the " + what + " again?", "It is due at once. Worth it after what " + p.ERP + " refused has been put right there; it is known by its id, so it cannot be booked twice.", "optional", false},
		{"discard", "Discard", "Settle the " + what + " without " + p.ERP + "?", "It will never be sent: book its " + plural(p.LineCount, "line", "lines") + " there by hand, or do without. Stock here does not change. This cannot be undone.", "required", true},
	}
}

func (w *Web) postingData(r *http.Request, p *protocol.Posting) postingData {
	d := postingData{Posting: *p}
	if d.Ops = person(r).Role >= Ops; d.Ops {
		d.Can = postingVerbs(p)
	}
	return d
}

// postingsHead fills what stands above the list, and reads what narrows it.
func (w *Web) postingsHead(r *http.Request) (*postingsData, posting.Filter, error) {
	d := &postingsData{listing: w.listing(r, "/postings")}
	all, err := w.opts.Postings.Standings(r.Context())
	if err != nil {
		return nil, posting.Filter{}, err
	}
	names, parked := []string{}, 0
	erp := d.query.Get("erp")
	for i := range all {
		names = append(names, all[i].ERP)
		d.Held = d.Held || all[i].Held
		if erp == "" || all[i].ERP == erp {
			d.Standings = append(d.Standings, standingRow{all[i], w.flowSparks(protocol.FlowERP + all[i].ERP)})
			parked, d.Due = parked+all[i].Parked, d.Due+all[i].Due
		}
	}
	d.State = d.tabs("state", option{Text: "All"}, option{Value: "parked", Text: "Parked", N: parked, Counted: true, Bad: true},
		option{Value: "due", Text: "Due", N: d.Due, Counted: true}, option{Value: "posted", Text: "Posted"}, option{Value: "discarded", Text: "Discarded"})
	f := posting.Filter{State: protocol.PostingState(d.State), After: d.query.Get("after")}
	if f.ERP = erp; len(names) > 1 || erp != "" {
		f.ERP = d.field("erp", "ERP", "", names...)
	}
	f.Store = protocol.StoreID(d.field("store", "Store", "S0042"))
	f.Day = d.field("day", "Business day", "2026-03-31")
	f.Class = d.field("class", "Class", "", posting.Classes()...)
	if _, ok := protocol.ParseDay(f.Day); f.Day != "" && !ok {
		d.Wrong = "A business day is written as 2026-03-31."
	}
	return d, f, nil
}

func (w *Web) postingsData(r *http.Request, limit int) (*postingsData, error) {
	d, f, err := w.postingsHead(r)
	if err != nil {
		return nil, err
	}
	if text := d.field("event", "Event", "32 hex digits"); text != "" {
		var id protocol.EventID
		if err := id.UnmarshalText([]byte(text)); err != nil {
			d.Wrong = "An event id is 32 hex digits, as a trace shows it."
			return d, nil //nolint:nilerr // told on the page
		}
		list, err := w.opts.Postings.PostingsOf(r.Context(), id)
		for i := range list {
			d.List = append(d.List, w.postingData(r, &list[i]))
		}
		return d, err
	}
	if d.Wrong != "" {
		return d, nil
	}
	first := f.State == "" && f.After == ""
	if first { // failures first
		waiting := f
		waiting.State, waiting.Limit = protocol.PostingParked, limit
		list, err := w.opts.Postings.Postings(r.Context(), waiting)
		if err != nil {
			return nil, err
		}
		for i := range list {
			d.Parked = append(d.Parked, w.postingData(r, &list[i]))
		}
	}
	f.Limit = limit + 1
	list, err := w.opts.Postings.Postings(r.Context(), f)
	if err != nil {
		return nil, err
	}
	for _, p := range page(d.listing, list, limit, func(p *protocol.Posting) string { return p.ID }) {
		if first && p.State == protocol.PostingParked { // stands above
			continue
		}
		d.List = append(d.List, w.postingData(r, &p))
	}
	return d, nil
}

func (w *Web) postingsPage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.postingsData(r, rowsPerPage)
	if err != nil {
		return w.decided("postings", err)
	}
	return w.show(rw, r, "postings", "Postings", d)
}

func (w *Web) postingsCSV(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.postingsData(r, csvRowsMax)
	if err != nil {
		return w.decided("postings", err)
	}
	head := []string{"id", "erp", "store", "day", "post_day", "class", "reversal", "state", "lines", "quantity", "erp_id", "code", "reason", "attempts", "made_at", "decided_at", "decided_by", "note"}
	return w.csv(rw, "postings", head, func(put func(...string)) {
		for _, p := range append(d.Parked, d.List...) {
			put(p.ID, p.ERP, string(p.Store), p.Day, p.PostDay, p.Class, strconv.FormatBool(p.Reversal), string(p.State), strconv.Itoa(p.LineCount), p.Quantity.String(),
				p.ERPID, p.Code, p.Reason, strconv.Itoa(p.Attempts), stamp(&p.CutAt), stampIf(p.DecidedAt), p.DecidedBy, p.Note)
		}
	})
}

func stampIf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return stamp(&t)
}

func (w *Web) postingPage(rw http.ResponseWriter, r *http.Request) error {
	p, err := w.opts.Postings.Posting(r.Context(), r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return notFound("There is no such posting.")
	}
	if err != nil {
		return w.decided("posting", err)
	}
	d := w.postingData(r, &p)
	if d.Ops && w.opts.Audit != nil {
		d.Who = w.opts.Audit(protocol.AuditFilter{Action: "posting", Object: p.ID, Limit: historyShown})
	}
	return w.show(rw, r, "posting", p.ID, &d)
}

func (w *Web) retryPosting(rw http.ResponseWriter, r *http.Request) error {
	if _, err := noted(r); err != nil {
		return err
	}
	p, err := w.opts.Postings.RetryPosting(context.WithoutCancel(r.Context()), r.PathValue("id"), who(r))
	if err != nil {
		return w.decided("retry posting", err)
	}
	return done(rw, r, "It is due again; "+p.ERP+" is sent it within seconds.")
}

func (w *Web) discardPosting(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err == nil && note == "" {
		err = noteMissing()
	}
	if err != nil {
		return err
	}
	p, err := w.opts.Postings.DiscardPosting(context.WithoutCancel(r.Context()), r.PathValue("id"), who(r), note)
	if err != nil {
		return w.decided("discard posting", err)
	}
	return done(rw, r, "Settled without "+cmp.Or(p.ERP, "the ERP")+": "+note)
}

func (w *Web) resumePostings(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err == nil && note == "" {
		err = noteMissing()
	}
	if err != nil {
		return err
	}
	if err := w.opts.Postings.ResumePostings(context.WithoutCancel(r.Context()), who(r), note); err != nil {
		return w.decided("resume postings", err)
	}
	return done(rw, r, "Posting goes on.")
}
