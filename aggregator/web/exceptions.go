package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

type exceptionsData struct {
	*listing
	State, Code string
	Store       protocol.StoreID
	Causes      []cause
	Source      string
	Wrong       string // what is wrong with a field
	List        []exceptionData
	Open        int
	Retry       bool   // all that match can be tried again at once
	Discard     bool   // … and discarded
	Bulk        string // which those are, as parameters; "": none can
	Standing    []protocol.SourceStanding
}

type cause struct {
	Code string
	N    int
	More bool
	Href string
	On   bool

	Actions []string // of open ones: what can be done to them
}

type exceptionData struct {
	protocol.Exception
	Shown  string
	Decide bool // it is open, and the reader may
	Edit   bool // … and can correct it
}

func (w *Web) exceptionsData(r *http.Request, limit int) (*exceptionsData, error) {
	if s := query(r, "state"); s != "" && s != "open" && s != "retried" && s != "discarded" {
		return nil, badRequest("state must be one of open, retried, discarded.")
	}
	d := &exceptionsData{listing: w.listing(r, "/exceptions"), Open: w.openCount(), Code: query(r, "code")}
	d.State = d.tabs("state", option{Value: "open", Text: "Open", N: d.Open, Counted: true, Bad: true}, option{Value: "retried", Text: "Retried"}, option{Value: "discarded", Text: "Discarded"})
	d.Store = protocol.StoreID(d.field("store", "Store", "S0042"))
	d.Source = d.field("source", "Source", "agents, or a feed")
	d.field("since", "Parked since (UTC)", "2026-03-31T08:00")
	var err error
	if d.Standing, err = w.standing(); err != nil {
		return nil, err
	}
	var f ledger.Filter
	if f, d.Wrong = exceptionFilter(d.query.Get); d.Wrong != "" {
		return d, nil
	}
	f.State, f.After, f.Limit = d.State, d.query.Get("after"), limit+1
	list, err := w.opts.Exceptions(f)
	if err != nil {
		return nil, err
	}
	for _, e := range page(d.listing, list, limit, func(e *protocol.Exception) string { return e.ID }) {
		d.List = append(d.List, exceptionData{e, document(&e), d.Ops && e.State == "open", d.Ops && editable(&e)})
	}
	if d.Causes, err = w.causes(f); err != nil {
		return nil, err
	}
	d.offerBulk()
	return d, nil
}

// All is the address of all causes.
func (d *exceptionsData) All() string { return d.with("code", "") }

func (w *Web) exceptionsPage(rw http.ResponseWriter, r *http.Request) error {
	d, err := w.exceptionsData(r, exceptionsPerPage)
	if err != nil {
		return err
	}
	return w.show(rw, r, "exceptions", "Exceptions", d)
}

// offerBulk says what can be done to all that match, and which they are.
func (d *exceptionsData) offerBulk() {
	d.Retry, d.Discard = true, true
	for i := range d.Causes {
		c := &d.Causes[i]
		c.Href, c.On = d.with("code", c.Code), c.Code == d.Code
		if c.On {
			d.Retry, d.Discard = slices.Contains(c.Actions, protocol.ExceptionRetry), slices.Contains(c.Actions, protocol.ExceptionDiscard)
		}
	}
	if !d.Ops || d.State != "open" || len(d.List) == 0 {
		return
	}
	q := url.Values{}
	for _, k := range filterFields {
		if v := d.query.Get(k); v != "" {
			q.Set(k, v)
		}
	}
	d.Bulk = q.Encode()
}

// causes counts by cause: of what is open all, of what was decided the first thousand.
func (w *Web) causes(f ledger.Filter) (out []cause, err error) {
	f.Code, f.After = "", ""
	if f.State == "open" {
		list, more, err := w.opts.Mending.ExceptionCauses(f)
		for i := range list {
			out = append(out, cause{Code: list[i].Code, N: list[i].Open, More: more, Actions: list[i].Actions})
		}
		return out, err
	}
	f.Limit = decidedCounted
	all, err := w.opts.Exceptions(f)
	n := map[string]int{}
	for i := range all {
		n[all[i].Code]++
	}
	for k, v := range n {
		out = append(out, cause{Code: k, N: v, More: len(all) == f.Limit})
	}
	slices.SortFunc(out, func(a, b cause) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Code, b.Code)) })
	return out, err
}

// document shows what was meant: decoded where it could be, else its bytes.
func document(e *protocol.Exception) string {
	if text := indented(e.Document); text != "" {
		return bound(text)
	}
	return bound(dump(e.Raw))
}

// indented is a document as people read and edit it; "": there is none.
func indented(document any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if document == nil || enc.Encode(document) != nil {
		return ""
	}
	return strings.TrimSpace(b.String())
}

func dump(raw []byte) string {
	return strings.TrimSpace(hex.Dump(raw[:min(len(raw), documentBytesMax/5)]))
}

func bound(s string) string {
	if len(s) <= documentBytesMax {
		return s
	}
	return strings.ToValidUTF8(s[:documentBytesMax], "") + "\n… cut here; the API has it whole"
}

func (w *Web) retry(rw http.ResponseWriter, r *http.Request) error {
	if w.opts.Retry == nil {
		return notFound("This aggregator cannot retry.")
	}
	id := r.PathValue("id")
	if err := w.opts.Retry(context.WithoutCancel(r.Context()), id, who(r)); err != nil {
		return w.decided("retry "+id, err)
	}
	if w.opts.Exception != nil {
		if e, err := w.opts.Exception(id); err == nil && e.State == "open" {
			return done(rw, r, "Tried again; it still cannot take effect: "+e.Reason)
		}
	}
	return done(rw, r, "Tried again, and it took effect.")
}

func (w *Web) discard(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	switch {
	case err != nil:
		return err
	case note == "":
		return noteMissing()
	case w.opts.Discard == nil:
		return notFound("This aggregator cannot discard.")
	}
	id := r.PathValue("id")
	if err := w.opts.Discard(context.WithoutCancel(r.Context()), id, who(r), note); err != nil {
		return w.decided("discard "+id, err)
	}
	return done(rw, r, "Discarded: "+note)
}
