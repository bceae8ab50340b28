package api

import (
	"context"
	"errors"
	"net/http"

	"tillwire/protocol"
)

// Identities are who may speak as an agent. Changes are answered when they are
// durable; a revocation has ended the session by then.
type Identities interface {
	Identities() []protocol.Identity
	SignIdentity(ctx context.Context, o protocol.Origin, csr, by string) (protocol.Enrolled, error)
	RevokeIdentity(ctx context.Context, o protocol.Origin, by, reason string) (protocol.Identity, error)
}

// Keys are the API keys that were issued.
type Keys interface {
	APIKeys() ([]protocol.APIKey, error)
	RevokeAPIKey(ctx context.Context, idOrName, by string) error
}

func identityRoutes() []route {
	return []route{
		{"GET /v1/identities", deciders, 0, (*API).identities},
		{"POST /v1/identities", "admin", controlBodyMax, (*API).signIdentity},
		{"POST /v1/identities/{store}/{agent}/revoke", deciders, controlBodyMax, (*API).revokeIdentity},
		{"GET /v1/keys", "admin", 0, (*API).keys},
		{"POST /v1/keys/{id}/revoke", "admin", controlBodyMax, (*API).revokeKey},
	}
}

func (a *API) identities(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]any{"identities": a.o.Identities.Identities()})
}

// signIdentity enrols a host that cannot reach us: its request was brought by hand.
func (a *API) signIdentity(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Store protocol.StoreID `json:"store"`
		Agent protocol.AgentID `json:"agent"`
		CSR   string           `json:"csr"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	o, err := namedOrigin(string(req.Store), string(req.Agent))
	if err != nil {
		return err
	}
	got, err := a.o.Identities.SignIdentity(r.Context(), o, req.CSR, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusCreated, got)
}

func (a *API) revokeIdentity(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Reason string `json:"reason"`
	}
	if r.ContentLength != 0 {
		if err := decode(r, &req); err != nil {
			return err
		}
	}
	o, err := namedOrigin(r.PathValue("store"), r.PathValue("agent"))
	if err != nil {
		return err
	}
	got, err := a.o.Identities.RevokeIdentity(r.Context(), o, who(r), req.Reason)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, got)
}

func namedOrigin(store, agent string) (protocol.Origin, error) {
	for _, f := range []struct{ pointer, value string }{{"/store", store}, {"/agent", agent}} {
		if err := protocol.CheckName(f.value); err != nil {
			return protocol.Origin{}, invalid(f.pointer, err.Error(), "e.g. S0042 and server")
		}
	}
	return protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, nil
}

func (a *API) keys(w http.ResponseWriter, _ *http.Request) error {
	list, err := a.o.Keys.APIKeys()
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"keys": list})
}

func (a *API) revokeKey(w http.ResponseWriter, r *http.Request) error {
	err := a.o.Keys.RevokeAPIKey(r.Context(), r.PathValue("id"), who(r))
	if errors.Is(err, ErrUnknownKey) {
		return notFound("unknown_key", "No key of that id or name was issued", "", "GET /v1/keys lists them")
	}
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]string{"revoked": r.PathValue("id")})
}

// ErrUnknownKey is what Keys answers where there is no such key.
var ErrUnknownKey = errors.New("no such key")
