package epcis

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"tillwire/protocol"
)

// Codes of refusals.
const (
	CodeUnknownStep  = "unknown_biz_step"
	CodeUnknownPlace = "unknown_place"
	CodeUnknownClass = "unknown_class"
	CodeBadEvent     = "invalid_epcis"
	CodeUnreadable   = "unreadable_epcis"    // of a document: no JSON, or no EPCISDocument
	CodeNowhere      = "unknown_destination" // goods were shipped, and nothing says whereto
)

// Item is one event, judged: exactly one of Event, Still and Problem is set.
type Item struct {
	EventID string          // as it came; "" where it had none
	Event   *protocol.Event // the canonical document
	Still   string          // why it moves no stock
	Problem *protocol.Problem
	Raw     []byte // the event
}

// Options are what a sender's events do not say.
type Options struct {
	Places   Places
	SaleAway bool // goods shipped to nowhere known are sold; else the event is refused
}

// Places finds a location by the identifier that a sender uses for it: an URI,
// or a GLN with "-" and extension. Others keep GLN[-extension] as their name.
type Places map[string]protocol.StoreID

// versionForm is that of versions that are read: what 2.x adds is let pass.
var versionForm = regexp.MustCompile(`^2(\.\d+)*$`)

type document struct {
	Type    string          `json:"type"`
	Context json.RawMessage `json:"@context"`
	Version string          `json:"schemaVersion"`
	Created string          `json:"creationDate"`
	Body    *struct {
		Events []json.RawMessage `json:"eventList"`
	} `json:"epcisBody"`
}

// event holds the fields that speak of stock.
type event struct {
	Type        string           `json:"type"`
	EventID     string           `json:"eventID"`
	EventTime   string           `json:"eventTime"`
	Offset      string           `json:"eventTimeZoneOffset"`
	Action      string           `json:"action"`
	BizStep     string           `json:"bizStep"`
	Disposition string           `json:"disposition"`
	ReadPoint   *node            `json:"readPoint"`
	BizLocation *node            `json:"bizLocation"`
	EPCs        []string         `json:"epcList"`
	Quantities  []quantity       `json:"quantityList"`
	Inputs      []string         `json:"inputEPCList"`
	InputQty    []quantity       `json:"inputQuantityList"`
	Outputs     []string         `json:"outputEPCList"`
	OutputQty   []quantity       `json:"outputQuantityList"`
	Papers      []bizTransaction `json:"bizTransactionList"`
	Sources     []endpoint       `json:"sourceList"`
	Destination []endpoint       `json:"destinationList"`
	Error       *struct {
		Time   string `json:"declarationTime"`
		Reason string `json:"reason"`
	} `json:"errorDeclaration"`
}

type (
	node struct {
		ID string `json:"id"`
	}
	quantity struct {
		Class    string       `json:"epcClass"`
		Quantity *json.Number `json:"quantity"`
		UOM      string       `json:"uom"`
	}
	bizTransaction struct {
		Type string `json:"type"`
		ID   string `json:"bizTransaction"`
	}
	endpoint struct { // of sourceList and destinationList
		Type   string `json:"type"`
		Source string `json:"source"`
		Target string `json:"destination"`
	}
)

// line is a line of a canonical document.
type line struct {
	SKU         string      `json:"sku"`
	Quantity    json.Number `json:"quantity"`
	UOM         string      `json:"uom,omitempty"`
	Disposition string      `json:"disposition,omitempty"`
}

// ReadDocument judges the events of an EPCISDocument one by one. The problem is
// of the document as a whole: nothing of it was read.
func ReadDocument(body []byte, o *Options) ([]Item, *protocol.Problem) {
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, unreadable("", "is not readable: "+err.Error())
	}
	switch {
	case d.Type != "EPCISDocument":
		return nil, unreadable("/type", "must be EPCISDocument: answers to queries and others are not captured")
	case d.Body == nil:
		return nil, unreadable("/epcisBody", "is missing")
	case !isTime(d.Created):
		return nil, unreadable("/creationDate", "must be a date and time with zone")
	case !versionForm.MatchString(d.Version):
		return nil, unreadable("/schemaVersion", "must be 2.0")
	case len(d.Context) == 0:
		return nil, unreadable("/@context", "is missing")
	case len(d.Body.Events) == 0:
		return nil, unreadable("/epcisBody/eventList", "has no events")
	case len(d.Body.Events) > EventsMax:
		return nil, unreadable("/epcisBody/eventList", fmt.Sprintf("has %d events, at most %d are taken", len(d.Body.Events), EventsMax))
	}
	items := make([]Item, len(d.Body.Events))
	for i, raw := range d.Body.Events {
		items[i] = ReadEvent(raw, o)
		if p := items[i].Problem; p != nil {
			for k := range p.Errors {
				p.Errors[k].Pointer = fmt.Sprintf("/epcisBody/eventList/%d%s", i, p.Errors[k].Pointer)
			}
		}
	}
	return items, nil
}

// ReadEvent judges one event.
func ReadEvent(raw []byte, o *Options) Item {
	var e event
	if err := json.Unmarshal(raw, &e); err != nil {
		var probe struct {
			Type string `json:"type"`
			ID   string `json:"eventID"`
		}
		if json.Unmarshal(raw, &probe) == nil && shapes[probe.Type] != nil { // a field is of another type: the shape says which
			if errs := validate(raw, probe.Type); len(errs) > 0 {
				p := broken(errs[0].Pointer, errs[0].Message)
				p.Errors = errs
				return Item{EventID: probe.ID, Problem: p, Raw: raw}
			}
		}
		return Item{Problem: broken("", "is not readable: "+err.Error()), Raw: raw}
	}
	it := Item{EventID: e.EventID, Raw: raw}
	if shapes[e.Type] == nil && schemeForm.MatchString(e.Type) {
		it.Still = "type " + e.Type + " is an extension of the standard: nothing is known of it"
		return it
	}
	if it.Problem = e.check(raw); it.Problem != nil {
		return it
	}
	doc, why, p := e.document(o)
	if it.Still, it.Problem = why, p; doc == nil {
		return it
	}
	doc["document_id"] = documentID(e.EventID, raw)
	if e.Error != nil {
		doc = map[string]any{
			"kind": "void", "location": doc["location"], "document_id": doc["document_id"], "voids": doc["document_id"],
			"voids_kind": doc["kind"], "occurred_at": e.Error.Time,
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		it.Problem = broken("", err.Error())
		return it
	}
	it.Event, it.Problem = protocol.DecodeDocument(b, protocol.Source{Feed: true})
	return it
}

// check holds the event against the standard's shape, and its own bounds.
func (e *event) check(raw []byte) *protocol.Problem {
	if shapes[e.Type] == nil {
		return broken("/type", "must be ObjectEvent, AggregationEvent, TransactionEvent, TransformationEvent or AssociationEvent, or a URI of your own")
	}
	errs := validate(raw, e.Type)
	if n := len(e.EPCs) + len(e.Quantities) + len(e.Inputs) + len(e.InputQty) + len(e.Outputs) + len(e.OutputQty); n > epcsMax {
		errs = append(errs, protocol.FieldError{Message: fmt.Sprintf("has %d instances and classes, at most %d are taken", n, epcsMax)})
	}
	if len(errs) == 0 {
		return nil
	}
	p := broken(errs[0].Pointer, errs[0].Message)
	p.Errors = errs
	return p
}

// document makes the canonical document, or tells why there is none.
func (e *event) document(o *Options) (doc map[string]any, still string, p *protocol.Problem) {
	step := word(e.BizStep, "bizstep", "BizStep")
	eff, moving := moves[step]
	switch {
	case e.Type == "TransformationEvent":
		eff = effect{kind: protocol.KindAdjustment, reason: "internal_use"}
	case e.Type == "AggregationEvent" || e.Type == "AssociationEvent":
		return nil, "packing and binding move no stock", nil
	case step == "":
		return nil, "no bizStep: nothing says that goods moved", nil
	case isStill(step):
		return nil, "bizStep " + step + " moves no stock", nil
	case !moving:
		return nil, "", refusal(CodeUnknownStep, "/bizStep", "is no word of CBV 2.0")
	}
	dispo := unsellable(word(e.Disposition, "disp", "Disp"))
	if eff.kind == protocol.KindStatusChange && dispo == "" {
		return nil, "bizStep " + step + " without an unsellable disposition changes nothing", nil
	}
	lines, p := e.lines(eff)
	if p != nil {
		return nil, "", p
	}
	if len(lines) == 0 {
		return nil, "names no trade items", nil
	}
	place, p := e.place(o.Places)
	if p != nil {
		return nil, "", p
	}
	doc = map[string]any{"kind": eff.kind.String(), "location": place, "occurred_at": e.EventTime, "lines": lines}
	switch eff.kind {
	case protocol.KindReceipt:
		e.received(doc, place, o)
	case protocol.KindAdjustment:
		doc["reason"] = eff.reason
	case protocol.KindCount:
		doc["scope"], doc["counted_at"] = "sku", e.EventTime
	case protocol.KindStatusChange:
		doc["from"], doc["to"] = eff.from, dispo
	case protocol.KindSale:
		if step == "shipping" {
			p = e.shipped(doc, place, o)
		}
	default: // the table above has no other kinds
	}
	if p != nil {
		return nil, "", p
	}
	return doc, "", nil
}

// place is where the goods are: bizLocation, else readPoint.
func (e *event) place(places Places) (protocol.StoreID, *protocol.Problem) {
	at, ptr := e.BizLocation, "/bizLocation"
	if at == nil {
		at, ptr = e.ReadPoint, "/readPoint"
	}
	if at == nil {
		return "", refusal(CodeUnknownPlace, "/bizLocation", "is missing, and so is readPoint")
	}
	place, ok := places.find(at.ID)
	if !ok {
		return "", refusal(CodeUnknownPlace, ptr+"/id", "is no GLN and not in the table of places")
	}
	return place, nil
}

func (p Places) find(uri string) (protocol.StoreID, bool) {
	if to, ok := p[uri]; ok {
		return to, true
	}
	name, ok := placeOf(uri)
	if to, mapped := p[name]; ok && mapped {
		return to, true
	}
	return protocol.StoreID(name), ok
}

// lines adds up instances per article and takes classes as they stand.
func (e *event) lines(eff effect) ([]line, *protocol.Problem) {
	var w lineWriter
	sign := eff.sign
	if sign == 0 {
		sign = 1
	}
	w.take("/epcList", "/quantityList", e.EPCs, e.Quantities, sign)
	w.take("/inputEPCList", "/inputQuantityList", e.Inputs, e.InputQty, -1)
	w.take("/outputEPCList", "/outputQuantityList", e.Outputs, e.OutputQty, 1)
	return w.out, w.problem
}

type lineWriter struct {
	out     []line
	problem *protocol.Problem
}

func (w *lineWriter) take(epcPtr, qtyPtr string, epcs []string, classes []quantity, sign int) {
	first := len(w.out)
	n := map[string]int{}
	for _, epc := range epcs {
		gtin, ok := articleOf(epc)
		if !ok {
			continue // logistic units, assets and documents are no trade items
		}
		if n[gtin] == 0 {
			w.out = append(w.out, line{SKU: gtin})
		}
		n[gtin] += sign
	}
	for i := first; i < len(w.out); i++ {
		w.out[i].Quantity = json.Number(fmt.Sprint(n[w.out[i].SKU]))
	}
	for i, q := range classes {
		gtin, ok := articleOf(q.Class)
		if !ok && w.problem == nil {
			w.problem = refusal(CodeUnknownClass, fmt.Sprintf("%s/%d/epcClass", qtyPtr, i), "holds no GTIN")
		}
		if q.Quantity == nil {
			if w.problem == nil {
				w.problem = refusal(CodeBadEvent, fmt.Sprintf("%s/%d/quantity", qtyPtr, i), "is missing: how many cannot be known")
			}
			continue
		}
		amount := *q.Quantity
		if sign < 0 {
			amount = json.Number(strings.TrimPrefix("-"+string(amount), "--"))
		}
		w.out = append(w.out, line{SKU: gtin, Quantity: amount, UOM: q.UOM})
	}
}

// documentID is the event's own id, which senders derive from its content
// (ni:///sha-256;…?ver=CBV2.0) or make up; without one it is our hash over the
// content. The declaration of an error is no content: it names the event that
// was wrong.
func documentID(eventID string, raw []byte) string {
	if eventID != "" && len(eventID) <= eventIDMax && !cardLike(eventID) {
		return eventID
	}
	content := []byte(eventID)
	if eventID == "" {
		var fields map[string]any
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.UseNumber()
		if dec.Decode(&fields) == nil {
			delete(fields, "errorDeclaration")
			delete(fields, "recordTime")
			delete(fields, "@context")
			content, _ = json.Marshal(fields) // maps of what was just decoded: names in order, no failure
		}
	}
	sum := sha256.Sum256(content)
	// Letters only: a hash in hexadecimal now and then holds what looks like the
	// number of a payment card, which ids are refused for.
	letters := make([]byte, 0, 2*len(sum))
	for _, c := range sum {
		letters = append(letters, 'a'+c>>4, 'a'+c&15)
	}
	return "epcis:" + string(letters)
}

// cardLike tells that an id holds digits enough for a card number.
func cardLike(id string) bool {
	run := 0
	for i := range len(id) {
		if run++; !digits(id[i : i+1]) {
			run = 0
		}
		if run >= cardDigits {
			return true
		}
	}
	return false
}

func unreadable(ptr, msg string) *protocol.Problem {
	p := refusal(CodeUnreadable, ptr, msg)
	p.Status = 400
	return p
}

func broken(ptr, msg string) *protocol.Problem {
	p := refusal(CodeBadEvent, ptr, msg)
	p.Status = 400
	return p
}

func refusal(code, ptr, msg string) *protocol.Problem {
	p := protocol.NewProblem(422, code, "The EPCIS event cannot be taken", ptr+" "+msg, "Correct what errors[] names and capture it again: events that were taken are known by their ids.")
	p.Errors = []protocol.FieldError{{Pointer: ptr, Message: msg}}
	return p
}
