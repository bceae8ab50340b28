package feed

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	"tillwire/protocol"
	"tillwire/protocol/edi"
	"tillwire/protocol/epcis"
)

// Causes of exceptions: what kind of remedy they ask for. The problem's own code
// stands in the answer to the sender.
const (
	causeUnreadable  = "feed_unreadable"
	causeInvalid     = "feed_invalid"
	causePlace       = "unknown_place"
	causeWord        = "unknown_code"
	causeNowhere     = "unknown_destination"
	causeClockless   = "clockless_time"
	causeHalf        = "half_file"
	causeControl     = "control_mismatch"
	causeReused      = "control_number_reused"
	causeUnsupported = "schema_unsupported"
)

// causes sorts the readers' codes; any other is causeInvalid.
var causes = map[string]string{
	epcis.CodeUnknownPlace: causePlace, epcis.CodeUnknownStep: causeWord, epcis.CodeNowhere: causeNowhere, epcis.CodeUnreadable: causeUnreadable,
	edi.CodeUnreadable: causeUnreadable, edi.CodeHalf: causeHalf, edi.CodeCounts: causeControl, edi.CodeUnknown: causeWord,
	edi.CodeClockless: causeClockless, edi.CodeReused: causeReused,
	"malformed_csv": causeUnreadable, "no_header": causeUnreadable, "bad_header": causeUnreadable, "wrong_cells": causeUnreadable,
	protocol.CodeMalformedJSON: causeUnreadable, protocol.CodeDuplicateField: causeUnreadable, "malformed_xml": causeUnreadable,
	"body_too_large": causeUnreadable, "file_too_large": causeUnreadable, causeUnsupported: causeUnsupported,
}

func causeOf(code string) string {
	if c := causes[code]; c != "" {
		return c
	}
	return causeInvalid
}

// Media say how a parked document is read again.
const (
	mediaEvent      = "event"       // one canonical document
	mediaEvents     = "events"      // the body of POST /v1/feeds/{source}/events
	mediaSnapshot   = "snapshot"    // … of its snapshot
	mediaEPCIS      = "epcis"       // an EPCISDocument
	mediaEPCISEvent = "epcis-event" // one event of it
	mediaFile       = "file"        // of a watched folder: by the source's own format
)

// park makes the exception that keeps a document which could not be taken. nil: it is
// not kept, since it holds card data or its source has parked enough in this hour.
func (d *Desk) park(source, media, id string, raw []byte, p *protocol.Problem) *protocol.Exception {
	if p.Code == protocol.CodePANDetected || media != mediaFile && protocol.FindPAN(string(raw), true) {
		return nil
	}
	if !d.sources.mayPark(source, d.o.Now()) {
		return nil
	}
	sum := sha256.Sum256(append([]byte(media+"\x00"), raw...))
	x := &protocol.Exception{
		ID: "feed-" + source + "-" + hex.EncodeToString(sum[:12]), State: "open", Code: causeOf(p.Code), Reason: reasonOf(p),
		Origin: originOf(placeIn(raw), source), DocumentID: id, At: d.o.Now().UTC(), Media: media, Document: shown(raw),
	}
	x.Raw = raw
	if len(raw) > rawKeptMax {
		x.Raw, x.RawCut = raw[:rawKeptMax], true
	}
	return x
}

// reasonOf is a problem in words, with where it is.
func reasonOf(p *protocol.Problem) string {
	var b strings.Builder
	b.WriteString(p.Code)
	for i, e := range p.Errors {
		b.WriteString(map[bool]string{true: ": ", false: "; "}[i == 0])
		b.WriteString(strings.TrimSpace(e.Pointer + " " + e.Message))
	}
	if len(p.Errors) == 0 {
		b.WriteString(": " + p.Detail)
	}
	return cut(b.String(), reasonShownMax)
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// shown is a document for people: as JSON where it is some, else its beginning.
func shown(raw []byte) any {
	if len(raw) <= documentShownMax && json.Valid(raw) {
		return json.RawMessage(raw)
	}
	if !utf8.Valid(raw) {
		return map[string]any{"bytes": len(raw), "hex": hex.EncodeToString(raw[:min(len(raw), 256)])}
	}
	return map[string]any{"bytes": len(raw), "text": cut(string(raw), textShownMax)}
}

// placeIn is the location that a document names as ours do; the chain where none.
func placeIn(raw []byte) protocol.StoreID {
	var doc struct {
		Location string `json:"location"`
	}
	if len(raw) <= documentShownMax && json.Unmarshal(raw, &doc) == nil && protocol.CheckName(doc.Location) == nil {
		return protocol.StoreID(doc.Location)
	}
	return protocol.ChainStore
}

// parked answers a document that could not be taken.
func (d *Desk) parked(source, media, id string, raw []byte, p *protocol.Problem) (protocol.FeedResult, *protocol.Exception) {
	r := protocol.FeedResult{DocumentID: id, Status: statusRefused, Code: p.Code, Errors: p.Errors}
	x := d.park(source, media, id, raw, p)
	if x != nil {
		r.Status, r.ExceptionID = statusParked, x.ID
	}
	return r, x
}

// Reread reads a parked document again, with the tables of now; where it is still
// refused, x says why now. It is called by the door's writer: no I/O, and never for
// long, since what is kept is bounded.
func (d *Desk) Reread(x *protocol.Exception) ([]*protocol.Event, *protocol.Problem) {
	events, p := d.reread(x)
	if p != nil {
		x.Reason = "still refused: " + reasonOf(p)
		if p.Status != http.StatusConflict { // those say that it cannot be read here at all
			x.Code = causeOf(p.Code)
		}
	}
	return events, p
}

func (d *Desk) reread(x *protocol.Exception) ([]*protocol.Event, *protocol.Problem) {
	source, _ := strings.CutPrefix(string(x.Origin.Agent), protocol.FeedAgentPrefix)
	if x.RawCut {
		return nil, problem(http.StatusConflict, "raw_cut", "The document was too long to be kept whole", "only its beginning is here", "have the partner send it again, or drop the file from the folder failed again")
	}
	var items []Item
	var p *protocol.Problem
	switch x.Media {
	case mediaEvent:
		items = []Item{readEvent(x.Raw)}
	case mediaEvents:
		items, p = readEvents(x.Raw)
	case mediaSnapshot:
		items, p = readSnapshot(x.Raw)
	case mediaEPCIS:
		items, p = d.readCapture(x.Raw)
	case mediaEPCISEvent:
		items = []Item{d.epcisItem(epcis.ReadEvent(x.Raw, &d.o.EPCIS), x.Raw)}
	case mediaFile:
		items, p = d.rereadFile(source, x.Raw)
	default:
		p = problem(http.StatusConflict, "media_unknown", "The document cannot be read again", "it was parked as "+x.Media, "discard it; a later version may have parked it")
	}
	var events []*protocol.Event
	for i := range items {
		if p == nil {
			p = items[i].Problem
		}
		for _, ev := range items[i].Events {
			ev.Source = source
			events = append(events, ev)
		}
	}
	return events, p
}

func (d *Desk) rereadFile(source string, raw []byte) ([]Item, *protocol.Problem) {
	f, ok := d.formats[source]
	if !ok {
		return nil, problem(http.StatusConflict, "feed_gone", "The feed is not configured any more", source, "name it in [[feeds]] again, or discard the document")
	}
	batches, p := f.Read(raw)
	var items []Item
	for _, b := range batches {
		items = append(items, b.Items...)
	}
	return items, p
}
