package edi

import (
	"strconv"

	"tillwire/protocol"
)

// edifact reads one segment of a DESADV, RECADV or INVRPT.
func (d *draft) edifact(i int, s *Segment) {
	switch s.Tag {
	case "BGM":
		d.number, d.purpose = s.At(2, 1), s.At(3, 1)
	case "DTM":
		if len(d.lines) == 0 {
			d.dates[s.At(1, 1)] = stamp{date: s.At(1, 2), form: s.At(1, 3)}
		}
	case "RFF":
		if len(d.lines) == 0 {
			d.refs[s.At(1, 1)] = s.At(1, 2)
		}
	case "NAD":
		if id := s.At(2, 1); id != "" {
			d.parties[s.At(1, 1)] = id
		}
	case "LIN":
		l := d.open(i)
		d.pair(l, s.At(3, 2), s.At(3, 1))
	case "PIA":
		if len(d.lines) > 0 {
			for e := 2; e <= len(s.elem); e++ {
				d.pair(&d.lines[len(d.lines)-1], s.At(e, 2), s.At(e, 1))
			}
		}
	case "QTY":
		d.stated(i, s.At(1, 1), s.At(1, 2), s.At(1, 3))
	case "CNT": // 2: the number of lines
		if n, err := strconv.Atoi(s.At(1, 2)); err == nil && s.At(1, 1) == "2" {
			d.counted = n
		}
	}
}

func (d *draft) stamps(order []string) []stamp {
	out := make([]stamp, len(order))
	for i, q := range order {
		out[i] = d.dates[q]
	}
	return out
}

// despatch is what left a place of ours, or else an advice of what is to come to one.
func (d *draft) despatch(it *Item, id string) {
	at := d.moment(d.dates["11"], d.dates["137"])
	if from, ok := d.ours(d.party(ediFrom)); ok {
		d.shipped(it, id, from, d.party(ediTo), d.number, at)
		return
	}
	doc := map[string]any{"document_id": d.number, "location": d.here(ediTo), "occurred_at": at}
	for _, q := range ediDue {
		if s := d.dates[q]; s.date != "" {
			if f := dateForms[s.form]; !f.clock && s.clock == "" {
				s.clock = "2359" // an expected day needs no clock
			}
			doc["expected_at"] = d.timeOf(s)
			break
		}
	}
	it.DocumentID = d.number // by which receipts refer to it
	d.emit(it, protocol.KindAdvice, doc)
}
