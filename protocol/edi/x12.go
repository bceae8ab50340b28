package edi

import (
	"fmt"
	"strconv"
	"strings"

	"tillwire/protocol"
)

// x12 reads one segment of a 944, 945 or 846.
func (d *draft) x12(i int, s *Segment) {
	switch s.Tag {
	case "W17": // the head of a 944
		d.date, d.number, d.order, d.shipment = s.At(2, 1), s.At(3, 1), s.At(4, 1), s.At(5, 1)
	case "W06": // … of a 945
		d.order, d.date, d.shipment = s.At(2, 1), s.At(3, 1), s.At(4, 1)
		if d.number = d.shipment; d.number == "" {
			d.number = d.order
		}
	case "BIA": // … of an 846
		d.purpose, d.number, d.date, d.clock = s.At(1, 1), s.At(3, 1), s.At(4, 1), s.At(5, 1)
	case "N1":
		id := s.At(4, 1)
		if id == "" {
			id = s.At(2, 1)
		}
		d.parties[s.At(1, 1)] = id
	case "N9", "REF":
		d.refs[s.At(1, 1)] = s.At(2, 1)
	case "G62": // 11: shipped on this date
		if s.At(1, 1) == "11" && d.m.Type == x12Shipment {
			d.date = s.At(2, 1)
		}
		if s.At(2, 1) == d.date && s.At(4, 1) != "" {
			d.clock = s.At(4, 1)
		}
	case "DTM":
		if s.At(2, 1) == d.date && s.At(3, 1) != "" {
			d.clock = s.At(3, 1)
		}
	case "W07", "W12", "LIN", "QTY", "W13":
		d.x12Line(i, s)
	case "W14":
		d.total, d.totalled = d.quantity(i, s.At(1, 1)), true
	case "W03":
		d.total, d.totalled = d.quantity(i, s.At(1, 1)), true
	case "CTT":
		if n, err := strconv.Atoi(s.At(1, 1)); err == nil && d.m.Type == x12Inventory {
			d.counted = n
		}
	}
}

func (d *draft) x12Line(i int, s *Segment) {
	switch s.Tag {
	case "W07":
		l := d.open(i)
		l.Quantity, l.UOM, l.told = d.quantity(i, s.At(1, 1)), unit(s.At(2, 1)), true
		d.codes(l, s, 4)
		if l.codes["UA"] == "" {
			l.codes["UA"] = s.At(3, 1)
		}
		d.sum += l.Quantity
	case "W12":
		l := d.open(i)
		l.Quantity, l.UOM, l.told = d.quantity(i, s.At(3, 1)), unit(s.At(5, 1)), true
		d.codes(l, s, 7)
		d.pair(l, s.At(17, 1), s.At(18, 1))
		if l.codes["UA"] == "" {
			l.codes["UA"] = s.At(6, 1)
		}
		d.sum += l.Quantity
	case "LIN":
		d.codes(d.open(i), s, 2)
	case "QTY":
		d.stated(i, s.At(1, 1), s.At(2, 1), s.At(3, 1))
	case "W13":
		d.exception(i, s)
	}
}

// codes reads pairs of qualifier and article number from an element on.
func (d *draft) codes(l *line, s *Segment, from int) {
	to := from + 2
	if s.Tag == "LIN" {
		to = len(s.elem)
	}
	for e := from; e <= to; e += 2 {
		d.pair(l, s.At(e, 1), s.At(e+1, 1))
	}
}

func (d *draft) pair(l *line, qualifier, code string) {
	if qualifier != "" && code != "" && l.codes[qualifier] == "" {
		l.codes[qualifier] = code
	}
}

// stated reads a quantity of which a qualifier says what it is.
func (d *draft) stated(i int, qualifier, quantity, uom string) {
	what, known := quantities[d.m.Type][qualifier]
	switch {
	case !known:
		d.wrong(CodeUnknown, d.at(i), fmt.Sprintf("has the qualifier %.20q, which says of no stock that is known here", qualifier))
	case len(d.lines) == 0:
		return // of the message as a whole
	}
	if what == amountNone || d.problem != nil {
		return
	}
	q := d.quantity(i, quantity)
	l := &d.lines[len(d.lines)-1]
	if what == amountRefused {
		d.lines = append(d.lines, line{Quantity: q, UOM: unit(uom), Disposition: "quarantine", codes: l.codes, told: true, said: i})
		d.lines[len(d.lines)-1], d.lines[len(d.lines)-2] = d.lines[len(d.lines)-2], d.lines[len(d.lines)-1]
		return
	}
	if l.told && (what == amountSellable || qualifier == "48") {
		return // the better one was told
	}
	l.Quantity, l.UOM, l.told, l.sellable = q, unit(uom), true, what == amountSellable
}

// exception reads how goods of the line before came: damaged ones are of the line's
// number, and stand by themselves.
func (d *draft) exception(i int, s *Segment) {
	how, known := conditions[s.At(3, 1)]
	switch {
	case !known:
		d.wrong(CodeUnknown, d.at(i), fmt.Sprintf("has the condition %.20q, which is not known here", s.At(3, 1)))
		return
	case how == "" || len(d.lines) == 0:
		return
	}
	q := d.quantity(i, s.At(1, 1))
	l := d.lines[len(d.lines)-1]
	d.lines[len(d.lines)-1].Quantity -= q
	l.Quantity, l.Disposition, l.said = q, how, i
	d.lines = append(d.lines, l)
}

// finish makes the canonical document.
func (d *draft) finish(it *Item) {
	if d.number != "" {
		it.DocumentID = d.documentID()
	}
	if d.problem == nil && d.still == "" {
		d.settle()
	}
	if d.problem == nil && d.still == "" {
		d.document(it)
	}
	if it.Problem = d.problem; it.Problem != nil {
		it.Events = nil
	} else {
		it.Still = d.still
	}
}

// settle names the articles, and leaves out lines of nothing.
func (d *draft) settle() {
	if d.number == "" {
		d.wrong(CodeMissing, "/number", "is missing: the document has no number, so that it could not be known again")
	}
	kept := d.lines[:0]
	statement := d.m.Type == x12Inventory || d.m.Type == edifactInventory
	for i := range d.lines {
		l := &d.lines[i]
		if !l.told || l.Quantity == 0 && !statement {
			continue
		}
		if l.SKU = d.article(l); l.SKU == "" {
			d.wrong(CodeMissing, d.at(l.said), "names no article by a qualifier of item_codes")
		}
		kept = append(kept, *l)
	}
	if d.lines = kept; len(kept) == 0 && !d.cancelled && d.problem == nil {
		d.still = "it has no line that moves or states stock"
	}
}

// document says what the message is, by its type.
func (d *draft) document(it *Item) {
	id := it.DocumentID
	first := stamp{date: d.date, clock: d.clock}
	switch d.m.Type {
	case x12Receipt:
		d.receipt(it, id, d.here(x12Into), d.party(x12From), d.shipment, d.moment(first))
	case x12Shipment:
		d.shipped(it, id, d.here(x12Here), d.party(x12To), d.number, d.moment(first))
	case x12Inventory:
		d.emit(it, protocol.KindSnapshot, map[string]any{"document_id": id, "location": d.here(x12Here), "as_of": d.moment(first), "complete": d.t.Complete})
	case edifactDespatch:
		d.despatch(it, id)
	case edifactReceipt:
		ref := d.refs["AAK"]
		if ref == "" {
			ref = d.refs["DQ"]
		}
		d.receipt(it, id, d.here(ediTo), d.party(ediFrom), ref, d.moment(d.stamps(ediMoment)...))
	case edifactInventory:
		d.emit(it, protocol.KindSnapshot, map[string]any{"document_id": id, "location": d.here(ediStock), "as_of": d.moment(d.dates["137"]), "complete": d.t.Complete})
	}
}

// receipt is a transfer in where the goods came from a place of ours.
func (d *draft) receipt(it *Item, id string, here protocol.StoreID, from, ref string, at any) {
	doc := map[string]any{"document_id": id, "location": here, "occurred_at": at}
	if source, ok := d.ours(from); ok && source != here && ref != "" {
		for i := range d.lines {
			d.lines[i].Disposition = "" // transfers carry none: what is damaged is told by a status change
		}
		doc["direction"], doc["counterparty"], doc["transfer_id"] = "in", source, ref
		d.emit(it, protocol.KindTransfer, doc)
		return
	}
	if ref != "" {
		doc["advice_id"] = ref
	}
	d.emit(it, protocol.KindReceipt, doc)
}

// shipped is a transfer out where the goods go to a place of ours, else a sale.
func (d *draft) shipped(it *Item, id string, here protocol.StoreID, to, ref string, at any) {
	doc := map[string]any{"document_id": id, "location": here, "occurred_at": at}
	target, ok := d.ours(to)
	switch {
	case ok && target != here:
		doc["direction"], doc["counterparty"], doc["transfer_id"] = "out", target, ref
		d.emit(it, protocol.KindTransfer, doc)
	case d.t.SaleAway:
		d.emit(it, protocol.KindSale, doc)
	default:
		d.wrong(CodeNowhere, "/"+strings.Join(x12To, "|"), fmt.Sprintf("names %.80q, which is not in the feed's table of places", to))
	}
}
