package ingest

import (
	"cmp"
	"fmt"
	"slices"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// lane is a stretch of a journal that its agent has announced by a digest and
// that is still on its way. What positions show while it drains is what is merged
// plus what of the digest has not come: right within seconds, and by the same
// sums the same at the end.
//
//	parts come ──▶ whole: after = merged seq ──▶ frames merge ──▶ merged ≥ as_of:
//	               else dropped                  (fold grows)     sums agree, or an incident
type lane struct {
	parts []*protocol.Digest // nil where one is still to come
	have  int

	d     protocol.Digest        // whole; Rows in order
	fold  *protocol.DigestFold   // of what has been merged of it; nil until it is whole
	cells map[protocol.SKU][]int // by article as positions know it: indices of Rows
	units func(r *protocol.DigestRow, q protocol.Quantity, of protocol.SKU) protocol.Quantity
	at    uint64 // merged seq
	alone bool   // the store has no other agent: a count says all
}

// add takes a part. The lane is whole when it says so; a part of another digest
// starts anew.
func (l *lane) add(p *protocol.Digest) (whole bool) {
	if l.parts == nil || len(l.parts) != p.Parts || l.d.After != p.After || l.d.AsOf != p.AsOf || l.d.Lease != p.Lease || l.fold != nil {
		*l = lane{parts: make([]*protocol.Digest, p.Parts), d: *p}
	}
	if l.parts[p.Part] == nil {
		l.have++
	}
	l.parts[p.Part] = p
	return l.have == len(l.parts)
}

// join makes one digest of the parts. Rows must follow each other across parts.
func (l *lane) join() error {
	l.d.Rows, l.d.Cancelled = nil, nil
	for _, p := range l.parts {
		if n := len(l.d.Rows); n > 0 && len(p.Rows) > 0 && cmp.Or(cmp.Compare(l.d.Rows[n-1].SKU, p.Rows[0].SKU), cmp.Compare(l.d.Rows[n-1].UOM, p.Rows[0].UOM)) >= 0 {
			return fmt.Errorf("%w: part %d does not follow part %d", protocol.ErrMalformed, p.Part, p.Part-1)
		}
		l.d.Rows, l.d.Cancelled = append(l.d.Rows, p.Rows...), append(l.d.Cancelled, p.Cancelled...)
	}
	l.parts = nil
	return nil
}

// begin sets the lane up over the articles as positions know them.
func (l *lane) begin(items merge.Items, at ledger.Position, alone bool) {
	l.fold, l.alone, l.at = protocol.NewDigestFold(&l.d), alone, l.d.After
	l.cells = make(map[protocol.SKU][]int, len(l.d.Rows))
	var pieces []protocol.HoldLine
	read := func(r *protocol.DigestRow, q protocol.Quantity) []protocol.HoldLine {
		pieces, _ = items.Resolve(r.SKU, q, r.UOM, at, true, pieces[:0])
		return pieces
	}
	l.units = func(r *protocol.DigestRow, q protocol.Quantity, of protocol.SKU) (sum protocol.Quantity) {
		if q == 0 {
			return 0
		}
		for _, p := range read(r, q) {
			if p.SKU == of {
				sum += p.Quantity
			}
		}
		return sum
	}
	for i := range l.d.Rows {
		for _, p := range read(&l.d.Rows[i], protocol.Units(1)) {
			if list := l.cells[p.SKU]; len(list) == 0 || list[len(list)-1] != i {
				l.cells[p.SKU] = append(list, i)
			}
		}
	}
}

// take notes that a record of the stretch is merged.
func (l *lane) take(ev *protocol.Event, seq uint64, recordUS int64) {
	if l.fold != nil && seq > l.d.After {
		l.fold.Add(ev, seq, recordUS)
	}
}

// over says what a position is with what is still on its way.
func (l *lane) over(c *merge.Cell) {
	list := l.cells[c.SKU]
	for _, i := range list {
		r := &l.d.Rows[i]
		got := l.fold.Row(r.SKU, r.UOM)
		rest := r.Net - got.Net
		if n := r.Count; n != nil {
			switch {
			case l.at >= n.Seq && got.Count != nil:
				rest = n.Since - got.Count.Since
			case l.alone && len(list) == 1:
				c.OnHand, rest = l.units(r, n.Quantity+n.Since+n.Before, c.SKU), 0
			}
		}
		c.OnHand += l.units(r, rest, c.SKU)
		if q := l.units(r, r.Unavailable-got.Unavailable, c.SKU); q != 0 {
			c.Unavailable += q
			c.UnavailableBy[len(c.UnavailableBy)-1] += q
		}
		c.LastUS = max(c.LastUS, l.d.AsOfUS)
	}
}

// articles lists those that the lane says anything of, in order.
func (l *lane) articles() []protocol.SKU {
	out := make([]protocol.SKU, 0, len(l.cells))
	for sku := range l.cells {
		out = append(out, sku)
	}
	slices.Sort(out)
	return out
}
