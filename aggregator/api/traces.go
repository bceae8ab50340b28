package api

import (
	"context"
	"net/http"

	"tillwire/protocol"
)

// Traces tell the way of documents.
type Traces interface {
	Trace(ctx context.Context, q protocol.TraceQuery) (*protocol.Trace, error)
}

func (a *API) traces(w http.ResponseWriter, r *http.Request) error {
	q := protocol.TraceQuery{ID: r.PathValue("id")}
	for key, values := range r.URL.Query() {
		switch v := values[0]; key {
		case "store":
			if err := protocol.CheckName(v); err != nil {
				return invalid("/store", err.Error(), "name the store as GET /v1/stores does")
			}
			q.Store = protocol.StoreID(v)
		case "kind":
			if q.Kind = protocol.ParseKind(v); q.Kind == protocol.KindInvalid {
				return invalid("/kind", "is not a kind of document", "use sale, return, void, count, receipt, adjustment, transfer, status_change, …")
			}
		default:
			return invalid("/"+key, "is not a parameter here", "use store or kind")
		}
	}
	t, err := a.o.Traces.Trace(r.Context(), q)
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, t)
}
