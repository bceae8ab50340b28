package feed

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"tillwire/protocol"
	"tillwire/protocol/csvdoc"
	"tillwire/protocol/edi"
	"tillwire/protocol/epcis"
	"tillwire/protocol/poslog"
)

// Batch is what a file holds under one control number.
type Batch struct {
	Control string // sender and number of the interchange; "": the format has none
	Raw     []byte
	Items   []Item
}

// Format reads the files of one source. Read does no I/O and keeps nothing; a problem
// is of the file as a whole. What it reads it must be able to read again out of an
// item's Raw, alone.
type Format struct {
	Kind string
	Read func(raw []byte) ([]Batch, *protocol.Problem)
}

// EDI reads X12 and EDIFACT, told apart by their content.
func EDI(t *edi.Tables) Format {
	return Format{Kind: "edi", Read: func(raw []byte) ([]Batch, *protocol.Problem) {
		text, p := edi.Text(raw, t.Encoding)
		if p != nil {
			return nil, p
		}
		all, p := edi.Split(text)
		if p != nil {
			return nil, p
		}
		out := make([]Batch, len(all))
		for i := range all {
			out[i] = Batch{Control: all[i].Syntax + "/" + all[i].Sender + "/" + all[i].Control, Raw: all[i].Raw}
			for _, it := range t.Read(&all[i]) {
				out[i].Items = append(out[i].Items, Item{DocumentID: it.DocumentID, What: it.What, Events: it.Events, Still: it.Still, Problem: it.Problem, Raw: it.Raw, media: mediaFile})
			}
		}
		return out, nil
	}}
}

// EPCISFiles reads EPCIS documents that are dropped instead of captured.
func EPCISFiles(o *epcis.Options) Format {
	return Format{Kind: "epcis", Read: func(raw []byte) ([]Batch, *protocol.Problem) {
		var probe struct {
			Type string `json:"type"`
		}
		var read []epcis.Item
		if json.Unmarshal(raw, &probe) == nil && probe.Type != "EPCISDocument" && probe.Type != "" {
			read = []epcis.Item{epcis.ReadEvent(raw, o)} // one event, parked alone
		} else {
			var p *protocol.Problem
			if read, p = epcis.ReadDocument(raw, o); p != nil {
				return nil, p
			}
		}
		b := Batch{Raw: raw}
		for i := range read {
			it := Item{DocumentID: read[i].EventID, What: "epcis 2.0", Still: read[i].Still, Problem: read[i].Problem, Raw: read[i].Raw, media: mediaFile}
			if read[i].Event != nil {
				it.Events = []*protocol.Event{read[i].Event}
			}
			b.Items = append(b.Items, it)
		}
		return []Batch{b}, nil
	}}
}

// JSONFiles reads our own documents: {"events":[…]}, a snapshot, or one document.
func JSONFiles() Format {
	return Format{Kind: "json", Read: func(raw []byte) ([]Batch, *protocol.Problem) {
		var probe map[string]json.RawMessage
		_ = json.Unmarshal(raw, &probe) // the readers say what is wrong
		var items []Item
		var p *protocol.Problem
		switch {
		case probe["kind"] != nil:
			items = []Item{readEvent(raw)}
		case probe["snapshot_id"] != nil:
			items, p = readSnapshot(raw)
		default:
			items, p = readEvents(raw)
		}
		for i := range items {
			items[i].media = mediaFile
		}
		return []Batch{{Raw: raw, Items: items}}, p
	}}
}

// POSLogFiles reads the files of a till whose store has no agent.
func POSLogFiles(store protocol.StoreID, zone *time.Location) Format {
	return Format{Kind: "poslog", Read: func(raw []byte) ([]Batch, *protocol.Problem) {
		res, p := poslog.Decode(bytes.NewReader(raw), poslog.Options{Store: store, Zone: zone, BytesMax: fileBytesMax})
		if p != nil {
			return nil, p
		}
		b := Batch{Raw: raw}
		for _, e := range res.Events {
			b.Items = append(b.Items, Item{DocumentID: e.DocumentID, What: "poslog " + res.Dialect, Events: []*protocol.Event{e}, media: mediaFile})
		}
		if len(res.Problems) > 0 { // the file is what can be read again: the rest of it is known by its ids
			all := *res.Problems[0].Problem
			all.Errors = nil
			for _, bad := range res.Problems {
				for _, e := range bad.Problem.Errors {
					all.Errors = append(all.Errors, protocol.FieldError{Pointer: bad.DocumentID + e.Pointer, Message: e.Message})
				}
			}
			b.Items = append(b.Items, Item{DocumentID: res.Problems[0].DocumentID, What: "poslog " + res.Dialect, Problem: &all, Raw: raw, media: mediaFile})
		}
		return []Batch{b}, nil
	}}
}

// CSVFiles reads rows of tills without an agent, and of warehouses.
func CSVFiles(o *csvdoc.Options, encoding string) Format {
	return Format{Kind: "csv", Read: func(raw []byte) ([]Batch, *protocol.Problem) {
		text, p := edi.Text(raw, encoding)
		if p != nil {
			return nil, p
		}
		r, reason := csvdoc.New(bytes.NewReader(text), *o)
		if reason != nil {
			return nil, csvProblem([]csvdoc.Reason{*reason})
		}
		b := Batch{Raw: raw}
		for d, ok := r.Next(); ok; d, ok = r.Next() {
			it := Item{DocumentID: d.ID, What: "csv " + d.Kind, Events: d.Events, media: mediaFile}
			if len(d.Bad) > 0 {
				it.Problem = csvProblem(d.Bad)
				it.Raw = r.Alone(text, &d)
			}
			b.Items = append(b.Items, it)
		}
		return []Batch{b}, nil
	}}
}

// csvProblem tells all that is wrong with a document; its cause is the first.
func csvProblem(bad []csvdoc.Reason) *protocol.Problem {
	p := problem(http.StatusUnprocessableEntity, bad[0].Code, "The rows cannot be taken", bad[0].Problem, bad[0].Remedy)
	for _, x := range bad {
		at := x.Field
		if x.Line > 0 {
			at = "line " + strconv.Itoa(x.Line) + " " + at
		}
		p.Errors = append(p.Errors, protocol.FieldError{Pointer: at, Message: x.Problem})
	}
	return p
}
