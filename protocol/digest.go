package protocol

import (
	"cmp"
	"slices"
	"strings"
)

// Digest is what a stretch of a journal comes to: what an agent that returns
// from an outage sends before the stretch itself, so that availability is right
// within seconds and complete when the journal has drained. It is cumulative, so
// that it is never added twice: while the ledger stands at a seq within the
// stretch, what is still on its way is the digest less the same sums over what has
// come. Both sides compute those sums by DigestFold, and at AsOf they must agree.
type Digest struct {
	Epoch, Lease uint64
	After, AsOf  uint64 // the stretch is After < seq ≤ AsOf
	AsOfUS       int64  // record time at AsOf
	Chain        Chain  // at AsOf
	Part, Parts  int    // from 0
	Open         uint64 // counts and voids in the stretch that rows cannot tell of
	Cancelled    []EventID
	Rows         []DigestRow
}

// DigestRow is one article in one unit.
type DigestRow struct {
	SKU         SKU
	UOM         string
	Net         Quantity // Σ of what moved
	Unavailable Quantity // Σ of what of it cannot be sold
	Count       *DigestCount
}

// DigestCount is the last count of the article in the stretch.
type DigestCount struct {
	Seq, Cut  uint64
	CountedUS int64
	Quantity  Quantity
	Since     Quantity // Σ of what moved in the stretch outside the count's cut
	Before    Quantity // Σ of what moved before the stretch, and outside the cut
}

type digestKey struct {
	sku SKU
	uom string
}

// DigestFold sums a stretch up. It needs to know before the first record what
// DigestPlan found: which documents are cancelled, and which count is the last.
type DigestFold struct {
	after, asOf uint64
	rows        map[digestKey]*DigestRow
	cancelled   map[EventID]bool
	moves       []Move
}

// NewDigestFold makes an empty fold for the stretch of d.
func NewDigestFold(d *Digest) *DigestFold {
	f := &DigestFold{after: d.After, asOf: d.AsOf, rows: make(map[digestKey]*DigestRow, len(d.Rows)), cancelled: make(map[EventID]bool, len(d.Cancelled))}
	for _, id := range d.Cancelled {
		f.cancelled[id] = true
	}
	for i := range d.Rows {
		if c := d.Rows[i].Count; c != nil {
			f.row(d.Rows[i].SKU, d.Rows[i].UOM).Count = &DigestCount{Seq: c.Seq, Cut: c.Cut, CountedUS: c.CountedUS}
		}
	}
	return f
}

func (f *DigestFold) row(sku SKU, uom string) *DigestRow {
	k := digestKey{sku, uom}
	r := f.rows[k]
	if r == nil {
		k = digestKey{SKU(strings.Clone(string(sku))), strings.Clone(uom)} // they may be parts of a frame, see DecodeRecordText
		r = &DigestRow{SKU: k.sku, UOM: k.uom}
		f.rows[k] = r
	}
	return r
}

// Add takes a record. One before the stretch counts only where it lies outside
// the cut of a count within.
func (f *DigestFold) Add(e *Event, seq uint64, recordUS int64) {
	if seq > f.asOf {
		return
	}
	if e.Kind == KindCount {
		f.seeCount(e, seq)
		return
	}
	if f.cancelled[e.ID] {
		return
	}
	f.moves = MovesOf(e, f.moves[:0])
	for i := range f.moves {
		m := &f.moves[i]
		if seq <= f.after {
			if r := f.rows[digestKey{m.SKU, m.UOM}]; r != nil && r.Count != nil && r.Count.outside(e, seq, recordUS) {
				r.Count.Before += m.OnHand
			}
			continue
		}
		r := f.row(m.SKU, m.UOM)
		r.Net += m.OnHand
		r.Unavailable += m.Unavailable
		if r.Count != nil && r.Count.outside(e, seq, recordUS) {
			r.Count.Since += m.OnHand
		}
	}
}

// outside tells whether a movement is not yet in what was counted.
func (c *DigestCount) outside(e *Event, seq uint64, recordUS int64) bool {
	return !e.Counted(seq, recordUS, c.Cut, c.CountedUS)
}

// seeCount takes what the awaited count of an article says.
func (f *DigestFold) seeCount(e *Event, seq uint64) {
	for i := range e.Lines {
		l := &e.Lines[i]
		if r := f.rows[digestKey{l.SKU, l.UOM}]; r != nil && r.Count != nil && r.Count.Seq == seq {
			r.Count.Quantity = l.Quantity
		}
	}
}

// Row is what has come of an article so far; zero where nothing has.
func (f *DigestFold) Row(sku SKU, uom string) DigestRow {
	if r := f.rows[digestKey{sku, uom}]; r != nil {
		return *r
	}
	return DigestRow{SKU: sku, UOM: uom}
}

// Rows lists what the fold has, in order, without rows that come to nothing.
func (f *DigestFold) Rows() []DigestRow {
	out := make([]DigestRow, 0, len(f.rows))
	for _, r := range f.rows {
		if r.Net != 0 || r.Unavailable != 0 || r.Count != nil {
			out = append(out, *r)
		}
	}
	slices.SortFunc(out, func(a, b DigestRow) int { return cmp.Or(cmp.Compare(a.SKU, b.SKU), cmp.Compare(a.UOM, b.UOM)) })
	return out
}

// Same compares what a stretch came to with what was said of it. It does not
// compare what lies before the stretch, which the reader of frames has not seen.
func (f *DigestFold) Same(rows []DigestRow) (diff string, same bool) {
	got := f.Rows()
	for i := range max(len(got), len(rows)) {
		switch {
		case i >= len(got), i < len(rows) && cmpRow(&rows[i], &got[i]) < 0:
			return string(rows[i].SKU) + " was announced and did not come", false
		case i >= len(rows), cmpRow(&rows[i], &got[i]) > 0:
			return string(got[i].SKU) + " came and was not announced", false
		case !sameRow(&got[i], &rows[i]):
			return string(got[i].SKU) + " came to " + got[i].Net.String() + ", " + rows[i].Net.String() + " were announced", false
		}
	}
	return "", true
}

func cmpRow(a, b *DigestRow) int {
	return cmp.Or(cmp.Compare(a.SKU, b.SKU), cmp.Compare(a.UOM, b.UOM))
}

func sameRow(a, b *DigestRow) bool {
	if a.Net != b.Net || a.Unavailable != b.Unavailable || (a.Count == nil) != (b.Count == nil) {
		return false
	}
	return a.Count == nil || a.Count.Quantity == b.Count.Quantity && a.Count.Since == b.Count.Since
}

// Remove takes back a record of the stretch that Add was given before it was known
// to be cancelled.
func (f *DigestFold) Remove(e *Event) {
	f.cancelled[e.ID] = true
	f.moves = MovesOf(e, f.moves[:0])
	for i := range f.moves {
		m := &f.moves[i]
		r := f.row(m.SKU, m.UOM)
		r.Net -= m.OnHand
		r.Unavailable -= m.Unavailable
	}
}

// DigestPlan finds out what a fold must know, while a stretch is read.
type DigestPlan struct {
	counts  map[digestKey]*plannedCount
	blurred map[SKU]bool       // counted in ways that a row cannot tell
	ids     map[EventID]uint64 // seqs of the stretch's documents
	voids   []*Event           // of which only the ids of originals matter
	holds   []EventID          // answers that a sale of the stretch replaces
	open    uint64
}

type plannedCount struct {
	DigestCount

	session string
}

// NewDigestPlan makes an empty plan.
func NewDigestPlan() *DigestPlan {
	return &DigestPlan{counts: map[digestKey]*plannedCount{}, blurred: map[SKU]bool{}, ids: map[EventID]uint64{}}
}

// See takes each record of the stretch. It keeps nothing of e.
func (p *DigestPlan) See(e *Event, seq uint64) {
	p.ids[e.ID] = seq
	switch e.Kind { //nolint:exhaustive // only these say something of others
	case KindVoid:
		p.voids = append(p.voids, &Event{Store: e.Store, Voids: e.Voids, VoidsKind: e.VoidsKind})
	case KindSale:
		if e.HoldID != "" {
			p.holds = append(p.holds, MakeEventID(e.Store, KindHold, HoldDocumentID(e.HoldID, HoldCollected)))
		}
	case KindCount:
		p.count(e, seq)
	}
}

// count keeps an article's last plain count. Counts of zones, of whole ranges and
// of several shelves under one session are more than a row can tell.
func (p *DigestPlan) count(e *Event, seq uint64) {
	plain := e.Scope != ScopeFull && e.Scope != ScopeZone
	if !plain {
		p.open++
	}
	for i := range e.Lines {
		l := &e.Lines[i]
		k := digestKey{l.SKU, l.UOM}
		was := p.counts[k]
		us := l.CountedAt.US
		if l.CountedAt.IsZero() {
			us = e.EventTime.US
		}
		switch {
		case !plain || l.Zone != "" || e.Zone != "" || was != nil && was.session == session(e):
			p.blurred[l.SKU] = true
			p.open++
		case was == nil || l.Cut > was.Cut || l.Cut == was.Cut && us >= was.CountedUS:
			p.counts[k] = &plannedCount{DigestCount{Seq: seq, Cut: l.Cut, CountedUS: us}, session(e)}
		}
	}
}

func session(e *Event) string {
	if e.Session != "" {
		return e.Session
	}
	return e.DocumentID
}

// Fill writes into d what a fold over it needs to know. Where d.Rows has counts
// then, the sums must be made anew, from the seq from on: a count may reach back
// before the stretch. Else it is enough to remove the records at cancelled.
func (p *DigestPlan) Fill(d *Digest) (from uint64, cancelled []uint64) {
	from, d.Open = d.After+1, p.open
	gone := func(ids ...EventID) bool {
		for _, id := range ids {
			if seq, here := p.ids[id]; here {
				delete(p.ids, id) // a second void takes nothing back
				d.Cancelled, cancelled = append(d.Cancelled, id), append(cancelled, seq)
				return true
			}
		}
		return false
	}
	for _, v := range p.voids {
		if !gone(Originals(v)...) {
			d.Open++
		}
	}
	for _, id := range p.holds {
		gone(id)
	}
	for k, c := range p.counts {
		if p.blurred[k.sku] {
			continue
		}
		count := c.DigestCount
		d.Rows = append(d.Rows, DigestRow{SKU: k.sku, UOM: k.uom, Count: &count})
		from = min(from, c.Cut+1)
	}
	slices.SortFunc(d.Rows, func(a, b DigestRow) int { return cmpRow(&a, &b) })
	return from, cancelled
}
