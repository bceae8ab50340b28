package web

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// filterFields narrow the exceptions, on the page as in what is decided at once.
var filterFields = []string{"code", "store", "source", "since", "until"}

// exceptionFilter reads them; wrong tells what cannot be read.
func exceptionFilter(get func(string) string) (f ledger.Filter, wrong string) {
	f.Code, f.Store, f.Source = get("code"), protocol.StoreID(get("store")), get("source")
	for _, t := range []struct {
		name string
		to   *time.Time
	}{{"since", &f.Since}, {"until", &f.Until}} {
		if v := get(t.name); v != "" && !momentOf(v, t.to) {
			return f, t.name + " is no time. Write it as 2026-03-31T08:00 or 2026-03-31, in UTC."
		}
	}
	return f, ""
}

func momentOf(v string, to *time.Time) bool {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.Parse(layout, v); err == nil {
			*to = t
			return true
		}
	}
	return false
}

// many reads what is to be done to which exceptions.
func many(r *http.Request) (f ledger.Filter, what string, err error) {
	f, wrong := exceptionFilter(func(name string) string { return query(r, name) })
	what = query(r, "do")
	switch {
	case wrong != "":
		return f, what, badRequest(wrong)
	case what != protocol.ExceptionRetry && what != protocol.ExceptionDiscard:
		return f, what, badRequest("do must be retry or discard.")
	case f == ledger.Filter{Until: f.Until}:
		return f, what, badRequest("Narrow the list by a cause, a store, a source or a time first: all exceptions at once are decided by nobody.")
	}
	return f, what, nil
}

// previewBulk counts what would be decided. What is parked later is none of it: the
// answer's query says until when.
func (w *Web) previewBulk(rw http.ResponseWriter, r *http.Request) error {
	f, what, err := many(r)
	if err != nil {
		return err
	}
	if f.Until.IsZero() {
		f.Until = w.now().UTC()
	}
	b, err := w.opts.Mending.ExceptionStep(r.Context(), f, what, who(r), "", true)
	if err != nil {
		return w.decided("preview", err)
	}
	q := url.Values{"do": {what}, "until": {f.Until.Format(time.RFC3339Nano)}}
	for _, k := range filterFields {
		if v := query(r, k); v != "" && k != "until" {
			q.Set(k, v)
		}
	}
	return writeJSON(rw, r, map[string]any{"n": b.Matched, "more": b.More, "query": q.Encode(), "say": bulkInWords(&b), "sources": tally(b.BySource), "causes": tally(b.Causes)})
}

// bulkInWords says what a preview found: 142 exceptions of cause sku unknown in 12 stores.
func bulkInWords(b *protocol.ExceptionBulk) string {
	say := plural(b.Matched, "exception", "exceptions")
	if b.More {
		say = "At least " + say
	}
	switch len(b.Causes) {
	case 0:
	case 1:
		say += " of cause " + strings.ReplaceAll(slices.Collect(maps.Keys(b.Causes))[0], "_", " ")
	default:
		say += " of " + plural(len(b.Causes), "cause", "causes")
	}
	if len(b.ByStore) > 0 {
		say += " in " + plural(len(b.ByStore), "store", "stores")
	}
	return say
}

// tally puts counts in words, the most first.
func tally(counts map[string]int) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		if counts[a] != counts[b] {
			return counts[b] - counts[a]
		}
		return strings.Compare(a, b)
	})
	var out []string
	for _, k := range keys[:min(len(keys), tallied)] {
		out = append(out, comma(int64(counts[k]))+" "+strings.ReplaceAll(k, "_", " "))
	}
	if n := len(keys) - len(out); n > 0 {
		out = append(out, comma(int64(n))+" others")
	}
	return strings.Join(out, ", ")
}

// bulk decides the next of those that match. The page goes on with next until there
// is none.
func (w *Web) bulk(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err != nil {
		return err
	}
	f, what, err := many(r)
	switch {
	case err != nil:
		return err
	case f.Until.IsZero():
		return badRequest("until is missing: take the query of the preview, so that nothing is decided that nobody saw counted.")
	case what == protocol.ExceptionDiscard && note == "":
		return noteMissing()
	}
	f.After, f.Limit = query(r, "after"), bulkStep
	b, err := w.opts.Mending.ExceptionStep(context.WithoutCancel(r.Context()), f, what, who(r), note, false)
	w.sources.forget()
	if err != nil {
		return w.decided(what+" many", err)
	}
	return writeJSON(rw, r, map[string]any{"matched": b.Matched, "done": b.Done, "open": b.Open, "refused": len(b.Refused), "next": b.Next})
}

// standingCache keeps for some seconds what many open pages ask for: it is counted
// over all open exceptions.
type standingCache struct {
	mu   sync.Mutex // guards what follows, and is held while it is asked for
	at   time.Time
	list []protocol.SourceStanding
}

func (c *standingCache) forget() {
	c.mu.Lock()
	c.at = time.Time{}
	c.mu.Unlock()
}

// standing tells how each source stands.
func (w *Web) standing() ([]protocol.SourceStanding, error) {
	c := &w.sources
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := w.now(); c.at.IsZero() || now.Sub(c.at) > standingFor {
		list, err := w.opts.Mending.Sources()
		if err != nil {
			return nil, err
		}
		c.list, c.at = list, now
	}
	return c.list, nil
}

// turnSource pauses a feed, or takes its documents again.
func (w *Web) turnSource(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err != nil {
		return err
	}
	source := strings.TrimSpace(r.PathValue("source"))
	if err := protocol.CheckName(source); err != nil {
		return badRequest("The source " + err.Error() + ". Name a feed, e.g. wms.")
	}
	do, say := w.opts.Mending.PauseSource, " is paused: nothing is taken of it until somebody resumes it."
	switch r.PathValue("what") {
	case "pause":
	case "resume":
		do, say = w.opts.Mending.ResumeSource, "'s documents are taken again."
	default:
		return notFound("A source can be paused or resumed.")
	}
	if note == "" {
		return noteMissing()
	}
	err = do(context.WithoutCancel(r.Context()), source, who(r), note)
	w.sources.forget()
	if err != nil {
		return w.decided("turn "+source, err)
	}
	return done(rw, r, source+say)
}
