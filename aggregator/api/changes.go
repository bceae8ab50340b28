package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
)

// gone answers a cursor that the ring no longer reaches.
func gone() *protocol.Problem {
	return protocol.NewProblem(http.StatusGone, "cursor_too_old", "The cursor is too old", "",
		"read all numbers you need with POST /v1/availability/query, then follow from the cursor of a call without one")
}

// changes is the delta feed: what changed since the cursor, waiting up to 25 s
// for something to change. Without a cursor it answers with the present one.
func (a *API) changes(w http.ResponseWriter, r *http.Request) error {
	s := r.URL.Query().Get("cursor")
	if s == "" {
		return reply(w, http.StatusOK, map[string]any{"cursor": strconv.FormatUint(a.o.Availability.Cursor(), 10), "items": []any{}})
	}
	cursor, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return invalid("/cursor", "is not one that this API gave", "start without a cursor")
	}
	limit := time.NewTimer(pollWait)
	defer limit.Stop()
	for {
		bell := a.o.Availability.Wait()
		skus, next, ok := a.o.Availability.Changed(cursor, changesMax)
		if !ok {
			return gone()
		}
		if len(skus) > 0 {
			return replyBytes(w, http.StatusOK, a.changed(skus, next))
		}
		select {
		case <-bell:
		case <-limit.C:
			return replyBytes(w, http.StatusOK, a.changed(nil, next))
		case <-r.Context().Done():
			return nil
		case <-a.done:
			return replyBytes(w, http.StatusOK, a.changed(nil, next))
		}
	}
}

func (a *API) changed(skus []protocol.SKU, next uint64) []byte {
	b := append([]byte(`{"cursor":"`), strconv.FormatUint(next, 10)...)
	b = append(b, `","items":[`...)
	for i, s := range skus {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = a.o.Availability.AppendJSON(b, s, nil)
	}
	return append(b, "]}"...)
}

// Thresholds calls emit with what passed from in to low to out for a channel, and
// back, until ctx ends or emit fails: in the chain, and at the locations named.
// reset tells to read what is needed anew. after is the number of the last call
// that was seen; 0 = begin now.
type Thresholds func(ctx context.Context, channel string, locations []protocol.StoreID, after uint64, emit func(no uint64, reset bool, events any) error) error

// thresholds streams threshold events: ?events=thresholds.
func (a *API) thresholds(w http.ResponseWriter, r *http.Request, after uint64) error {
	at, err := a.locations(r)
	if err != nil {
		return err
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{})
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go func() {
		select {
		case <-a.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusOK)
	if err := rc.Flush(); err != nil {
		return nil //nolint:nilerr // the follower is gone
	}
	err = a.o.Thresholds(ctx, r.URL.Query().Get("channel"), at, after, func(no uint64, reset bool, events any) error {
		name := "thresholds"
		if reset {
			name, events = "reset", struct{}{}
		}
		j, err := json.Marshal(events)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "event: %s\nid: %d\ndata: %s\n\n", name, no, j); err != nil {
			return err
		}
		return rc.Flush()
	})
	if err != nil && ctx.Err() == nil {
		a.o.Log.Debug().Err(err).Msg("follower of thresholds gone")
	}
	return nil
}

// stream is the same as server-sent events. The event id is the cursor: a
// browser that reconnects goes on where it was.
func (a *API) stream(w http.ResponseWriter, r *http.Request) error {
	select {
	case a.streams <- struct{}{}:
		defer func() { <-a.streams }()
	default:
		return protocol.NewProblem(http.StatusServiceUnavailable, "too_many_streams", "Too many streams are open", "", "follow /v1/availability/changes instead")
	}
	cursor := a.o.Availability.Cursor()
	s := r.Header.Get("Last-Event-ID")
	if s == "" {
		s = r.URL.Query().Get("cursor")
	}
	if r.URL.Query().Get("events") == "thresholds" {
		after, err := strconv.ParseUint("0"+s, 10, 64)
		if err != nil {
			return invalid("/cursor", "is not one that this API gave", "start without a cursor")
		}
		return a.thresholds(w, r, after)
	}
	if s != "" {
		var err error
		if cursor, err = strconv.ParseUint(s, 10, 64); err != nil {
			return invalid("/cursor", "is not one that this API gave", "start without a cursor")
		}
		if _, _, ok := a.o.Availability.Changed(cursor, 1); !ok {
			return gone()
		}
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header()["Cache-Control"] = noStore
	w.WriteHeader(http.StatusOK)
	ping := time.NewTicker(streamPing)
	defer ping.Stop()
	for {
		bell := a.o.Availability.Wait()
		skus, next, ok := a.o.Availability.Changed(cursor, changesMax)
		if !ok {
			_, _ = w.Write([]byte("event: gone\ndata: {}\n\n"))
			return nil
		}
		if len(skus) > 0 {
			b := append([]byte("event: availability\nid: "), strconv.FormatUint(next, 10)...)
			b = append(append(b, "\ndata: "...), a.changed(skus, next)...)
			if _, err := w.Write(append(b, "\n\n"...)); err != nil {
				return nil //nolint:nilerr // the follower is gone
			}
			cursor = next
		}
		if err := rc.Flush(); err != nil {
			return nil //nolint:nilerr // the follower is gone
		}
		select {
		case <-bell:
		case <-ping.C:
			if _, err := w.Write([]byte(": ping\n\n")); err != nil {
				return nil //nolint:nilerr // the follower is gone
			}
		case <-r.Context().Done():
			return nil
		case <-a.done:
			return nil
		}
	}
}
