package feed

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/protocol/epcis"
	"tillwire/store/ledger"
)

// Beside makes what a call leaves in the ledger with its documents, in one commit,
// when it knows what became of them.
type Beside func(results []protocol.FeedResult) (parked []protocol.Exception, facts []ledger.Fact)

// Accept merges documents of one origin, keeps what stands beside them (nil:
// nothing), and answers once all is durable.
type Accept func(ctx context.Context, o protocol.Origin, events []*protocol.Event, beside Beside) ([]protocol.FeedResult, error)

// Options configure a desk; Accept and Fact are required.
type Options struct {
	Accept Accept
	Fact   func(key string) ([]byte, error) // ledger.ErrNotFound
	EPCIS  epcis.Options
	Now    func() time.Time // nil: time.Now
}

// Desk takes feeds.
type Desk struct {
	o       Options
	jobs    jobs
	sources sources
	formats map[string]Format // of watched folders, by source; fixed before anything is taken
	drops   map[string]*Drop  // … and the folders
}

// New makes a desk in front of a door.
func New(o Options) (*Desk, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &Desk{o: o, formats: map[string]Format{}, drops: map[string]*Drop{}}
	return d, d.openJobs()
}

// Item is one document of a feed, judged: exactly one of Events, Still and Problem is
// set.
type Item struct {
	DocumentID string
	What       string // kind and version of the document, as the partner names them
	Events     []*protocol.Event
	Still      string // why it moves no stock
	Problem    *protocol.Problem
	Raw        []byte // can be read again by itself
	media      string
}

// What becomes of a document.
const (
	statusAccepted  = "accepted"
	statusDuplicate = "duplicate"
	statusParked    = "parked"
	statusRefused   = "refused"
	statusStill     = "no_movement"
)

// schemaVersion is that of our own documents.
const schemaVersion = 1

func problem(status int, code, title, detail, hint string) *protocol.Problem {
	return protocol.NewProblem(status, code, title, detail, hint)
}

func unsupported(v int) *protocol.Problem {
	p := problem(http.StatusUnprocessableEntity, causeUnsupported, "The schema version is not known", fmt.Sprintf("/schema_version is %d", v), fmt.Sprintf("send version %d, or leave it out; a newer aggregator may know others", schemaVersion))
	p.Errors = []protocol.FieldError{{Pointer: "/schema_version", Message: fmt.Sprintf("is %d", v)}}
	return p
}

// readEvents parts {"events":[…]}.
func readEvents(body []byte) ([]Item, *protocol.Problem) {
	req := struct {
		Schema int               `json:"schema_version"`
		Events []json.RawMessage `json:"events"`
	}{Schema: schemaVersion}
	if p := protocol.DecodeStrict(body, &req); p != nil {
		return nil, p
	}
	if req.Schema != schemaVersion {
		return nil, unsupported(req.Schema)
	}
	if n := len(req.Events); n == 0 || n > protocol.BulkEventsMax {
		p := problem(http.StatusUnprocessableEntity, "invalid_field", "A field is not acceptable", fmt.Sprintf("/events has %d entries", n), fmt.Sprintf("send 1 to %d documents", protocol.BulkEventsMax))
		p.Errors = []protocol.FieldError{{Pointer: "/events", Message: fmt.Sprintf("has %d entries", n)}}
		return nil, p
	}
	items := make([]Item, len(req.Events))
	for i, raw := range req.Events {
		items[i] = readEvent(raw)
	}
	return items, nil
}

func readEvent(raw []byte) Item {
	it := Item{Raw: raw, media: mediaEvent, What: "tillwire event 1"}
	ev, p := protocol.DecodeDocument(raw, protocol.Source{Feed: true})
	if p != nil {
		var peek struct {
			DocumentID string `json:"document_id"`
		}
		_ = json.Unmarshal(raw, &peek) // "" where it has none
		it.DocumentID, it.Problem = peek.DocumentID, p
		return it
	}
	it.DocumentID, it.Events = ev.DocumentID, []*protocol.Event{ev}
	return it
}

// Events takes {"events":[…]}.
func (d *Desk) Events(ctx context.Context, source string, body []byte) ([]protocol.FeedResult, error) {
	items, p := readEvents(body)
	if p != nil {
		return nil, d.unreadable(ctx, source, mediaEvents, body, p)
	}
	return d.take(ctx, source, mediaEvents, items, nil)
}

// unreadable parks a body that could not be read at all, and tells the sender so.
func (d *Desk) unreadable(ctx context.Context, source, media string, body []byte, p *protocol.Problem) error {
	x := d.park(source, media, "", body, p)
	d.sources.failed(source, media, reasonOf(p), d.o.Now())
	if x == nil {
		return p
	}
	_, err := d.o.Accept(ctx, x.Origin, nil, func([]protocol.FeedResult) ([]protocol.Exception, []ledger.Fact) {
		return []protocol.Exception{*x}, nil
	})
	if err != nil {
		return fmt.Errorf("park body of %s: %w", source, err)
	}
	d.sources.count(source, media, statusParked, 1)
	told := *p
	told.Hint = strings.TrimSpace(told.Hint + " It is kept as exception " + x.ID + ".")
	return &told
}

// take has what was read merged and parked, and answers item by item; an item of
// several events is accepted when all are, and a duplicate when all are. facts are
// asked for what is to be kept with the last of it.
func (d *Desk) take(ctx context.Context, source, kind string, items []Item, facts func([]protocol.FeedResult) []ledger.Fact) ([]protocol.FeedResult, error) {
	answers := make([]protocol.FeedResult, len(items))
	var parked []protocol.Exception
	var events []*protocol.Event
	var of []int // the item of each event
	for i := range items {
		it := &items[i]
		switch {
		case it.Problem != nil:
			var x *protocol.Exception
			if answers[i], x = d.parked(source, it.media, it.DocumentID, it.Raw, it.Problem); x != nil {
				parked = append(parked, *x)
			}
		case len(it.Events) == 0:
			answers[i] = protocol.FeedResult{DocumentID: it.DocumentID, Status: statusStill, Code: statusStill, Errors: []protocol.FieldError{{Message: it.Still}}}
		}
		for _, ev := range it.Events {
			ev.Source = source
			events, of = append(events, ev), append(of, i)
		}
	}
	results := make([]protocol.FeedResult, len(events))
	last := func() ([]protocol.Exception, []ledger.Fact) {
		for k, r := range results {
			answers[of[k]] = worse(answers[of[k]], r)
		}
		if facts == nil {
			return parked, nil
		}
		return parked, facts(answers)
	}
	if err := d.enter(ctx, source, events, results, last); err != nil {
		return nil, err
	}
	d.note(source, kind, items, answers)
	return answers, nil
}

// worse joins the answers to the parts of one document: what is parked is told, and a
// part that is new makes it new.
func worse(a, b protocol.FeedResult) protocol.FeedResult {
	rank := func(r protocol.FeedResult) int {
		return slices.Index([]string{"", statusDuplicate, statusAccepted, statusParked}, r.Status)
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// enter has events merged, place by place in order of first mention, in batches, and
// writes the answers. What stands beside is kept with the last batch.
func (d *Desk) enter(ctx context.Context, source string, events []*protocol.Event, results []protocol.FeedResult, last func() ([]protocol.Exception, []ledger.Fact)) error {
	byPlace := map[protocol.StoreID][]int{}
	var places []protocol.StoreID
	for i, ev := range events {
		if len(byPlace[ev.Store]) == 0 {
			places = append(places, ev.Store)
		}
		byPlace[ev.Store] = append(byPlace[ev.Store], i)
	}
	var batches [][]int
	for _, place := range places {
		batches = slices.AppendSeq(batches, slices.Chunk(byPlace[place], protocol.BulkEventsMax))
	}
	if len(batches) == 0 {
		_, err := d.o.Accept(ctx, originOf(protocol.ChainStore, source), nil, func([]protocol.FeedResult) ([]protocol.Exception, []ledger.Fact) { return last() })
		return err
	}
	for n, which := range batches {
		batch := make([]*protocol.Event, len(which))
		for k, i := range which {
			batch[k] = events[i]
		}
		var beside Beside
		if n == len(batches)-1 {
			beside = func(got []protocol.FeedResult) ([]protocol.Exception, []ledger.Fact) {
				for k, i := range which {
					results[i] = got[k]
				}
				return last()
			}
		}
		got, err := d.o.Accept(ctx, originOf(batch[0].Store, source), batch, beside)
		if err != nil {
			return fmt.Errorf("accept documents of %s: %w", source, err)
		}
		if beside == nil {
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

// statement is a snapshot's frame; its lines are decoded by the protocol.
type statement struct {
	SnapshotID string            `json:"snapshot_id"`
	Location   string            `json:"location"`
	AsOf       string            `json:"as_of"`
	Complete   bool              `json:"complete"`
	Lines      []json.RawMessage `json:"lines"`

	Acknowledged json.RawMessage `json:"acknowledged,omitempty"`   // what the system had processed of which journal
	Schema       int             `json:"schema_version,omitempty"` // 0: 1
}

// readSnapshot reads a full stock statement: one item. A statement that is longer
// than a document may be becomes parts under one session, so that its parts add up.
func readSnapshot(body []byte) ([]Item, *protocol.Problem) {
	var st statement
	if p := protocol.DecodeStrict(body, &st); p != nil {
		return nil, p
	}
	if st.Schema != 0 && st.Schema != schemaVersion {
		return nil, unsupported(st.Schema)
	}
	st.Schema = 0
	if len(st.Lines) > snapshotLinesMax {
		return nil, problem(http.StatusUnprocessableEntity, "too_many_lines", "The statement is too long", strconv.Itoa(len(st.Lines))+" lines", fmt.Sprintf("send at most %d lines; split it by location", snapshotLinesMax))
	}
	it := Item{DocumentID: st.SnapshotID, What: "tillwire snapshot 1", Raw: body, media: mediaSnapshot}
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
			return nil, problem(http.StatusUnprocessableEntity, protocol.CodeMalformedJSON, "The statement cannot be cut", err.Error(), "send valid JSON")
		}
		ev, p := protocol.DecodeDocument(raw, protocol.Source{Feed: true, Kind: protocol.KindSnapshot})
		if p != nil {
			return nil, shift(p, from)
		}
		ev.Session = st.SnapshotID
		it.Events = append(it.Events, ev)
	}
	return []Item{it}, nil
}

// Snapshot takes a full stock statement, whole or not at all, and answers part by
// part.
func (d *Desk) Snapshot(ctx context.Context, source string, body []byte) ([]protocol.FeedResult, error) {
	items, p := readSnapshot(body)
	if p != nil {
		return nil, d.unreadable(ctx, source, mediaSnapshot, body, p)
	}
	events := items[0].Events
	for _, ev := range events {
		ev.Source = source
	}
	results, err := d.o.Accept(ctx, originOf(events[0].Store, source), events, nil)
	if err != nil {
		return nil, fmt.Errorf("accept statement of %s: %w", source, err)
	}
	d.note(source, mediaSnapshot, items, results[:1])
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
