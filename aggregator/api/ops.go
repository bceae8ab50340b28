package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

func (a *API) stores(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]any{
		"stores": a.o.Fleet.Statuses(), "incidents": append([]protocol.Incident{}, a.o.Fleet.ChainIncidents()...), "safe_covered_by": a.o.Fleet.SafeCoveredBy(),
	})
}

func (a *API) store(w http.ResponseWriter, r *http.Request) error {
	s, err := a.storeOf(r)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, s)
}

func (a *API) storeOf(r *http.Request) (protocol.StoreStatus, error) {
	id := r.PathValue("store")
	s, ok := a.o.Fleet.Status(protocol.StoreID(id))
	if !ok {
		return s, notFound("unknown_store", "No such store", id, "GET /v1/stores lists the stores that were configured or heard of")
	}
	return s, nil
}

func (a *API) agent(w http.ResponseWriter, r *http.Request) error {
	s, err := a.storeOf(r)
	if err != nil {
		return err
	}
	for i := range s.Agents {
		if string(s.Agents[i].Agent) == r.PathValue("agent") {
			return reply(w, http.StatusOK, &s.Agents[i])
		}
	}
	return notFound("unknown_agent", "No such agent in this store", r.PathValue("agent"), "GET /v1/stores/"+string(s.Store)+" lists its agents")
}

func (a *API) exceptions(w http.ResponseWriter, r *http.Request) error {
	f := ledger.Filter{Limit: 100}
	for key, values := range r.URL.Query() {
		v := values[0]
		switch key {
		case "state":
			if v != "open" && v != "retried" && v != "discarded" {
				return invalid("/state", "is "+v, "use open, retried or discarded")
			}
			f.State = v
		case "code":
			f.Code = v
		case "store":
			f.Store = protocol.StoreID(v)
		case "source":
			f.Source = v
		case "since", "until":
			t, err := timeOf("/"+key, v)
			if err != nil {
				return err
			}
			if key == "since" {
				f.Since = t
			} else {
				f.Until = t
			}
		case "after":
			f.After = v
		case "limit":
			n, err := number(v, f.Limit, pageMax)
			if err != nil {
				return invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", pageMax))
			}
			f.Limit = n
		default:
			return invalid("/"+key, "is not a parameter here", "use state, code, store, source, since, until, after or limit")
		}
	}
	list, err := a.o.Exceptions.Exceptions(f)
	if err != nil {
		return err
	}
	page := struct {
		Exceptions []protocol.Exception `json:"exceptions"`
		Next       string               `json:"next,omitempty"` // as after=
	}{Exceptions: list}
	if page.Exceptions == nil {
		page.Exceptions = []protocol.Exception{}
	}
	if len(list) == f.Limit {
		page.Next = list[len(list)-1].ID
	}
	return reply(w, http.StatusOK, page)
}

func (a *API) exception(w http.ResponseWriter, r *http.Request) error {
	x, err := a.o.Exceptions.Exception(r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, x)
}

func (a *API) retry(w http.ResponseWriter, r *http.Request) error {
	x, err := a.o.Door.Retry(r.Context(), r.PathValue("id"), who(r))
	if err != nil {
		return a.undecided(err)
	}
	return reply(w, http.StatusOK, x)
}

func (a *API) discard(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Reason string `json:"reason"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if req.Reason = strings.TrimSpace(req.Reason); req.Reason == "" || len(req.Reason) > noteBytesMax {
		return invalid("/reason", fmt.Sprintf("has %d bytes", len(req.Reason)), fmt.Sprintf("say in 1 to %d bytes why the document is dropped; it is kept with it", noteBytesMax))
	}
	x, err := a.o.Door.Discard(r.Context(), r.PathValue("id"), req.Reason, who(r))
	if err != nil {
		return a.undecided(err)
	}
	return reply(w, http.StatusOK, x)
}

// undecided tells why an exception stays as it is.
func (a *API) undecided(err error) error {
	if s := err.Error(); strings.Contains(s, "not open") || strings.Contains(s, "cannot be retried") {
		return protocol.NewProblem(http.StatusConflict, "exception_decided", "The exception cannot be decided so", s, "GET it to see its state")
	}
	return err
}

func (a *API) feedEvents(w http.ResponseWriter, r *http.Request) error {
	return a.feed(w, r, a.o.Feeds.Events)
}

func (a *API) feedSnapshot(w http.ResponseWriter, r *http.Request) error {
	return a.feed(w, r, a.o.Feeds.Snapshot)
}

func (a *API) feed(w http.ResponseWriter, r *http.Request, take func(context.Context, string, []byte) ([]protocol.FeedResult, error)) error {
	source := r.PathValue("source")
	if err := protocol.CheckName(source); err != nil {
		return invalid("/source", err.Error(), "name the sending system in the path, e.g. /v1/feeds/wms/events")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	results, err := take(r.Context(), source, body)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"results": results})
}

type enrolmentRequest struct {
	Store string `json:"store"`
	Agent string `json:"agent"`
	Hours int    `json:"valid_hours"`
}

func (a *API) enrolmentToken(w http.ResponseWriter, r *http.Request) error {
	var req enrolmentRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if err := protocol.CheckName(req.Store); err != nil {
		return invalid("/store", err.Error(), "name the shop that will enrol")
	}
	if req.Agent != "" {
		if err := protocol.CheckName(req.Agent); err != nil {
			return invalid("/agent", err.Error(), "name the agent, or leave it out")
		}
	}
	valid := enrolmentDefault
	if req.Hours != 0 {
		valid = time.Duration(req.Hours) * time.Hour
	}
	if valid <= 0 || valid > enrolmentMax {
		return invalid("/valid_hours", fmt.Sprintf("is %d", req.Hours), "1 to 24 hours")
	}
	code, until := a.o.Enrolment.Issue(r.Context(), protocol.StoreID(req.Store), protocol.AgentID(req.Agent), valid, who(r))
	return reply(w, http.StatusCreated, map[string]any{"token": code, "store": req.Store, "expires_at": until.UTC()})
}

func (a *API) enroll(w http.ResponseWriter, r *http.Request) error {
	var req protocol.Enroll
	if err := decode(r, &req); err != nil {
		return err
	}
	for _, f := range []struct{ pointer, value string }{{"/store", string(req.Store)}, {"/agent", string(req.Agent)}} {
		if err := protocol.CheckName(f.value); err != nil {
			return invalid(f.pointer, err.Error(), "e.g. S0042 and server")
		}
	}
	got, err := a.o.Enrolment.Enroll(r.Context(), req.Token, protocol.Origin{Store: req.Store, Agent: req.Agent}, req.CSR)
	if err != nil {
		return err
	}
	return reply(w, http.StatusCreated, got)
}

func (a *API) healthz(w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (a *API) readyz(w http.ResponseWriter, _ *http.Request) error {
	if err := a.o.Ready(); err != nil {
		return protocol.NewProblem(http.StatusServiceUnavailable, "not_ready", "Not ready", err.Error(), "wait; the log says what is being done")
	}
	return reply(w, http.StatusOK, map[string]string{"status": "ready"})
}

func (a *API) metrics(w http.ResponseWriter, r *http.Request) error {
	a.o.Metrics(w, r)
	return nil
}

func (a *API) openapi(w http.ResponseWriter, _ *http.Request) error {
	return replyBytes(w, http.StatusOK, a.o.OpenAPI)
}

func (a *API) asyncapi(w http.ResponseWriter, _ *http.Request) error {
	return replyBytes(w, http.StatusOK, a.o.AsyncAPI)
}

// unknown answers paths and methods that are not in the table.
func (a *API) unknown(w http.ResponseWriter, r *http.Request) {
	allow := map[string]bool{}
	for _, m := range []string{http.MethodGet, http.MethodPost} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := a.mux.Handler(probe); pattern != "/v1/" && pattern != "" {
			allow[m] = true
		}
	}
	if len(allow) == 0 {
		fail(w, notFound("unknown_route", "There is no such call", r.Method+" "+r.URL.Path, "GET /openapi.json lists the calls of this version"))
		return
	}
	methods := ""
	for m := range allow {
		methods += m + " "
	}
	w.Header().Set("Allow", strings.ReplaceAll(strings.TrimSpace(methods), " ", ", "))
	fail(w, protocol.NewProblem(http.StatusMethodNotAllowed, "method_not_allowed", "This path takes another method", r.Method+" "+r.URL.Path, "use "+strings.TrimSpace(methods)))
}

// countNext lists what a store should count, the most worth first.
func (a *API) countNext(w http.ResponseWriter, r *http.Request) error {
	s, err := a.storeOf(r)
	if err != nil {
		return err
	}
	limit, err := number(r.URL.Query().Get("limit"), 50, pageMax)
	if err != nil {
		return invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", pageMax))
	}
	list, err := a.o.CountNext(r.Context(), s.Store, limit)
	if err != nil {
		return err
	}
	if list == nil {
		list = []protocol.CountNext{}
	}
	return reply(w, http.StatusOK, map[string]any{"store": s.Store, "items": list})
}
