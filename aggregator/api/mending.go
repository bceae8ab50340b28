package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Mending decides what could not take effect: corrected, many at a time, and by the
// policies of sources.
type Mending interface {
	EditException(ctx context.Context, id string, document []byte, who, note string) (protocol.Exception, error)
	ExceptionStep(ctx context.Context, f ledger.Filter, action, who, note string, preview bool) (protocol.ExceptionBulk, error)
	ExceptionCauses(f ledger.Filter) (list []protocol.ExceptionCause, more bool, err error)
	Sources() ([]protocol.SourceStanding, error)
	PauseSource(ctx context.Context, source, who, reason string) error
	ResumeSource(ctx context.Context, source, who, reason string) error
}

func mendingRoutes() []route {
	return []route{
		{"GET /v1/exceptions", deciders, 0, (*API).exceptions},
		{"GET /v1/exceptions/causes", deciders, 0, (*API).causes},
		{"POST /v1/exceptions/bulk", deciders, controlBodyMax, (*API).bulkExceptions},
		{"POST /v1/exceptions/{id}/edit", deciders, protocol.BodyBytesMax, (*API).editException},
		{"POST /v1/feeds/{source}/replay", deciders, controlBodyMax, (*API).replayParked},
		{"GET /v1/sources", deciders, 0, (*API).sources},
		{"POST /v1/sources/{source}/pause", deciders, controlBodyMax, (*API).pauseSource},
		{"POST /v1/sources/{source}/resume", deciders, controlBodyMax, (*API).resumeSource},
		{"GET /v1/exceptions/{id}", deciders, 0, (*API).exception},
		{"POST /v1/exceptions/{id}/retry", deciders, controlBodyMax, (*API).retry},
		{"POST /v1/exceptions/{id}/discard", deciders, controlBodyMax, (*API).discard},
	}
}

// exceptionFilter is a filter as it stands in a body.
type exceptionFilter struct {
	Code   string    `json:"code"`
	Store  string    `json:"store"`
	Source string    `json:"source"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
}

func (f *exceptionFilter) ledger() ledger.Filter {
	return ledger.Filter{Code: f.Code, Store: protocol.StoreID(f.Store), Source: f.Source, Since: f.Since, Until: f.Until}
}

// editException takes {"document":{…},"note":"…"}.
func (a *API) editException(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Document json.RawMessage `json:"document"`
		Note     string          `json:"note"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if len(req.Document) == 0 {
		return invalid("/document", "is missing", "send the document as GET shows it, corrected")
	}
	note, err := noteOf("/note", req.Note)
	if err != nil {
		return err
	}
	x, err := a.o.Mending.EditException(r.Context(), r.PathValue("id"), req.Document, who(r), note)
	if err != nil {
		return a.undecided(err)
	}
	return reply(w, http.StatusOK, x)
}

// noteOf demands a reason.
func noteOf(pointer, s string) (string, error) {
	if s = strings.TrimSpace(s); s == "" || len(s) > noteBytesMax {
		return "", invalid(pointer, fmt.Sprintf("has %d bytes", len(s)), fmt.Sprintf("say in 1 to %d bytes why; it is kept with the decision", noteBytesMax))
	}
	return s, nil
}

// bulkExceptions decides the next of those that match, or counts them.
func (a *API) bulkExceptions(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Action  string          `json:"action"`
		Filter  exceptionFilter `json:"filter"`
		Reason  string          `json:"reason"`
		Preview bool            `json:"preview"`
		After   string          `json:"after"`
		Limit   int             `json:"limit"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.Action != protocol.ExceptionRetry && req.Action != protocol.ExceptionDiscard {
		return invalid("/action", fmt.Sprintf("is %.40q", req.Action), "use retry or discard")
	}
	if req.Limit < 0 || req.Limit > bulkMax {
		return invalid("/limit", fmt.Sprintf("is %d", req.Limit), fmt.Sprintf("decide 1 to %d at once, and go on with next", bulkMax))
	}
	if !req.Preview && req.Action == protocol.ExceptionDiscard {
		if _, err := noteOf("/reason", req.Reason); err != nil {
			return err
		}
	}
	if req.Filter == (exceptionFilter{}) {
		return invalid("/filter", "names nothing", "name a code, a store, a source, since or until: all exceptions at once are decided by nobody")
	}
	f := req.Filter.ledger()
	f.After, f.Limit = req.After, req.Limit
	b, err := a.o.Mending.ExceptionStep(r.Context(), f, req.Action, who(r), strings.TrimSpace(req.Reason), req.Preview)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, b)
}

// replayParked tries again what a source parked since a moment.
func (a *API) replayParked(w http.ResponseWriter, r *http.Request) error {
	source := r.PathValue("source")
	if err := protocol.CheckName(source); err != nil {
		return invalid("/source", err.Error(), "name the sending system in the path")
	}
	var req struct {
		Since    time.Time `json:"since"`
		Code     string    `json:"code"`
		Location string    `json:"location"`
		Preview  bool      `json:"preview"`
		After    string    `json:"after"`
		Limit    int       `json:"limit"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.Since.IsZero() {
		return invalid("/since", "is missing", "say from when on parked documents are tried again, as 2026-11-23T08:00:00Z")
	}
	if req.Limit < 0 || req.Limit > bulkMax {
		return invalid("/limit", fmt.Sprintf("is %d", req.Limit), fmt.Sprintf("try 1 to %d at once, and go on with next", bulkMax))
	}
	f := ledger.Filter{Source: source, Since: req.Since, Code: req.Code, Store: protocol.StoreID(req.Location), After: req.After, Limit: req.Limit}
	b, err := a.o.Mending.ExceptionStep(r.Context(), f, protocol.ExceptionRetry, who(r), "replay of "+source, req.Preview)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, b)
}

// causes lists what is open, by cause.
func (a *API) causes(w http.ResponseWriter, r *http.Request) error {
	var f ledger.Filter
	for key, values := range r.URL.Query() {
		switch v := values[0]; key {
		case "store":
			f.Store = protocol.StoreID(v)
		case "source":
			f.Source = v
		default:
			return invalid("/"+key, "is not a parameter here", "use store or source")
		}
	}
	list, more, err := a.o.Mending.ExceptionCauses(f)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"causes": list, "more": more})
}

func (a *API) sources(w http.ResponseWriter, _ *http.Request) error {
	list, err := a.o.Mending.Sources()
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"sources": list})
}

func (a *API) pauseSource(w http.ResponseWriter, r *http.Request) error {
	return a.turnSource(w, r, a.o.Mending.PauseSource)
}

func (a *API) resumeSource(w http.ResponseWriter, r *http.Request) error {
	return a.turnSource(w, r, a.o.Mending.ResumeSource)
}

func (a *API) turnSource(w http.ResponseWriter, r *http.Request, do func(ctx context.Context, source, who, reason string) error) error {
	source := r.PathValue("source")
	if err := protocol.CheckName(source); err != nil {
		return invalid("/source", err.Error(), "name a feed in the path, as GET /v1/sources does")
	}
	var req struct {
		Reason string `json:"reason"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	reason, err := noteOf("/reason", req.Reason)
	if err != nil {
		return err
	}
	if err := do(r.Context(), source, who(r), reason); err != nil {
		return err
	}
	return a.sources(w, r)
}

// timeOf reads a time of a query.
func timeOf(pointer, v string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		return t, invalid(pointer, fmt.Sprintf("is %.40q", v), "write it as 2026-11-23T08:00:00Z")
	}
	return t, nil
}
