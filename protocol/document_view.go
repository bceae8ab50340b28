package protocol

import (
	"encoding/json"
	"strconv"
	"time"
)

// ViewDocument is the JSON view of an event for people, exceptions and traces:
// the document as a POS or feed would send it, with its kind and location, plus
// event_id, flags, cuts, clocks, and the aggregator's own stance and body. Fields
// not stated are left out.
func ViewDocument(e *Event) map[string]any {
	m := map[string]any{
		"event_id":    e.ID.String(),
		"kind":        e.Kind.String(),
		"location":    string(e.Store),
		"document_id": e.DocumentID,
		"occurred_at": viewStamp(e.EventTime),
	}
	put := func(name, v string) {
		if v != "" {
			m[name] = v
		}
	}
	put("register", e.Register)
	put("business_date", e.BusinessDate)
	put("traceparent", e.Traceparent)
	put("order_id", e.OrderID)
	put("hold_id", e.HoldID)
	put("original_document_id", e.OriginalDocument)
	put("original_store", string(e.OriginalStore))
	put("voids", e.Voids)
	if e.VoidsKind != KindInvalid {
		m["voids_kind"] = e.VoidsKind.String()
	}
	put("source", e.Source)
	put("advice_id", e.AdviceID)
	put("transfer_id", e.TransferID)
	put("counterparty", string(e.Counterparty))
	put("direction", e.Direction.String())
	put("scope", e.Scope.String())
	put("session", e.Session)
	put("zone", e.Zone)
	put("reason", e.Reason)
	put("action", e.Action)
	if e.Kind == KindSnapshot {
		m["complete"] = e.Complete
	}
	if !e.ExpectedAt.IsZero() {
		m["expected_at"] = viewStamp(e.ExpectedAt)
	}
	if e.Kind == KindClock || e.ClockErrorUS != 0 {
		m["clock_offset_us"], m["clock_error_us"] = e.ClockOffsetUS, e.ClockErrorUS
	}
	if len(e.Acks) > 0 {
		acks := make(map[string]any, len(e.Acks))
		for i := range e.Acks {
			acks[ackName(&e.Acks[i])] = e.Acks[i].Seq
		}
		m["acknowledged"] = acks
	}
	if json.Valid(e.Body) {
		m["body"] = json.RawMessage(e.Body)
	}
	if f := e.Flags.Names(); len(f) > 0 {
		m["flags"] = f
	}
	if len(e.Lines) > 0 {
		lines := make([]any, len(e.Lines))
		for i := range e.Lines {
			lines[i] = viewLine(&e.Lines[i])
		}
		m["lines"] = lines
	}
	return m
}

func viewLine(l *Line) map[string]any {
	m := map[string]any{"line": l.Line, "sku": string(l.SKU), "quantity": json.Number(l.Quantity.String())}
	put := func(name, v string) {
		if v != "" {
			m[name] = v
		}
	}
	put("uom", l.UOM)
	put("disposition", l.Disposition.String())
	put("from", l.From.String())
	put("to", l.To.String())
	if !l.CountedAt.IsZero() {
		m["counted_at"] = viewStamp(l.CountedAt)
	}
	if l.Cut != 0 {
		m["cut"] = l.Cut
	}
	put("zone", l.Zone)
	put("raw_code", l.RawCode)
	if len(l.Cuts) > 0 {
		cuts := make(map[string]any, len(l.Cuts))
		for _, c := range l.Cuts {
			cuts[string(c.Agent)+":"+strconv.FormatUint(c.Epoch, 10)] = c.Seq
		}
		m["sibling_cuts"] = cuts
	}
	if l.Stance == StanceDrift {
		m["stance"] = "drift"
	}
	return m
}

func viewStamp(s Stamp) string { return s.Time().Format(time.RFC3339Nano) }

// String is the word in documents; "" for none.
func (d Direction) String() string { return word(directionNames[:], int(d)) }

// String is the word in documents; "" for none.
func (s Scope) String() string { return word(scopeNames[:], int(s)) }

func word(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return ""
}

var flagNames = [...]string{"derived_quantity", "masked", "bad_check_digit", "zoneless", "bad_verifier", "no_unit_price", "clock_set_back"}

// Names lists the flags set, as they stand in answers.
func (f EventFlags) Names() []string {
	var names []string
	for i, n := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return names
}
