package ingest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"tillwire/protocol"
)

// edited is a corrected document, ready to be folded in.
type edited struct {
	event    *protocol.Event
	recordUS int64
	hash     []byte // content of what it replaces; nil: that had no id of its own
	changes  []protocol.FieldChange
}

// Fields that a document shows and nobody writes: what the agent or the aggregator
// found out. They may be sent back as they were, or left out.
var (
	shownOnly      = []string{"event_id", "flags", "clock_offset_us", "clock_error_us", "body", "source", "acknowledged"}
	shownOnlyLines = []string{"cut", "sibling_cuts", "raw_code", "stance"}
)

// renamable are the causes for which the document's id itself may be wrong: a till
// that used a number twice, or wrote one that is no id.
var renamable = []string{"id_mismatch", "id_reused", "document_id_impossible", "undecodable", "store_mismatch"}

// corrected reads a correction of what an exception holds, and refuses with pointers
// what cannot be one.
func corrected(x *protocol.Exception, document []byte) (*edited, *protocol.Problem) {
	var was protocol.Event
	us, err := protocol.DecodeRecord(x.Raw, &was)
	readable := err == nil && was.Kind.Valid()
	if err != nil || us == 0 {
		if us, _, err = protocol.SplitRecord(x.Raw); err != nil || us == 0 {
			us = x.At.UnixMicro()
		}
	}
	var before map[string]any
	if readable {
		before = viewed(protocol.ViewDocument(&was))
	}
	sent, p := stripped(document, before)
	if p != nil {
		return nil, p
	}
	if sent["location"] == nil {
		sent["location"] = string(x.Origin.Store)
	}
	raw, err := json.Marshal(sent)
	if err != nil {
		return nil, protocol.NewProblem(400, "malformed_json", "The correction is not JSON", err.Error(), "send the document as GET shows it, corrected")
	}
	ev, p := protocol.DecodeDocument(raw, protocol.Source{Feed: true})
	if p != nil {
		return nil, p
	}
	if ev.Store != x.Origin.Store {
		return nil, refuseEdit("/location", "is "+string(ev.Store)+", but the journal is of "+string(x.Origin.Store), "leave the location out; discard this one if it is another store's, and have that store send it")
	}
	e := &edited{event: ev, recordUS: us}
	if readable {
		keep(ev, &was)
		if ev.ID != was.ID && !slices.Contains(renamable, x.Code) {
			return nil, refuseEdit("/document_id", "and kind say which document it is, and are others now", "correct the other fields; discard it if it is another document, and send that by itself")
		}
		if ev.ID == was.ID {
			content := was.ContentHash()
			e.hash = content[:]
		}
	} else if x.Origin.IsFeed() {
		ev.Source = string(x.Origin.Agent[len(protocol.FeedAgentPrefix):])
	}
	e.changes = differ(nil, "", before, viewed(protocol.ViewDocument(ev)))
	if len(e.changes) == 0 {
		return nil, protocol.NewProblem(422, "nothing_changed", "The correction changes nothing", "the document is as it was", "retry it if its cause is mended, or correct a field")
	}
	if n := len(protocol.AppendRecord(nil, us, ev)); n > protocol.RecordBytesMax {
		return nil, protocol.NewProblem(413, protocol.CodeDocumentLarge, "The document is larger than a journal record", fmt.Sprintf("%d bytes", n), "shorten it")
	}
	return e, nil
}

// keep carries over what a correction cannot say: what the agent found out.
func keep(ev, was *protocol.Event) {
	ev.Source, ev.Flags, ev.Body, ev.Acks = was.Source, was.Flags, was.Body, was.Acks
	ev.ClockOffsetUS, ev.ClockErrorUS = was.ClockOffsetUS, was.ClockErrorUS
	if ev.EventTime.US == was.EventTime.US {
		ev.EventTime = was.EventTime
	}
	lines := map[int]*protocol.Line{}
	for i := range was.Lines {
		lines[was.Lines[i].Line] = &was.Lines[i]
	}
	for i := range ev.Lines {
		l := &ev.Lines[i]
		if old := lines[l.Line]; old != nil {
			l.Cut, l.Cuts, l.Stance = old.Cut, old.Cuts, old.Stance
			if l.SKU == old.SKU {
				l.RawCode = old.RawCode
			}
		}
	}
}

// viewed brings a view into the form in which JSON is read.
func viewed(view map[string]any) (m map[string]any) {
	b, err := json.Marshal(view)
	if err == nil {
		err = decodeExact(b, &m)
	}
	if err != nil {
		return nil
	}
	return m
}

// decodeExact reads JSON without making floats of quantities.
func decodeExact(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(into) //nolint:wrapcheck // the caller words it
}

// stripped takes a correction and drops what is only shown, where it is as it was.
func stripped(document []byte, before map[string]any) (map[string]any, *protocol.Problem) {
	var sent map[string]any
	if err := decodeExact(document, &sent); err != nil || sent == nil {
		return nil, protocol.NewProblem(400, "malformed_json", "The correction is not a JSON object", fmt.Sprint(err), "send {\"document\": {…}} with the document as GET shows it, corrected")
	}
	if p := drop(sent, before, shownOnly, ""); p != nil {
		return nil, p
	}
	lines, _ := sent["lines"].([]any)
	olds := map[string]map[string]any{}
	if list, ok := before["lines"].([]any); ok {
		for _, l := range list {
			if m, ok := l.(map[string]any); ok {
				olds[fmt.Sprint(m["line"])] = m
			}
		}
	}
	for n, l := range lines {
		if m, ok := l.(map[string]any); ok {
			if p := drop(m, olds[fmt.Sprint(m["line"])], shownOnlyLines, "/lines/"+strconv.Itoa(n)); p != nil {
				return nil, p
			}
		}
	}
	return sent, nil
}

func drop(sent, before map[string]any, names []string, at string) *protocol.Problem {
	for _, name := range names {
		v, ok := sent[name]
		if !ok {
			continue
		}
		if !same(v, before[name]) {
			return refuseEdit(at+"/"+name, "is only shown: the agent or the aggregator found it out", "leave it out, or send it as it was")
		}
		delete(sent, name)
	}
	return nil
}

func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// differ lists what became another, down to single values, in order of pointers.
func differ(into []protocol.FieldChange, at string, was, now any) []protocol.FieldChange {
	if len(into) >= changesMax || same(was, now) {
		return into
	}
	a, okA := was.(map[string]any)
	b, okB := now.(map[string]any)
	if (okA || was == nil) && okB && (at == "" || okA) {
		names := slices.Collect(maps.Keys(a))
		for name := range b {
			if _, both := a[name]; !both {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			into = differ(into, at+"/"+name, a[name], b[name])
		}
		return into
	}
	x, okX := was.([]any)
	y, okY := now.([]any)
	if okX && okY {
		for n := range max(len(x), len(y)) {
			into = differ(into, at+"/"+strconv.Itoa(n), element(x, n), element(y, n))
		}
		return into
	}
	return append(into, protocol.FieldChange{Pointer: at, Was: short(was), Now: short(now)})
}

func element(list []any, n int) any {
	if n < len(list) {
		return list[n]
	}
	return nil
}

// short is a value as JSON; none where there is none.
func short(v any) json.RawMessage {
	if v == nil {
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	if len(b) > changeBytesMax {
		b, _ = json.Marshal(fmt.Sprintf("(%d bytes)", len(b))) //nolint:errchkjson // a string
	}
	return b
}
