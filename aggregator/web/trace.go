package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// traceData is the way of every document that an id speaks of. It is of the moment
// it was asked: looking through the log every few seconds would cost more than it
// tells.
type traceData struct {
	Input, Store, Kind string
	Kinds              []string
	Documents          []tracedDocument
	Searched           *protocol.TraceSearch
	Problem, Hint      string
	At                 time.Time
	CSV                string
}

type tracedDocument struct {
	protocol.TracedDocument
	Hops   []traceHop
	Merged string // how long it took from the shop into the ledger
}

// traceHop is one place on the way.
type traceHop struct {
	protocol.Hop
	After   string // how long after the hop before
	Crossed bool   // by two clocks: no more exact than they agree
	Percent int    // of the way's whole time
	Slow    bool   // most of the time passed before it
	Links   []pair // what to look at next: words and address
}

// hopLinks are the pages of what a hop speaks of.
func hopLinks(h *protocol.Hop, d *protocol.TracedDocument) (out []pair) {
	if s, ok := h.Ref["posting"].(string); ok {
		out = append(out, pair{"the posting", "/postings/" + url.PathEscape(s)})
	}
	if s, ok := h.Ref["reservation"].(string); ok {
		out = append(out, pair{"the reservation", "/reservations/" + url.PathEscape(s)})
	}
	if s, ok := h.Ref["exception"].(string); ok {
		state := ""
		if d.State == "retried" || d.State == "discarded" {
			state = "state=" + d.State + "&"
		}
		out = append(out, pair{"the exception", "/exceptions?" + state + "store=" + url.QueryEscape(string(d.Store)) + "#" + url.PathEscape(s)})
	}
	return out
}

// lasted words a duration that may be a fraction of a second, or below zero where
// clocks disagree.
func lasted(ms int64) string {
	switch {
	case ms < 0:
		return "−" + lasted(-ms)
	case ms < 1000:
		return strconv.FormatInt(ms, 10) + " ms"
	case ms < 60_000:
		return strconv.FormatFloat(float64(ms)/1000, 'f', 1, 64) + " s"
	}
	return ago(ms / 1000)
}

func makeTraced(d *protocol.TracedDocument) tracedDocument {
	out := tracedDocument{TracedDocument: *d}
	var whole int64
	for i := range d.Hops {
		if ms := d.Hops[i].AfterMS; ms != nil {
			whole += max(0, *ms)
		}
	}
	for i := range d.Hops {
		h := traceHop{Hop: d.Hops[i], Links: hopLinks(&d.Hops[i], d)}
		if ms := h.AfterMS; ms != nil {
			h.After, h.Crossed = lasted(*ms), d.Hops[i-1].Clock != h.Clock
			if whole > 0 && *ms > 0 {
				h.Percent = int(*ms * 100 / whole)
				h.Slow = h.Percent > 50 && *ms >= 60_000
			}
		}
		if h.Hop.Hop == "merged" {
			out.Merged = lasted(h.At.Sub(d.Hops[0].At).Milliseconds())
		}
		out.Hops = append(out.Hops, h)
	}
	return out
}

func (w *Web) traceData(r *http.Request) (*traceData, error) {
	d := &traceData{Input: query(r, "id"), Store: query(r, "store"), Kind: query(r, "kind"), At: w.now()}
	for n := 1; n < protocol.KindLimit; n++ {
		d.Kinds = append(d.Kinds, protocol.Kind(n).String())
	}
	if d.Input == "" {
		return d, nil
	}
	q := url.Values{"id": {d.Input}}
	if d.Store != "" {
		q.Set("store", d.Store)
	}
	if d.Kind != "" {
		q.Set("kind", d.Kind)
	}
	d.CSV = "/trace.csv?" + q.Encode()
	ask := protocol.TraceQuery{ID: d.Input, Store: protocol.StoreID(d.Store), Kind: protocol.ParseKind(d.Kind)}
	t, err := w.opts.Trace(r.Context(), ask)
	var p *protocol.Problem
	if errors.As(err, &p) && p.Status < http.StatusInternalServerError {
		d.Problem, d.Hint = p.Detail, p.Hint
		return d, nil
	}
	if err != nil {
		return nil, err
	}
	d.Searched = t.Searched
	for i := range t.Documents {
		d.Documents = append(d.Documents, makeTraced(&t.Documents[i]))
	}
	return d, nil
}

func (w *Web) tracePage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.traceData(r)
	if err != nil {
		return w.decided("trace", err)
	}
	title := "Trace"
	if d.Input != "" {
		title = "Trace of " + d.Input
	}
	return w.show(rw, r, "trace", title, d)
}

func (w *Web) traceCSV(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.traceData(r)
	if err != nil {
		return w.decided("trace", err)
	}
	return w.csv(rw, "trace", []string{"event_id", "kind", "store", "document_id", "state", "hop", "at", "clock", "by", "after_ms", "detail"}, func(put func(...string)) {
		for i := range d.Documents {
			x := &d.Documents[i]
			for k := range x.Hops {
				h, after := &x.Hops[k], ""
				if h.AfterMS != nil {
					after = strconv.FormatInt(*h.AfterMS, 10)
				}
				put(x.EventID.String(), x.Kind.String(), string(x.Store), x.DocumentID, x.State, h.Hop.Hop, h.At.UTC().Format(time.RFC3339Nano), h.Clock, h.By, after, h.Detail)
			}
		}
	})
}

// Says sums the page up.
func (d *traceData) Says() string {
	if len(d.Documents) != 1 {
		return fmt.Sprintf("%d documents", len(d.Documents))
	}
	x := &d.Documents[0]
	return strings.ReplaceAll(x.Kind.String(), "_", " ") + " " + x.DocumentID
}

// flowPage is where what was decided on in these areas can be looked at.
func flowPage(area string, e *protocol.AuditEntry) string {
	switch object := url.PathEscape(e.Object); {
	case area == "posting" && e.Action == "posting.resume":
		return "/postings"
	case area == "posting":
		return "/postings/" + object
	case area == "connector" || area == "feed":
		return "/channels/" + object
	case area == "subscription" && e.Action != "subscription.delete" && e.Refused == "":
		return "/subscriptions/" + object
	case area == "release":
		return "/releases"
	case area == "item" && !strings.Contains(e.Object, " "):
		return "/items/" + object
	}
	return ""
}
