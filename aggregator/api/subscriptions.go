package api

import (
	"context"
	"net/http"
	"time"

	"tillwire/protocol"
)

// Subscriptions are the outbound webhooks.
type Subscriptions interface {
	Create(ctx context.Context, r *protocol.SubscriptionRequest, who string) (protocol.Subscription, error)
	List() []protocol.Subscription
	Get(id string) (protocol.Subscription, error)
	Delete(ctx context.Context, id, who string) error
	Test(ctx context.Context, id, who string) (protocol.SubscriptionTest, error)
	Rotate(ctx context.Context, id string, overlap time.Duration, who string) (protocol.Subscription, error)
	Resume(ctx context.Context, id, who string) (protocol.Subscription, error)
	Replay(ctx context.Context, id string, from time.Time, position uint64, who string) (protocol.Subscription, error)
	DeadLetters(id string) ([]protocol.DeadLetter, error)
	DecideDeadLetter(ctx context.Context, id, letter string, retry bool, who string) (protocol.DeadLetter, error)
}

func (a *API) subscribe(w http.ResponseWriter, r *http.Request) error {
	b, err := body(r)
	if err != nil {
		return err
	}
	req, p := protocol.DecodeSubscription(b)
	if p != nil {
		return p
	}
	s, err := a.o.Subscriptions.Create(r.Context(), req, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusCreated, s)
}

func (a *API) subscriptions(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]any{"subscriptions": a.o.Subscriptions.List()})
}

func (a *API) subscription(w http.ResponseWriter, r *http.Request) error {
	s, err := a.o.Subscriptions.Get(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s)
}

func (a *API) unsubscribe(w http.ResponseWriter, r *http.Request) error {
	s, err := a.o.Subscriptions.Get(r.PathValue("id"))
	if err == nil {
		err = a.o.Subscriptions.Delete(r.Context(), s.ID, who(r))
	}
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s)
}

func (a *API) testSubscription(w http.ResponseWriter, r *http.Request) error {
	out, err := a.o.Subscriptions.Test(r.Context(), r.PathValue("id"), who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, out)
}

func (a *API) rotateSubscription(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		OverlapS *int64 `json:"overlap_s"`
	}
	if r.ContentLength != 0 {
		if err := decode(r, &req); err != nil {
			return err
		}
	}
	overlap := time.Duration(0) // the usual
	if req.OverlapS != nil {
		if *req.OverlapS < 1 || *req.OverlapS > overlapMaxS {
			return invalid("/overlap_s", "is not 1 to 604800", "say for how many seconds the old secret signs too; 1 ends it at once")
		}
		overlap = time.Duration(*req.OverlapS) * time.Second
	}
	s, err := a.o.Subscriptions.Rotate(r.Context(), r.PathValue("id"), overlap, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s)
}

func (a *API) resumeSubscription(w http.ResponseWriter, r *http.Request) error {
	s, err := a.o.Subscriptions.Resume(r.Context(), r.PathValue("id"), who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s)
}

func (a *API) replaySubscription(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		From     time.Time `json:"from"`
		Position *uint64   `json:"position"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.From.IsZero() == (req.Position == nil) {
		return invalid("/from", "and /position: exactly one is needed", "give a time, or a ledger position such as a message's")
	}
	var position uint64
	if req.Position != nil {
		position = *req.Position
	}
	s, err := a.o.Subscriptions.Replay(r.Context(), r.PathValue("id"), req.From, position, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusAccepted, s)
}

func (a *API) deadLetters(w http.ResponseWriter, r *http.Request) error {
	list, err := a.o.Subscriptions.DeadLetters(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"dead_letters": append([]protocol.DeadLetter{}, list...)})
}

func (a *API) retryDeadLetter(w http.ResponseWriter, r *http.Request) error {
	return a.decideDeadLetter(w, r, true)
}

func (a *API) discardDeadLetter(w http.ResponseWriter, r *http.Request) error {
	return a.decideDeadLetter(w, r, false)
}

func (a *API) decideDeadLetter(w http.ResponseWriter, r *http.Request, retry bool) error {
	d, err := a.o.Subscriptions.DecideDeadLetter(r.Context(), r.PathValue("id"), r.PathValue("letter"), retry, who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, d)
}
