package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
)

// Reconciliations are what outer systems state against the book.
type Reconciliations interface {
	Reconciliations(ctx context.Context, f reconcile.Filter) ([]protocol.Reconciliation, error)
	Reconciliation(ctx context.Context, id string) (protocol.Reconciliation, bool, error)
	Decide(ctx context.Context, id, action, who, note string) (protocol.Reconciliation, error)
}

func (a *API) reconciliations(w http.ResponseWriter, r *http.Request) error {
	f := reconcile.Filter{Limit: 100}
	for key, values := range r.URL.Query() {
		v := values[0]
		switch key {
		case "id":
			return a.reconciliation(w, r, v)
		case "state":
			f.State = v
		case "kind":
			f.Kind = v
		case "source":
			f.Source = v
		case "location":
			f.Location = protocol.StoreID(v)
		case "after":
			f.After = v
		case "limit":
			n, err := number(v, f.Limit, pageMax)
			if err != nil {
				return invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", pageMax))
			}
			f.Limit = n
		default:
			return invalid("/"+key, "is not a parameter here", "use id, state, kind, source, location, after or limit")
		}
	}
	list, err := a.o.Reconciliations.Reconciliations(r.Context(), f)
	if err != nil {
		return err
	}
	page := struct {
		Reconciliations []protocol.Reconciliation `json:"reconciliations"`
		Next            string                    `json:"next,omitempty"` // as after=
	}{Reconciliations: list}
	if page.Reconciliations == nil {
		page.Reconciliations = []protocol.Reconciliation{}
	}
	if len(list) == f.Limit {
		page.Next = list[len(list)-1].ID
	}
	return reply(w, http.StatusOK, page)
}

func (a *API) reconciliation(w http.ResponseWriter, r *http.Request, id string) error {
	row, ok, err := a.o.Reconciliations.Reconciliation(r.Context(), id)
	if err != nil {
		return err
	}
	list := []protocol.Reconciliation{}
	if ok {
		list = append(list, row)
	}
	return reply(w, http.StatusOK, map[string]any{"reconciliations": list})
}

// decideReconciliation takes {"id","action","note"}: ids have slashes, so they
// stand in the body.
func (a *API) decideReconciliation(w http.ResponseWriter, r *http.Request) error {
	b, err := body(r)
	if err != nil {
		return err
	}
	var req struct {
		ID     string `json:"id"`
		Action string `json:"action"`
		Note   string `json:"note"`
	}
	if p := protocol.DecodeStrict(b, &req); p != nil {
		return p
	}
	if req.Action != protocol.DecideAdopt && req.Action != protocol.DecideDismiss && req.Action != protocol.DecideWriteOff {
		return invalid("/action", fmt.Sprintf("is %q", req.Action), "use adopt, dismiss or write_off, as the row's actions allow")
	}
	if req.Note = strings.TrimSpace(req.Note); req.Note == "" || len(req.Note) > noteBytesMax {
		return invalid("/note", fmt.Sprintf("has %d bytes", len(req.Note)), fmt.Sprintf("say in 1 to %d bytes why; it is kept with the decision", noteBytesMax))
	}
	row, err := a.o.Reconciliations.Decide(r.Context(), req.ID, req.Action, who(r), req.Note)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, row)
}
