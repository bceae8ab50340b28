// Package feed turns what outer systems send (WMS, ERP, commerce, 3PL) into
// canonical events, and hands them to the same door as a store's journal.
//
// Promises: each document of a call is judged by itself and answered by itself;
// documents for one location keep their order; a statement of any length is
// taken as one. It keeps no state: dedupe, sequence and durability are the
// door's.
package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tillwire/protocol"
	"tillwire/protocol/epcis"
)

// Accept merges documents of one origin and answers each once it is durable.
type Accept func(ctx context.Context, o protocol.Origin, events []*protocol.Event) ([]protocol.FeedResult, error)

// Desk takes feeds.
type Desk struct {
	accept Accept
	places epcis.Places
	jobs   jobs
}

// New makes a desk in front of a door. places are the identifiers that EPCIS
// senders use for locations.
func New(accept Accept, places epcis.Places) *Desk { return &Desk{accept: accept, places: places} }

// snapshotLinesMax bounds one statement: what 16 MiB of body can hold.
const snapshotLinesMax = 400_000

func problem(status int, code, title, detail, hint string) *protocol.Problem {
	return protocol.NewProblem(status, code, title, detail, hint)
}

// Events takes {"events":[…]}.
func (d *Desk) Events(ctx context.Context, source string, body []byte) ([]protocol.FeedResult, error) {
	var req struct {
		Events []json.RawMessage `json:"events"`
	}
	if p := protocol.DecodeStrict(body, &req); p != nil {
		return nil, p
	}
	if n := len(req.Events); n == 0 || n > protocol.BulkEventsMax {
		p := problem(http.StatusUnprocessableEntity, "invalid_field", "A field is not acceptable", fmt.Sprintf("/events has %d entries", n), fmt.Sprintf("send 1 to %d documents", protocol.BulkEventsMax))
		p.Errors = []protocol.FieldError{{Pointer: "/events", Message: fmt.Sprintf("has %d entries", n)}}
		return nil, p
	}
	results := make([]protocol.FeedResult, len(req.Events))
	events := make([]*protocol.Event, len(req.Events))
	for i, raw := range req.Events {
		ev, p := protocol.DecodeDocument(raw, protocol.Source{Feed: true})
		if p != nil {
			results[i] = refused(raw, p)
			continue
		}
		ev.Source = source
		events[i] = ev
	}
	return results, d.enter(ctx, source, events, results)
}

// enter has events merged, place by place in order of first mention, and writes
// the answers; nil stands where there is no event. A place with many is merged
// in batches.
func (d *Desk) enter(ctx context.Context, source string, events []*protocol.Event, results []protocol.FeedResult) error {
	byPlace := map[protocol.StoreID][]int{}
	var places []protocol.StoreID
	for i, ev := range events {
		if ev == nil {
			continue
		}
		if len(byPlace[ev.Store]) == 0 {
			places = append(places, ev.Store)
		}
		byPlace[ev.Store] = append(byPlace[ev.Store], i)
	}
	for _, place := range places {
		for which := range slices.Chunk(byPlace[place], protocol.BulkEventsMax) {
			batch := make([]*protocol.Event, len(which))
			for k, i := range which {
				batch[k] = events[i]
			}
			got, err := d.accept(ctx, originOf(place, source), batch)
			if err != nil {
				return fmt.Errorf("accept documents of %s: %w", source, err)
			}
			for k, i := range which {
				results[i] = got[k]
			}
		}
	}
	return nil
}

func originOf(place protocol.StoreID, source string) protocol.Origin {
	return protocol.Origin{Store: place, Agent: protocol.AgentID(protocol.FeedAgentPrefix + source)}
}

// refused answers a document that cannot be an event at all.
func refused(raw []byte, p *protocol.Problem) protocol.FeedResult {
	var peek struct {
		DocumentID string `json:"document_id"`
	}
	_ = json.Unmarshal(raw, &peek) // "" where it has none
	return protocol.FeedResult{DocumentID: peek.DocumentID, Status: "refused", Code: p.Code, Errors: p.Errors}
}

// statement is a snapshot's frame; its lines are decoded by the protocol.
type statement struct {
	SnapshotID string            `json:"snapshot_id"`
	Location   string            `json:"location"`
	AsOf       string            `json:"as_of"`
	Complete   bool              `json:"complete"`
	Lines      []json.RawMessage `json:"lines"`

	Acknowledged json.RawMessage `json:"acknowledged,omitempty"` // what the system had processed of which journal
}

// Snapshot takes a full stock statement. One that is longer than a document may
// be is journaled in parts under one session, so that its parts add up.
func (d *Desk) Snapshot(ctx context.Context, source string, body []byte) ([]protocol.FeedResult, error) {
	var st statement
	if p := protocol.DecodeStrict(body, &st); p != nil {
		return nil, p
	}
	if len(st.Lines) > snapshotLinesMax {
		return nil, problem(http.StatusUnprocessableEntity, "too_many_lines", "The statement is too long", strconv.Itoa(len(st.Lines))+" lines", fmt.Sprintf("send at most %d lines; split it by location", snapshotLinesMax))
	}
	var events []*protocol.Event
	for from := 0; from == 0 || from < len(st.Lines); from += protocol.DocumentLinesMax {
		part := st
		part.Lines = st.Lines[from:min(from+protocol.DocumentLinesMax, len(st.Lines))]
		if part.Lines == nil {
			part.Lines = []json.RawMessage{}
		}
		if from > 0 {
			part.SnapshotID += "/" + strconv.Itoa(from/protocol.DocumentLinesMax+1)
		}
		raw, err := json.Marshal(part)
		if err != nil {
			return nil, fmt.Errorf("cut statement: %w", err)
		}
		ev, p := protocol.DecodeDocument(raw, protocol.Source{Feed: true, Kind: protocol.KindSnapshot})
		if p != nil {
			return nil, shift(p, from)
		}
		ev.Source, ev.Session = source, st.SnapshotID
		events = append(events, ev)
	}
	results, err := d.accept(ctx, originOf(events[0].Store, source), events)
	if err != nil {
		return nil, fmt.Errorf("accept statement of %s: %w", source, err)
	}
	return results, nil
}

// shift moves pointers into a part's lines to where they stand in the whole.
func shift(p *protocol.Problem, from int) *protocol.Problem {
	for i, e := range p.Errors {
		rest, ok := strings.CutPrefix(e.Pointer, "/lines/")
		n, tail, _ := strings.Cut(rest, "/")
		if at, err := strconv.Atoi(n); ok && err == nil {
			p.Errors[i].Pointer = "/lines/" + strconv.Itoa(at+from)
			if tail != "" {
				p.Errors[i].Pointer += "/" + tail
			}
		}
	}
	return p
}
