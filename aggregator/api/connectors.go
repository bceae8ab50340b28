package api

import (
	"context"
	"net/http"
	"time"

	"tillwire/protocol"
)

// Connectors are the outer systems that the aggregator works with.
type Connectors interface {
	Connectors() []protocol.Connector
	// Deliver takes what a system posts. Its signature is the only credential.
	Deliver(ctx context.Context, connector string, h http.Header, body []byte) (protocol.WebhookReceipt, error)
	LettersOf(connector string) ([]protocol.DeadLetter, error)
	DecideLetter(ctx context.Context, connector, letter string, retry bool, who string) (protocol.DeadLetter, error)
	Divergences(connector string) ([]protocol.Divergence, error)
	// ReplayFeed has a watched folder read again what was written since a time.
	ReplayFeed(ctx context.Context, name string, from time.Time, who string) (files int, err error)
}

func channelRoutes() []route {
	return []route{
		{"POST /v1/webhooks/{connector}", "", protocol.BodyBytesMax, (*API).webhook},
		{"GET /v1/connectors", deciders, 0, (*API).connectors},
		{"GET /v1/connectors/{name}", deciders, 0, (*API).connector},
		{"POST /v1/connectors/{name}/replay", deciders, controlBodyMax, (*API).replayFeed},
		{"GET /v1/connectors/{name}/divergences", deciders, 0, (*API).divergences},
		{"GET /v1/connectors/{name}/dead-letters", deciders, 0, (*API).connectorLetters},
		{"POST /v1/connectors/{name}/dead-letters/{letter}/retry", deciders, 0, (*API).retryLetter},
		{"DELETE /v1/connectors/{name}/dead-letters/{letter}", deciders, 0, (*API).discardLetter},
		{"POST /v1/subscriptions", "admin", protocol.BodyBytesMax, (*API).subscribe},
		{"GET /v1/subscriptions", deciders, 0, (*API).subscriptions},
		{"GET /v1/subscriptions/{id}", deciders, 0, (*API).subscription},
		{"DELETE /v1/subscriptions/{id}", "admin", 0, (*API).unsubscribe},
		{"POST /v1/subscriptions/{id}/test", "admin", 0, (*API).testSubscription},
		{"POST /v1/subscriptions/{id}/rotate", "admin", controlBodyMax, (*API).rotateSubscription},
		{"POST /v1/subscriptions/{id}/resume", "admin", 0, (*API).resumeSubscription},
		{"POST /v1/subscriptions/{id}/replay", "admin", controlBodyMax, (*API).replaySubscription},
		{"GET /v1/subscriptions/{id}/dead-letters", deciders, 0, (*API).deadLetters},
		{"POST /v1/subscriptions/{id}/dead-letters/{letter}/retry", deciders, 0, (*API).retryDeadLetter},
		{"DELETE /v1/subscriptions/{id}/dead-letters/{letter}", deciders, 0, (*API).discardDeadLetter},
	}
}

func (a *API) connectors(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]any{"connectors": append([]protocol.Connector{}, a.o.Connectors.Connectors()...)})
}

func (a *API) connector(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	for _, c := range a.o.Connectors.Connectors() {
		if c.Name == name {
			return reply(w, http.StatusOK, c)
		}
	}
	return notFound("unknown_connector", "No such connector", name, "GET /v1/connectors lists those that the configuration names")
}

// webhook takes a call of a commerce system or marketplace. Who calls is known by the
// signature over the body as it came.
func (a *API) webhook(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("connector")
	if p := a.rates.take(w, "webhooks"); p != nil {
		return p
	}
	b, err := body(r)
	if err != nil {
		return err
	}
	receipt, err := a.o.Connectors.Deliver(r.Context(), name, r.Header, b)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, receipt)
}

func (a *API) connectorLetters(w http.ResponseWriter, r *http.Request) error {
	list, err := a.o.Connectors.LettersOf(r.PathValue("name"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"dead_letters": append([]protocol.DeadLetter{}, list...)})
}

func (a *API) retryLetter(w http.ResponseWriter, r *http.Request) error {
	return a.decideLetter(w, r, true)
}

func (a *API) discardLetter(w http.ResponseWriter, r *http.Request) error {
	return a.decideLetter(w, r, false)
}

func (a *API) decideLetter(w http.ResponseWriter, r *http.Request, retry bool) error {
	d, err := a.o.Connectors.DecideLetter(r.Context(), r.PathValue("name"), r.PathValue("letter"), retry, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, d)
}

func (a *API) replayFeed(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		From time.Time `json:"from"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.From.IsZero() {
		return invalid("/from", "is missing", "say from when on files are read again, by when they were written, e.g. 2026-11-23T00:00:00Z")
	}
	n, err := a.o.Connectors.ReplayFeed(r.Context(), r.PathValue("name"), req.From, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusAccepted, map[string]int{"files": n})
}

func (a *API) divergences(w http.ResponseWriter, r *http.Request) error {
	list, err := a.o.Connectors.Divergences(r.PathValue("name"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"divergences": append([]protocol.Divergence{}, list...)})
}
