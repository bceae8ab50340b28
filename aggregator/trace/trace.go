package trace

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Ledger is what is read.
type Ledger interface {
	Head() ledger.Position
	Read(p ledger.Position) (ledger.Entry, error)
	Scan(p ledger.Position, fn func(*ledger.Entry) error) error
	Find(id protocol.EventID) (ledger.Position, [8]byte, bool, error)
	Journals() ([]ledger.Journal, error)
	Exceptions(f ledger.Filter) ([]protocol.Exception, error)
}

// Further tells what became of a merged document behind the ledger, in order.
type Further func(ctx context.Context, ev *protocol.Event, at ledger.Position) ([]protocol.Hop, error)

// Tracer is safe for concurrent use.
type Tracer struct {
	ledger  Ledger
	further []Further
}

// New makes one.
func New(l Ledger, further ...Further) *Tracer { return &Tracer{ledger: l, further: further} }

// Trace finds the documents that an id speaks of. An event id, or a document id with
// its store, is looked up; any other text is searched for, newest entries first.
func (t *Tracer) Trace(ctx context.Context, q protocol.TraceQuery) (*protocol.Trace, error) {
	if len(q.ID) < idBytesMin || len(q.ID) > idBytesMax {
		p := protocol.NewProblem(http.StatusUnprocessableEntity, "invalid_field", "The id is not one to look for",
			fmt.Sprintf("it has %d bytes", len(q.ID)), fmt.Sprintf("give %d to %d bytes: a document id, event id, trace id, order or hold", idBytesMin, idBytesMax))
		p.Errors = []protocol.FieldError{{Pointer: "/id", Message: fmt.Sprintf("has %d bytes", len(q.ID))}}
		return nil, p
	}
	x := &protocol.Trace{ID: q.ID, Documents: []protocol.TracedDocument{}}
	names, err := t.names()
	if err != nil {
		return nil, err
	}
	for _, id := range ids(q) {
		p, _, ok, err := t.ledger.Find(id)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", id, err)
		}
		if !ok {
			continue
		}
		en, err := t.ledger.Read(p)
		if err != nil {
			return nil, fmt.Errorf("read entry %d: %w", p, err)
		}
		if err := t.add(ctx, x, &en, names); err != nil {
			return nil, err
		}
	}
	if len(x.Documents) == 0 {
		if err := t.search(ctx, x, q, names); err != nil {
			return nil, err
		}
	}
	if err := t.parked(x, q); err != nil {
		return nil, err
	}
	if len(x.Documents) == 0 {
		where := "nowhere in the log"
		if s := x.Searched; s != nil && !s.Whole {
			where = fmt.Sprintf("not among the newest %d entries", s.Entries)
		}
		return nil, protocol.NewProblem(http.StatusNotFound, "unknown_trace", "No such document here", q.ID+" is "+where+" and not parked",
			"name its store and kind (?store=S0042&kind=sale), and see GET /v1/stores/{store}: what its journal holds beyond merged_seq is still to come")
	}
	slices.SortStableFunc(x.Documents, func(a, b protocol.TracedDocument) int { return a.Hops[0].At.Compare(b.Hops[0].At) })
	return x, nil
}

func (t *Tracer) names() (map[ledger.OriginID]protocol.Origin, error) {
	list, err := t.ledger.Journals()
	if err != nil {
		return nil, fmt.Errorf("read journals: %w", err)
	}
	m := make(map[ledger.OriginID]protocol.Origin, len(list))
	for _, j := range list {
		m[j.ID] = j.Origin
	}
	return m, nil
}

// ids are the event ids that a query can mean without a search.
func ids(q protocol.TraceQuery) []protocol.EventID {
	var out []protocol.EventID
	if b, err := hex.DecodeString(q.ID); err == nil && len(b) == len(protocol.EventID{}) {
		out = append(out, protocol.EventID(b))
	}
	if q.Store == "" {
		return out
	}
	for n := 1; n < protocol.KindLimit; n++ {
		if k := protocol.Kind(n); q.Kind == protocol.KindInvalid || q.Kind == k {
			out = append(out, protocol.MakeEventID(q.Store, k, q.ID))
		}
	}
	return out
}

// search reads the log backwards in chunks until the bounds are met. Records keep
// their texts as they were sent, so one that does not contain the id is not decoded.
func (t *Tracer) search(ctx context.Context, x *protocol.Trace, q protocol.TraceQuery, names map[ledger.OriginID]protocol.Origin) error {
	ctx, cancel := context.WithTimeout(ctx, searchMax)
	defer cancel()
	needle, s := []byte(q.ID), &protocol.TraceSearch{}
	x.Searched = s
	for end := t.ledger.Head(); end > 0; {
		begin := ledger.Position(1)
		if end > chunk {
			begin = end - chunk + 1
		}
		var found []ledger.Entry
		var oldest int64
		err := t.ledger.Scan(begin, func(en *ledger.Entry) error {
			if en.Position > end {
				return errEnough
			}
			if oldest == 0 {
				oldest = en.MergedUS
			}
			if en.Ref == 0 && bytes.Contains(en.Record, needle) {
				keep := *en
				keep.Record = bytes.Clone(en.Record)
				found = append(found, keep)
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return fmt.Errorf("search the log: %w", err)
		}
		s.Entries += int(end - begin + 1)
		at := time.UnixMicro(oldest).UTC()
		s.FromAt = &at
		for n := len(found) - 1; n >= 0; n-- {
			if err := t.addIf(ctx, x, &found[n], q, names); err != nil {
				return err
			}
		}
		end = begin - 1
		if len(x.Documents) >= documentsMax || s.Entries >= entriesMax || ctx.Err() != nil {
			return nil
		}
	}
	s.Whole = true
	return nil
}

var errEnough = errors.New("enough was read")

// addIf adds an entry whose record contains the id as one of its own names.
func (t *Tracer) addIf(ctx context.Context, x *protocol.Trace, en *ledger.Entry, q protocol.TraceQuery, names map[ledger.OriginID]protocol.Origin) error {
	var ev protocol.Event
	if _, err := protocol.DecodeRecord(en.Record, &ev); err != nil || !speaksOf(&ev, q) || len(x.Documents) >= documentsMax {
		return nil //nolint:nilerr // what cannot be read was parked when it came; parked finds it
	}
	return t.add(ctx, x, en, names)
}

// speaksOf tells whether an id is one of a document's names.
func speaksOf(ev *protocol.Event, q protocol.TraceQuery) bool {
	if q.Store != "" && ev.Store != q.Store || q.Kind != protocol.KindInvalid && ev.Kind != q.Kind {
		return false
	}
	switch q.ID {
	case ev.DocumentID, ev.OrderID, ev.HoldID, ev.OriginalDocument, ev.Voids, ev.TransferID, ev.AdviceID, ev.Session, traceID(ev.Traceparent), ev.Traceparent:
		return true
	}
	return false
}

// traceID is the second field of a W3C traceparent, version-id-parent-flags.
func traceID(parent string) string {
	if len(parent) < 35 {
		return ""
	}
	return parent[3:35]
}

// add tells the way of a merged entry.
func (t *Tracer) add(ctx context.Context, x *protocol.Trace, en *ledger.Entry, names map[ledger.OriginID]protocol.Origin) error {
	var ev protocol.Event
	recordUS, err := protocol.DecodeRecord(en.Record, &ev)
	if err != nil {
		return fmt.Errorf("decode entry %d: %w", en.Position, err)
	}
	if slices.ContainsFunc(x.Documents, func(d protocol.TracedDocument) bool { return d.EventID == ev.ID }) {
		return nil
	}
	d := outline(&ev, "merged")
	o := names[en.Origin]
	d.Hops = append(d.Hops,
		protocol.Hop{Hop: "occurred", At: ev.EventTime.Time(), Clock: clockOf(&ev, o), By: ev.Register},
		protocol.Hop{
			Hop: "journaled", At: time.UnixMicro(recordUS).UTC(), Clock: journalClock(o), By: o.String(),
			Detail: fmt.Sprintf("epoch %d, seq %d", en.Epoch, en.Seq), Ref: map[string]any{"epoch": en.Epoch, "seq": en.Seq},
		},
		protocol.Hop{
			Hop: "merged", At: time.UnixMicro(en.MergedUS).UTC(), Clock: "aggregator", By: "aggregator",
			Detail: fmt.Sprintf("position %d of the log; availability shows it from here on", en.Position), Ref: map[string]any{"position": uint64(en.Position)},
		})
	for _, f := range t.further {
		hops, err := f(ctx, &ev, en.Position)
		if err != nil {
			return err
		}
		d.Hops = append(d.Hops, hops...)
	}
	between(d.Hops)
	x.Documents = append(x.Documents, d)
	return nil
}

func clockOf(ev *protocol.Event, o protocol.Origin) string {
	switch {
	case o.IsFeed():
		return o.String()
	case ev.Kind.OfAgent():
		return "agent"
	}
	return "register"
}

func journalClock(o protocol.Origin) string {
	if o.IsFeed() {
		return "aggregator"
	}
	return "agent"
}

func outline(ev *protocol.Event, state string) protocol.TracedDocument {
	d := protocol.TracedDocument{
		EventID: ev.ID, Kind: ev.Kind, Store: ev.Store, DocumentID: ev.DocumentID, Traceparent: ev.Traceparent, State: state,
		Hops: []protocol.Hop{}, Lines: []protocol.TraceLine{},
	}
	for i := range ev.Lines {
		l := &ev.Lines[i]
		d.Lines = append(d.Lines, protocol.TraceLine{
			Line: l.Line, SKU: l.SKU, Quantity: l.Quantity,
			Explain: "/v1/availability/" + url.PathEscape(string(l.SKU)) + "/explain?location=" + url.QueryEscape(string(ev.Store)),
		})
	}
	return d
}

// between fills in how long each hop took after the one before.
func between(hops []protocol.Hop) {
	for i := 1; i < len(hops); i++ {
		ms := hops[i].At.Sub(hops[i-1].At).Milliseconds()
		hops[i].AfterMS = &ms
	}
}

// parked adds what could not take effect, and what somebody decided about it.
func (t *Tracer) parked(x *protocol.Trace, q protocol.TraceQuery) error {
	for after := ""; ; {
		list, err := t.ledger.Exceptions(ledger.Filter{Store: q.Store, After: after, Limit: exceptionMax})
		if err != nil {
			return fmt.Errorf("read exceptions: %w", err)
		}
		for i := range list {
			t.addParked(x, &list[i], q)
		}
		if len(list) < exceptionMax {
			return nil
		}
		after = list[len(list)-1].ID
	}
}

func (t *Tracer) addParked(x *protocol.Trace, e *protocol.Exception, q protocol.TraceQuery) {
	var ev protocol.Event
	recordUS, err := protocol.DecodeRecord(e.Raw, &ev)
	mine := e.DocumentID == q.ID || e.EventID.String() == q.ID || err == nil && speaksOf(&ev, q)
	if !mine || q.Kind != protocol.KindInvalid && e.Kind != q.Kind {
		return
	}
	hop := protocol.Hop{
		Hop: "parked", At: e.At, Clock: "aggregator", By: e.Origin.String(), Detail: e.Code + ": " + e.Reason, Ref: map[string]any{"exception": e.ID},
	}
	if e.Counted {
		hop.Hop = "noted" // it took effect all the same
	}
	hops := []protocol.Hop{hop}
	if !e.DecidedAt.IsZero() {
		hops = append(hops, protocol.Hop{Hop: "decided", At: e.DecidedAt, Clock: "aggregator", Detail: e.State + noteOf(e.Note), Ref: map[string]any{"exception": e.ID}})
	}
	if i := slices.IndexFunc(x.Documents, func(d protocol.TracedDocument) bool { return d.EventID == e.EventID }); i >= 0 {
		d := &x.Documents[i]
		d.Hops = append(d.Hops, hops...)
		slices.SortStableFunc(d.Hops, func(a, b protocol.Hop) int { return rank(a.Hop) - rank(b.Hop) })
		between(d.Hops)
		return
	}
	if len(x.Documents) >= documentsMax {
		return
	}
	d := protocol.TracedDocument{EventID: e.EventID, Kind: e.Kind, Store: e.Origin.Store, DocumentID: e.DocumentID, Hops: []protocol.Hop{}, Lines: []protocol.TraceLine{}}
	if err == nil {
		d = outline(&ev, "")
		d.Hops = append(d.Hops,
			protocol.Hop{Hop: "occurred", At: ev.EventTime.Time(), Clock: clockOf(&ev, e.Origin), By: ev.Register},
			protocol.Hop{Hop: "journaled", At: time.UnixMicro(recordUS).UTC(), Clock: journalClock(e.Origin), By: e.Origin.String(), Detail: "epoch " + strconv.FormatUint(e.Epoch, 10) + ", seq " + strconv.FormatUint(e.Seq, 10)})
	}
	d.State = map[string]string{"open": "parked"}[e.State]
	if d.State == "" {
		d.State = e.State
	}
	d.Hops = append(d.Hops, hops...)
	between(d.Hops)
	x.Documents = append(x.Documents, d)
}

// hopOrder is that of the places, which clocks may contradict; what stands behind
// the ledger comes last.
var hopOrder = []string{"occurred", "journaled", "parked", "decided", "merged", "noted"}

func rank(hop string) int {
	if i := slices.Index(hopOrder, hop); i >= 0 {
		return i
	}
	return len(hopOrder)
}

func noteOf(note string) string {
	if note == "" {
		return ""
	}
	return ": " + note
}
