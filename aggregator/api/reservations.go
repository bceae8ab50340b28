package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// Reservations hold stock. Their answers are durable.
type Reservations interface {
	Reserve(ctx context.Context, r *protocol.ReservationRequest) (answer protocol.Reservation, created bool, err error)
	Command(ctx context.Context, id string, what reserve.Command, ttlS int64) (protocol.Reservation, error)
	Reservation(ctx context.Context, id string) (protocol.Reservation, bool, error)
	Reservations(ctx context.Context, f reserve.Filter) ([]protocol.Reservation, error)
}

// body reads a request's body, which the route has bounded.
func body(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", err)
	}
	return b, nil
}

func (a *API) reserve(w http.ResponseWriter, r *http.Request) error {
	b, err := body(r)
	if err != nil {
		return err
	}
	req, p := protocol.DecodeReservation(b)
	if p != nil {
		return p
	}
	if tp := r.Header.Get("Traceparent"); req.Traceparent == "" && protocol.ValidTraceparent(tp) { // an invalid header is ignored, as W3C asks
		req.Traceparent = tp
	}
	answer, created, err := a.o.Reservations.Reserve(r.Context(), req)
	if err != nil {
		return err
	}
	if created {
		return reply(w, http.StatusCreated, answer)
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) reservation(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	answer, ok, err := a.o.Reservations.Reservation(r.Context(), id)
	if err != nil {
		return err
	}
	if !ok {
		return notFound("unknown_reservation", "No such reservation", id, "check the id; what is over is forgotten after 7 days")
	}
	return reply(w, http.StatusOK, answer)
}

func (a *API) reservations(w http.ResponseWriter, r *http.Request) error {
	f := reserve.Filter{Limit: 100}
	for key, values := range r.URL.Query() {
		v := values[0]
		switch key {
		case "state":
			f.State = protocol.ReservationState(v)
		case "location":
			f.Location = protocol.StoreID(v)
		case "at_risk":
			f.AtRisk = v == "true"
		case "after":
			f.After = v
		case "limit":
			n, err := number(v, f.Limit, pageMax)
			if err != nil {
				return invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", pageMax))
			}
			f.Limit = n
		default:
			return invalid("/"+key, "is not a parameter here", "use state, location, at_risk, after or limit")
		}
	}
	list, err := a.o.Reservations.Reservations(r.Context(), f)
	if err != nil {
		return err
	}
	page := struct {
		Reservations []protocol.Reservation `json:"reservations"`
		Next         string                 `json:"next,omitempty"` // as after=
	}{Reservations: list}
	if len(list) == f.Limit {
		page.Next = list[len(list)-1].ReservationID
	}
	return reply(w, http.StatusOK, page)
}

func (a *API) release(w http.ResponseWriter, r *http.Request) error {
	return a.command(w, r, reserve.Release, 0)
}

func (a *API) confirm(w http.ResponseWriter, r *http.Request) error {
	return a.command(w, r, reserve.Confirm, 0)
}

func (a *API) fulfil(w http.ResponseWriter, r *http.Request) error {
	return a.command(w, r, reserve.Fulfil, 0)
}

func (a *API) extend(w http.ResponseWriter, r *http.Request) error {
	b, err := body(r)
	if err != nil {
		return err
	}
	req := struct {
		TTLS int64 `json:"ttl_s"`
	}{protocol.ReservationTTLUsualS}
	if len(b) > 0 {
		if p := protocol.DecodeStrict(b, &req); p != nil {
			return p
		}
	}
	if req.TTLS < 1 || req.TTLS > protocol.ReservationTTLMaxS {
		return invalid("/ttl_s", fmt.Sprintf("is %d", req.TTLS), fmt.Sprintf("give 1 to %d seconds from now", protocol.ReservationTTLMaxS))
	}
	return a.command(w, r, reserve.Extend, req.TTLS)
}

func (a *API) command(w http.ResponseWriter, r *http.Request, what reserve.Command, ttlS int64) error {
	id, do := r.PathValue("id"), a.o.Reservations.Command
	if decides(r) {
		do = func(ctx context.Context, id string, what reserve.Command, ttlS int64) (protocol.Reservation, error) {
			return a.o.Decide(ctx, id, what, ttlS, "", who(r))
		}
	}
	answer, err := do(r.Context(), id, what, ttlS)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, answer)
}

// settled holds a read back until what its ?after= token speaks of is shown. The
// token is a ledger position, or store/agent:epoch:seq of a document that a till
// has journaled.
func (a *API) settled(r *http.Request, token string) error {
	if token == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), settleWait)
	defer cancel()
	err := a.o.Settled(ctx, token)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return protocol.NewProblem(http.StatusServiceUnavailable, "not_yet_merged", "What was written is not merged yet",
			"waited "+settleWait.String()+" for "+token, "ask again, or without after= for what is known now; GET /v1/stores shows which store lags")
	case r.Context().Err() != nil, errors.As(err, new(*protocol.Problem)):
		return err
	}
	return invalid("/after", err.Error(), "pass the token of an answer as it is, or STORE/AGENT:EPOCH:SEQ")
}

// settleWait is how long a read waits for the write that it is to see.
const settleWait = 2 * time.Second

func (a *API) certificate(w http.ResponseWriter, r *http.Request) error {
	c, err := a.o.Certificate(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, c)
}
