package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// Postings are the ERP documents, and what a person may decide of them.
type Postings interface {
	Postings(ctx context.Context, f posting.Filter) ([]protocol.Posting, error)
	Posting(ctx context.Context, id string) (protocol.Posting, error)
	PostingsOf(ctx context.Context, id protocol.EventID) ([]protocol.Posting, error)
	RetryPosting(ctx context.Context, id, who string) (protocol.Posting, error)
	DiscardPosting(ctx context.Context, id, who, note string) (protocol.Posting, error)
	ResumePostings(ctx context.Context, who, note string) error
	Standings(ctx context.Context) ([]protocol.PostingStanding, error)
}

var postingStates = []protocol.PostingState{protocol.PostingDue, protocol.PostingPosted, protocol.PostingParked, protocol.PostingDiscarded}

func (a *API) postings(w http.ResponseWriter, r *http.Request) error {
	f, event, err := postingFilter(r)
	if err != nil {
		return err
	}
	var list []protocol.Posting
	if event != nil {
		list, err = a.o.Postings.PostingsOf(r.Context(), *event)
	} else {
		list, err = a.o.Postings.Postings(r.Context(), f)
	}
	if err != nil {
		return err
	}
	standings, err := a.o.Postings.Standings(r.Context())
	if err != nil {
		return err
	}
	page := struct {
		ERPs     []protocol.PostingStanding `json:"erps"`
		Postings []protocol.Posting         `json:"postings"`
		Next     string                     `json:"next,omitempty"` // as after=
	}{ERPs: standings, Postings: list}
	if page.Postings == nil {
		page.Postings = []protocol.Posting{}
	}
	if event == nil && len(list) == f.Limit {
		page.Next = list[len(list)-1].ID
	}
	return reply(w, http.StatusOK, page)
}

func postingFilter(r *http.Request) (f posting.Filter, event *protocol.EventID, err error) {
	f.Limit = 100
	for key, values := range r.URL.Query() {
		v := values[0]
		switch key {
		case "erp":
			f.ERP = v
		case "store":
			f.Store = protocol.StoreID(v)
		case "day":
			if _, ok := protocol.ParseDay(v); !ok {
				return f, nil, invalid("/day", fmt.Sprintf("is %.40q", v), "write it as YYYY-MM-DD")
			}
			f.Day = v
		case "class":
			if _, ok := posting.ParseClass(v); !ok {
				return f, nil, invalid("/class", fmt.Sprintf("is %.40q", v), "see /openapi.json for the classes")
			}
			f.Class = v
		case "state":
			if f.State = protocol.PostingState(v); !isState(f.State) {
				return f, nil, invalid("/state", fmt.Sprintf("is %.40q", v), "use due, posted, parked or discarded")
			}
		case "event_id":
			event = new(protocol.EventID)
			if err := event.UnmarshalText([]byte(v)); err != nil {
				return f, nil, invalid("/event_id", err.Error(), "give the 32 hex digits that a document's answer names")
			}
		case "after":
			f.After = v
		case "limit":
			if f.Limit, err = number(v, f.Limit, pageMax); err != nil {
				return f, nil, invalid("/limit", err.Error(), fmt.Sprintf("give a number from 1 to %d", pageMax))
			}
		default:
			return f, nil, invalid("/"+key, "is not a parameter here", "use erp, store, day, class, state, event_id, after or limit")
		}
	}
	return f, event, nil
}

func isState(s protocol.PostingState) bool {
	for _, x := range postingStates {
		if x == s {
			return true
		}
	}
	return false
}

func (a *API) posting(w http.ResponseWriter, r *http.Request) error {
	p, err := a.o.Postings.Posting(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, p)
}

func (a *API) retryPosting(w http.ResponseWriter, r *http.Request) error {
	p, err := a.o.Postings.RetryPosting(r.Context(), r.PathValue("id"), who(r))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, p)
}

// discardPosting takes {"reason"}: why the ERP need not have it.
func (a *API) discardPosting(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Reason string `json:"reason"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	p, err := a.o.Postings.DiscardPosting(r.Context(), r.PathValue("id"), who(r), strings.TrimSpace(req.Reason))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, p)
}

// resumePostings takes {"reason"}: what was looked at since the restore.
func (a *API) resumePostings(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Reason string `json:"reason"`
	}
	if err := decode(r, &req); err != nil {
		return err
	}
	if err := a.o.Postings.ResumePostings(r.Context(), who(r), strings.TrimSpace(req.Reason)); err != nil {
		return err
	}
	standings, err := a.o.Postings.Standings(r.Context())
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, map[string]any{"erps": standings})
}
