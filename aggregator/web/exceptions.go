package web

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
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
	List        []exceptionData
	Open        int
	Bulk        int // open ones that match, where all of one cause can be decided at once
}

type cause struct {
	Code string
	N    int
	More bool
	Href string
	On   bool
}

type exceptionData struct {
	protocol.Exception
	Shown  string
	Decide bool // it is open, and the reader may
}

func (w *Web) exceptionsData(r *http.Request, limit int) (*exceptionsData, error) {
	if s := query(r, "state"); s != "" && s != "open" && s != "retried" && s != "discarded" {
		return nil, badRequest("state must be one of open, retried, discarded.")
	}
	d := &exceptionsData{listing: w.listing(r, "/exceptions"), Open: w.openCount(), Code: query(r, "code")}
	d.State = d.tabs("state", option{Value: "open", Text: "Open", N: d.Open, Counted: true, Bad: true}, option{Value: "retried", Text: "Retried"}, option{Value: "discarded", Text: "Discarded"})
	d.Store = protocol.StoreID(d.field("store", "Store", "S0042"))
	f := ledger.Filter{State: d.State, Code: d.Code, Store: d.Store, After: d.query.Get("after"), Limit: limit + 1}
	list, err := w.opts.Exceptions(f)
	if err != nil {
		return nil, err
	}
	for _, e := range page(d.listing, list, limit, func(e *protocol.Exception) string { return e.ID }) {
		d.List = append(d.List, exceptionData{e, document(&e), d.Ops && e.State == "open"})
	}
	if d.Causes, err = w.causes(f); err != nil {
		return nil, err
	}
	for i := range d.Causes {
		c := &d.Causes[i]
		if c.Href, c.On = d.with("code", c.Code), c.Code == d.Code; c.On && d.Ops && d.State == "open" && c.N > 1 {
			d.Bulk = min(c.N, bulkMax)
		}
	}
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

// bulk decides on all open exceptions of one cause, one by one: what fails stays open.
func (w *Web) bulk(rw http.ResponseWriter, r *http.Request) error {
	note, err := noted(r)
	if err != nil {
		return err
	}
	what, code := query(r, "do"), query(r, "code")
	switch {
	case what != "retry" && what != "discard" || code == "":
		return badRequest("do must be retry or discard, and code names the cause.")
	case what == "discard" && note == "":
		return noteMissing()
	case w.opts.Retry == nil || w.opts.Discard == nil:
		return notFound("This aggregator cannot decide on exceptions.")
	}
	list, err := w.opts.Exceptions(ledger.Filter{State: "open", Code: code, Store: protocol.StoreID(query(r, "store")), Limit: bulkMax})
	if err != nil {
		return err
	}
	ctx, failed := context.WithoutCancel(r.Context()), 0
	for i := range list {
		if what == "retry" {
			err = w.opts.Retry(ctx, list[i].ID, who(r))
		} else {
			err = w.opts.Discard(ctx, list[i].ID, who(r), note)
		}
		if err != nil {
			failed++
		}
	}
	still := failed
	if what == "retry" {
		for i := range list {
			if e, err := w.opts.Exception(list[i].ID); err == nil && e.State == "open" {
				still++
			}
		}
	}
	return done(rw, r, comma(int64(len(list)-still))+" of "+comma(int64(len(list)))+map[string]string{"retry": " took effect", "discard": " are discarded"}[what]+"; "+comma(int64(still))+" stay open.")
}

// causes counts by cause among the first thousand of the state.
func (w *Web) causes(f ledger.Filter) ([]cause, error) {
	f.Code, f.After, f.Limit = "", "", 1000
	all, err := w.opts.Exceptions(f)
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for i := range all {
		n[all[i].Code]++
	}
	var out []cause
	for k, v := range n {
		out = append(out, cause{Code: k, N: v, More: len(all) == f.Limit})
	}
	slices.SortFunc(out, func(a, b cause) int {
		if a.N != b.N {
			return b.N - a.N
		}
		return strings.Compare(a.Code, b.Code)
	})
	return out, nil
}

// document shows what was meant: decoded where it could be, else its bytes.
func document(e *protocol.Exception) string {
	if e.Document != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		if err := enc.Encode(e.Document); err == nil {
			return bound(strings.TrimSpace(b.String()))
		}
	}
	if len(e.Raw) == 0 {
		return ""
	}
	return bound(strings.TrimSpace(hex.Dump(e.Raw[:min(len(e.Raw), documentBytesMax/5)])))
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
