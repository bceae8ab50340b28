package edi

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// Tables are what the partner's file does not say.
type Tables struct {
	Places    map[string]protocol.StoreID // by the partner's name of a location, or its GLN
	Location  protocol.StoreID            // whose stock it is where a message names no place; "": it must
	Zone      *time.Location              // of the partner's clock: neither syntax writes it
	EndOfDay  bool                        // a date without a time means the end of that day; else it is refused
	SaleAway  bool                        // goods that leave for nowhere known are sold; else they are refused
	Complete  bool                        // a statement of stock names all that is there
	Encoding  string                      // latin1; "": as declared, else UTF-8
	ItemCodes []string                    // qualifiers of article numbers, the best first; nil: GTINs first
}

// Item is one message, judged: exactly one of Events, Still and Problem is set.
type Item struct {
	DocumentID string
	What       string // "x12 944 004010"
	Events     []*protocol.Event
	Still      string // why it moves no stock
	Problem    *protocol.Problem
	Raw        []byte // an interchange of its own
}

// Read judges one interchange, message by message.
func (t *Tables) Read(x *Interchange) []Item {
	if x.Problem != nil {
		return []Item{{DocumentID: x.Control, What: x.Syntax, Problem: x.Problem, Raw: x.Raw}}
	}
	out := make([]Item, 0, len(x.Messages))
	for i := range x.Messages {
		m := &x.Messages[i]
		it := Item{DocumentID: m.Control, What: strings.TrimSpace(x.Syntax + " " + m.Type + " " + m.Version), Problem: m.Problem, Raw: m.Raw}
		if it.Problem == nil {
			d := &draft{t: t, x: x, m: m, parties: map[string]string{}, refs: map[string]string{}, dates: map[string]stamp{}}
			d.read()
			d.finish(&it)
		}
		out = append(out, it)
	}
	return out
}

type stamp struct{ date, clock, form string }

// line is a line of a canonical document.
type line struct {
	SKU         string            `json:"sku"`
	Quantity    protocol.Quantity `json:"quantity"`
	UOM         string            `json:"uom,omitempty"`
	Disposition string            `json:"disposition,omitempty"`

	codes    map[string]string
	sellable bool // the quantity is what may be sold
	told     bool
	said     int // of segments, for pointers
}

// draft is a message while it is read.
type draft struct {
	t *Tables
	x *Interchange
	m *Message

	number, purpose     string
	order, shipment     string
	date, clock         string
	parties, refs       map[string]string // by role, by qualifier
	dates               map[string]stamp
	lines               []line
	counted, items      int // LIN as a tail counts them; -1: it does not
	total, sum          protocol.Quantity
	totalled, cancelled bool
	still               string
	problem             *protocol.Problem
}

func (d *draft) wrong(code, ptr, msg string) {
	if d.problem == nil {
		d.problem = refusal(code, ptr, msg)
	}
}

func (d *draft) at(i int) string { return fmt.Sprintf("/%s/%d", d.m.Segments[i].Tag, i+2) }

// read goes over the segments by the message's table.
func (d *draft) read() {
	d.counted = -1
	var step func(i int, s *Segment)
	switch {
	case d.x.Syntax == "x12" && (d.m.Type == x12Receipt || d.m.Type == x12Shipment || d.m.Type == x12Inventory):
		step = d.x12
	case d.x.Syntax == "edifact" && (d.m.Type == edifactDespatch || d.m.Type == edifactReceipt || d.m.Type == edifactInventory):
		step = d.edifact
	default:
		d.still = fmt.Sprintf("%s %s is no message about stock that is read here", d.x.Syntax, d.m.Type)
		return
	}
	for i := range d.m.Segments {
		if step(i, &d.m.Segments[i]); d.problem != nil {
			return
		}
		if len(d.lines) > linesMax {
			d.wrong(CodeUnreadable, d.at(i), fmt.Sprintf("is beyond the %d lines of one message", linesMax))
			return
		}
	}
	if d.counted >= 0 && d.counted != d.items {
		d.wrong(CodeCounts, "/CNT", fmt.Sprintf("counts %d lines where %d are there", d.counted, d.items))
	}
	if d.totalled && d.total != d.sum {
		d.wrong(CodeCounts, "/total", fmt.Sprintf("adds up to %s where the lines are %s", d.total, d.sum))
	}
	if !purposes[d.purpose] {
		d.wrong(CodeUnknown, "/purpose", fmt.Sprintf("%.20q is not original, duplicate or cancellation", d.purpose))
	}
	d.cancelled = strings.TrimLeft(d.purpose, "0") == purposeCancel
}

// open begins a line.
func (d *draft) open(i int) *line {
	d.lines = append(d.lines, line{codes: map[string]string{}, said: i})
	d.items++
	return &d.lines[len(d.lines)-1]
}

// quantity reads a number as both syntaxes write them.
func (d *draft) quantity(i int, s string) protocol.Quantity {
	q, err := protocol.ParseQuantity(plain(s))
	if err != nil {
		d.wrong(CodeUnknown, d.at(i), fmt.Sprintf("has %.40q as a quantity: %s", s, err))
	}
	return q
}

// plain writes a number of either syntax as JSON would: no leading zeros or plus, a
// point for a comma.
func plain(s string) string {
	s = strings.TrimPrefix(strings.ReplaceAll(s, ",", "."), "+")
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimLeft(strings.TrimPrefix(s, "-"), "0")
	if s == "" || s[0] == '.' {
		s = "0" + s
	}
	s = strings.TrimSuffix(s, ".")
	if neg {
		return "-" + s
	}
	return s
}

func unit(s string) string {
	if u, ok := units[s]; ok {
		return u
	}
	return s
}

// article is the best of a line's article numbers.
func (d *draft) article(l *line) string {
	order := d.t.ItemCodes
	if order == nil {
		order = itemCodes
	}
	for _, q := range order {
		if code := l.codes[q]; code != "" {
			return code
		}
	}
	return ""
}

// party is the first of the roles that is told.
func (d *draft) party(roles []string) string {
	for _, r := range roles {
		if id := d.parties[r]; id != "" {
			return id
		}
	}
	return ""
}

func (d *draft) ours(id string) (protocol.StoreID, bool) {
	if id == "" {
		return "", false
	}
	s, ok := d.t.Places[id]
	return s, ok
}

// here is whose stock it is.
func (d *draft) here(roles []string) protocol.StoreID {
	id := d.party(roles)
	if s, ok := d.ours(id); ok {
		return s
	}
	if d.t.Location != "" {
		return d.t.Location
	}
	d.wrong(CodePlace, "/"+strings.Join(roles, "|"), fmt.Sprintf("names %.80q, which is not in the feed's table of places", id))
	return ""
}

// moment is when it happened, by the first stamp that is told.
func (d *draft) moment(stamps ...stamp) time.Time {
	for _, s := range stamps {
		if s.date == "" {
			continue
		}
		return d.timeOf(s)
	}
	d.wrong(CodeMissing, "/date", "is missing: nothing says when")
	return time.Time{}
}

func (d *draft) timeOf(s stamp) time.Time {
	f, ok := dateForms[s.form]
	if !ok {
		d.wrong(CodeUnknown, "/DTM", fmt.Sprintf("has the format %.20q, which is none of 101, 102, 201, 203 and 204", s.form))
		return time.Time{}
	}
	date, layout := s.date, f.layout
	if s.form == "" && len(date) == 6 {
		layout = "060102"
	}
	zone := d.t.Zone
	if zone == nil {
		zone = time.UTC
	}
	at, err := time.ParseInLocation(layout, date, zone)
	if err != nil {
		d.wrong(CodeUnknown, "/date", fmt.Sprintf("%.40q is no date", date))
		return at
	}
	if f.clock {
		return at
	}
	clock := s.clock
	if clock == "" && sameDay(at, d.x.Date, zone) {
		clock = d.x.Time // the envelope was written on that day
	}
	if clock == "" {
		if !d.t.EndOfDay {
			d.wrong(CodeClockless, "/date", fmt.Sprintf("%s has no time of day, and neither has the envelope of that day", date))
		}
		return at.AddDate(0, 0, 1).Add(-time.Second)
	}
	return d.withClock(at, clock)
}

func (d *draft) withClock(day time.Time, clock string) time.Time {
	n, err := strconv.Atoi(clock)
	if err != nil || len(clock) < 4 {
		d.wrong(CodeUnknown, "/time", fmt.Sprintf("%.20q is no time of day", clock))
		return day
	}
	if len(clock) < 6 {
		n, clock = n*100, clock[:4]
	} else {
		n, _ = strconv.Atoi(clock[:6])
	}
	h, m, s := n/10000, n/100%100, n%100
	if len(clock) == 5 || h > 23 || m > 59 || s > 59 {
		d.wrong(CodeUnknown, "/time", fmt.Sprintf("%.20q is no time of day", clock))
	}
	return time.Date(day.Year(), day.Month(), day.Day(), h, m, s, 0, day.Location())
}

func sameDay(at time.Time, date string, zone *time.Location) bool {
	layout := "20060102"
	if len(date) == 6 {
		layout = "060102"
	}
	e, err := time.ParseInLocation(layout, date, zone)
	return err == nil && e.Equal(at)
}

// documentID is the partner's number of the document. Digits like a payment card's
// are written as letters: ids that look so are refused.
func (d *draft) documentID() string {
	id := strings.ToLower(d.m.Type) + "-" + d.x.Sender + "-" + d.number
	if len(id) > protocol.IDBytesMax-8 || protocol.FindPAN(id, true) {
		sum := protocol.MakeEventID("edi", protocol.KindInvalid, id)
		letters := make([]byte, 0, 2*len(sum))
		for _, c := range sum {
			letters = append(letters, 'a'+c>>4, 'a'+c&15)
		}
		return strings.ToLower(d.m.Type) + "-" + string(letters)
	}
	return id
}

// emit makes events of a canonical document: one, or as many as its lines need.
func (d *draft) emit(it *Item, kind protocol.Kind, doc map[string]any) {
	id, _ := doc["document_id"].(string)
	doc["kind"] = kind.String()
	if d.cancelled {
		if kind == protocol.KindSnapshot {
			d.wrong(CodeUnknown, "/purpose", "cancels a statement of stock: send the right one instead")
			return
		}
		doc = map[string]any{
			"kind": "void", "document_id": id + "-cancelled", "voids": id, "voids_kind": kind.String(), "location": doc["location"], "occurred_at": doc["occurred_at"],
		}
		d.lines = nil
	}
	for from := 0; from == 0 || from < len(d.lines); from += protocol.DocumentLinesMax {
		lines := d.lines[from:min(from+protocol.DocumentLinesMax, len(d.lines))]
		if !d.cancelled {
			doc["lines"] = lines
		}
		part := id
		if from > 0 {
			part = fmt.Sprintf("%s/%d", id, from/protocol.DocumentLinesMax+1)
		}
		name := "document_id"
		if kind == protocol.KindSnapshot {
			name = "snapshot_id"
			delete(doc, "document_id")
		}
		if !d.cancelled {
			doc[name] = part
		}
		b, err := json.Marshal(doc)
		if err != nil {
			d.wrong(CodeUnreadable, "", err.Error())
			return
		}
		ev, p := protocol.DecodeDocument(b, protocol.Source{Feed: true})
		if p != nil {
			if d.problem == nil {
				d.problem = p
			}
			return
		}
		if kind == protocol.KindSnapshot {
			ev.Session = id
		}
		it.Events = append(it.Events, ev)
	}
}
