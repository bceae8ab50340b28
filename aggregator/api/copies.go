package api

import (
	"context"
	"net/http"

	"tillwire/protocol"
)

// Copies are processes that speak under one agent's name.
type Copies interface {
	Copies(ctx context.Context, o protocol.Origin) (protocol.Copies, bool, error)
	PickCopy(ctx context.Context, o protocol.Origin, boot, who string) (protocol.Copies, error)
}

func (a *API) copies(w http.ResponseWriter, r *http.Request) error {
	o := originOf(r)
	v, ok, err := a.o.Copies.Copies(r.Context(), o)
	if err != nil {
		return err
	}
	if !ok {
		return notFound("no_copies", "No copies of this agent were quarantined", o.String(), "GET /v1/stores/"+string(o.Store)+" shows its incidents")
	}
	return reply(w, http.StatusOK, v)
}

func (a *API) pick(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		BootID string `json:"boot_id"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.BootID == "" || len(req.BootID) > protocol.IDBytesMax {
		return invalid("/boot_id", "is missing or too long", "name the copy that goes on; GET …/copies lists them")
	}
	v, err := a.o.Copies.PickCopy(r.Context(), originOf(r), req.BootID, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, v)
}

// originOf is the agent that a path names.
func originOf(r *http.Request) protocol.Origin {
	return protocol.Origin{Store: protocol.StoreID(r.PathValue("store")), Agent: protocol.AgentID(r.PathValue("agent"))}
}
