package api

import (
	"context"
	"net/http"

	"tillwire/protocol"
)

// Releases are the agent's programs, and who is to run which.
type Releases interface {
	View() (protocol.Releases, error)
	Set(ctx context.Context, next protocol.Rollout, who string) (protocol.Releases, error)
	ServeOffer(w http.ResponseWriter, r *http.Request) error
	ServeProgram(w http.ResponseWriter, r *http.Request) error
}

func (a *API) releases(w http.ResponseWriter, _ *http.Request) error {
	v, err := a.o.Releases.View()
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, v)
}

func (a *API) putRollout(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Version string             `json:"version"`
		Percent int                `json:"percent"`
		Stores  []protocol.StoreID `json:"stores"`
		Regions []string           `json:"regions"`
		Paused  string             `json:"paused"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	v, err := a.o.Releases.Set(r.Context(), protocol.Rollout{Version: req.Version, Percent: req.Percent, Stores: req.Stores, Regions: req.Regions, Paused: req.Paused}, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, v)
}

func (a *API) releaseOffer(w http.ResponseWriter, r *http.Request) error {
	return a.o.Releases.ServeOffer(w, r)
}

func (a *API) releaseProgram(w http.ResponseWriter, r *http.Request) error {
	return a.o.Releases.ServeProgram(w, r)
}
