package web

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// oneException is one: its document, what was done to it, and the editor.
type oneException struct {
	exceptionData
	Ops      bool
	Editor   string // the document to correct; "" with Edit: it could not be decoded
	TooLong  bool   // it can be edited, but not here
	Original string // as it came, where somebody corrected it
	Path     string
}

// editable tells whether a person can put a corrected document in its place: it is
// ours, decoded or not, and has not taken effect. What a partner sent stays as it
// came.
func editable(e *protocol.Exception) bool {
	return e.State == "open" && e.Media == "" && !e.Counted && e.Code != "mass_zeroing" && e.Code != "snapshot_older" && (len(e.Raw) > 0 || e.Document != nil)
}

func (w *Web) exceptionPage(rw http.ResponseWriter, r *http.Request) error {
	e, err := w.opts.Exception(r.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return notFound("There is no such exception.")
	}
	if err != nil {
		return err
	}
	ops := person(r).Role >= Ops
	d := &oneException{exceptionData: exceptionData{e, document(&e), ops && e.State == "open", ops && editable(&e)}, Ops: ops, Original: original(e.Original)}
	if d.Edit {
		d.Editor = indented(e.Document)
		if d.TooLong = len(d.Editor) > documentBytesMax; d.TooLong {
			d.Edit = false
		}
	}
	return w.show(rw, r, "exception", "Exception", d)
}

// original is a record as it came: its document, or its bytes.
func original(raw []byte) string {
	var ev protocol.Event
	if _, err := protocol.DecodeRecord(raw, &ev); err == nil {
		return bound(indented(protocol.ViewDocument(&ev)))
	}
	return bound(dump(raw))
}

// edit puts a corrected document in the place of the parked one.
func (w *Web) edit(rw http.ResponseWriter, r *http.Request) error {
	var in struct {
		Document string `json:"document"`
		Note     string `json:"note"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return badRequest("The body must be JSON with document and note, and no longer than 64 KiB.")
	}
	if in.Note = strings.TrimSpace(in.Note); in.Note == "" || len(in.Note) > noteBytesMax {
		return noteMissing()
	}
	id := r.PathValue("id")
	x, err := w.opts.Mending.EditException(context.WithoutCancel(r.Context()), id, []byte(in.Document), who(r), in.Note)
	w.sources.forget()
	if err != nil {
		return w.decided("edit "+id, err)
	}
	say := "Corrected, and it took effect."
	if x.State == "open" {
		say = "The correction is kept; it still cannot take effect: " + x.Reason
	}
	return done(rw, r, say)
}
