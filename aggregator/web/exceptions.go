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
	State, Code string
	Store       protocol.StoreID
	States      []string
	Causes      []cause
	List        []exceptionData
	Open        int
	After       string // the next page begins behind this
	First       bool
}

type cause struct {
	Code string
	N    int
	More bool
}

type exceptionData struct {
	protocol.Exception
	Shown    string
	CanRetry bool
}

var exceptionStates = []string{"open", "retried", "discarded"}

func exceptionFilter(r *http.Request) (ledger.Filter, error) {
	f := ledger.Filter{State: query(r, "state"), Code: query(r, "code"), Store: protocol.StoreID(query(r, "store")), After: query(r, "after")}
	if f.State == "" {
		f.State = "open"
	}
	if !slices.Contains(exceptionStates, f.State) {
		return f, badRequest("state must be one of open, retried, discarded.")
	}
	return f, nil
}

func (w *Web) exceptionsPage(rw http.ResponseWriter, r *http.Request) error {
	f, err := exceptionFilter(r)
	if err != nil {
		return err
	}
	f.Limit = exceptionsPerPage + 1
	list, err := w.opts.Exceptions(f)
	if err != nil {
		return err
	}
	d := &exceptionsData{State: f.State, Code: f.Code, Store: f.Store, States: exceptionStates, Open: w.openCount(), First: f.After == ""}
	if len(list) > exceptionsPerPage {
		list = list[:exceptionsPerPage]
		d.After = list[len(list)-1].ID
	}
	for i := range list {
		d.List = append(d.List, exceptionData{list[i], document(&list[i]), list[i].State == "open"})
	}
	if d.Causes, err = w.causes(f); err != nil {
		return err
	}
	fr := w.frame(r, "exceptions", "Exceptions")
	fr.Data = d
	return w.render(rw, r, "exceptions.html", fr)
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
		out = append(out, cause{k, v, len(all) == f.Limit})
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
	return w.decide(rw, r, "retry", func(ctx context.Context, id string) error {
		if w.opts.Retry == nil {
			return notFound("This aggregator cannot retry.")
		}
		return w.opts.Retry(ctx, id, who(r))
	})
}

func (w *Web) discard(rw http.ResponseWriter, r *http.Request) error {
	var in struct {
		Note string `json:"note"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return badRequest("The body must be JSON with a note.")
	}
	in.Note = strings.TrimSpace(in.Note)
	if in.Note == "" || len(in.Note) > noteBytesMax {
		return &pageError{http.StatusUnprocessableEntity, "note_missing", "Say why it is discarded, in at most 500 characters."}
	}
	return w.decide(rw, r, "discard", func(ctx context.Context, id string) error {
		if w.opts.Discard == nil {
			return notFound("This aggregator cannot discard.")
		}
		return w.opts.Discard(ctx, id, who(r), in.Note)
	})
}

func (w *Web) decide(rw http.ResponseWriter, r *http.Request, what string, do func(context.Context, string) error) error {
	id := r.PathValue("id")
	if err := do(context.WithoutCancel(r.Context()), id); err != nil {
		return w.decided(what+" "+id, err)
	}
	out := map[string]any{"ok": true, "open": w.openCount()}
	if w.opts.Exception != nil {
		if e, err := w.opts.Exception(id); err == nil {
			out["state"], out["reason"] = e.State, e.Reason
		}
	}
	return writeJSON(rw, r, out)
}
