package api

import (
	"context"
	"net/http"

	"tillwire/protocol"
)

// Policies are versioned by who and when.
type Policies interface {
	PutPolicy(ctx context.Context, p *protocol.Policy, who string) (protocol.Policy, error)
	DeletePolicy(ctx context.Context, id, who string) (protocol.Policy, error)
	ListPolicies(ctx context.Context) ([]protocol.Policy, error)
	PolicyHistory(ctx context.Context, id string) ([]protocol.Policy, error)
}

func (a *API) policies(w http.ResponseWriter, r *http.Request) error {
	list, err := a.o.Policies.ListPolicies(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"policies": list})
}

func (a *API) policy(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	list, err := a.o.Policies.PolicyHistory(r.Context(), id)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return notFound("unknown_policy", "No such policy", id, "GET /v1/policies lists them")
	}
	return reply(w, http.StatusOK, map[string]any{"policy": list[0], "versions": list})
}

func (a *API) putPolicy(w http.ResponseWriter, r *http.Request) error {
	b, err := body(r)
	if err != nil {
		return err
	}
	p, bad := protocol.DecodePolicy(b)
	if bad != nil {
		return bad
	}
	if id := r.PathValue("id"); p.PolicyID != id {
		return invalid("/policy_id", "is "+p.PolicyID+", the address says "+id, "put a policy under its own id")
	}
	stored, err := a.o.Policies.PutPolicy(r.Context(), p, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, stored)
}

func (a *API) deletePolicy(w http.ResponseWriter, r *http.Request) error {
	stored, err := a.o.Policies.DeletePolicy(r.Context(), r.PathValue("id"), who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, stored)
}
