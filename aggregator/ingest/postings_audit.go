package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Posting returns a document with its lines and the documents behind them. It
// reads the log beside the writer; what would take more than sourcesMax entries is
// marked.
func (i *Ingest) Posting(ctx context.Context, id string) (p protocol.Posting, err error) {
	var d posting.Doc
	var views []merge.View
	err = i.call(ctx, func(i *Ingest, _ int64) error {
		x, ok := i.eng.Postings.Get(id)
		if !ok {
			return nil
		}
		d = *x
		if err := i.fill(&d); err != nil {
			return err
		}
		for n := range d.Lines {
			views = append(views, i.eng.View(ledger.CellID(d.Lines[n].Cell)))
		}
		return nil
	})
	if err != nil {
		return p, err
	}
	if d.Key == "" {
		return p, fmt.Errorf("posting %s: %w", id, ledger.ErrNotFound)
	}
	p, left := d.View(), sourcesMax
	for n := range d.Lines {
		var line protocol.PostingLine
		if line, left, err = i.sources(&d, &d.Lines[n], &views[n], left); err != nil {
			return p, err
		}
		p.Lines = append(p.Lines, line)
	}
	return p, nil
}

// fill reads the lines of a settled document back from the entry that made it.
func (i *Ingest) fill(d *posting.Doc) error {
	if d.Lines != nil {
		return nil
	}
	made, err := i.docAt(ledger.Position(d.At))
	if err != nil {
		return err
	}
	gone := map[protocol.SKU]bool{}
	for _, key := range d.Splits {
		x, ok := i.eng.Postings.Get(key)
		if !ok {
			continue
		}
		split, err := i.docAt(ledger.Position(x.At))
		if err != nil {
			return err
		}
		for n := range split.Lines {
			gone[split.Lines[n].SKU] = true
		}
	}
	for _, l := range made.Lines {
		if !gone[l.SKU] {
			d.Lines = append(d.Lines, l)
		}
	}
	return nil
}

// docAt is the document that an entry of the postings' journal made.
func (i *Ingest) docAt(at ledger.Position) (*posting.Doc, error) {
	en, err := i.o.Ledger.Read(at)
	if err != nil {
		return nil, fmt.Errorf("read posting at %d: %w", at, err)
	}
	var ev protocol.Event
	var c posting.Change
	if _, err = protocol.DecodeRecord(en.Record, &ev); err == nil {
		err = json.Unmarshal(ev.Body, &c)
	}
	if err != nil || c.Doc == nil {
		return nil, fmt.Errorf("read posting at %d: %w: it made no document: %w", at, ledger.ErrCorrupt, err)
	}
	return c.Doc, nil
}

// sources lists what is behind a line. What a count is charged with is not told by
// the entries themselves, so its line names them.
func (i *Ingest) sources(d *posting.Doc, l *posting.Line, v *merge.View, left int) (line protocol.PostingLine, _ int, err error) {
	line = protocol.PostingLine{SKU: l.SKU, Quantity: l.Qty}
	if left < 0 || d.Class == posting.ClassOpening {
		line.More = left < 0
		return line, left, nil
	}
	left, err = merge.Sources(v, i.o.Ledger.Read, ledger.Position(l.First), ledger.Position(l.Last), left, func(s merge.SourceOf) {
		q, mine := share(d, l, &s)
		if !mine {
			return
		}
		if len(line.Sources) >= sourcesShown {
			line.More = true
			return
		}
		line.Sources = append(line.Sources, protocol.PostingSource{
			EventID: s.EventID, Kind: s.Kind, DocumentID: s.Document, Origin: s.Origin, Position: uint64(s.Position), Quantity: q, Trace: s.Trace,
		})
	})
	line.More = line.More || left < 0
	return line, left, err
}

// share is what an entry has in a line.
func share(d *posting.Doc, l *posting.Line, s *merge.SourceOf) (protocol.Quantity, bool) {
	switch {
	case d.Class == posting.ClassCount:
		return 0, slices.Contains(l.Sources, uint64(s.Position))
	case s.Day != d.Day:
		return 0, false
	case d.Class.Status():
		q := s.Delta.Unavailable[d.Class-posting.ClassDamaged]
		return q, q != 0
	}
	return s.Moved, s.Moved != 0 && posting.ClassOf(s.Delta.Kind, s.Delta.Direction, s.Delta.Reason) == d.Class
}

// carries tells whether an entry between a line's first and last is one of its.
func carries(d *posting.Doc, l *posting.Line, of *merge.SourceOf, at uint64) bool {
	if d.Class == posting.ClassCount {
		return slices.Contains(l.Sources, at)
	}
	return of.Day == d.Day && (d.Class.Status() || posting.ClassOf(of.Delta.Kind, of.Delta.Direction, of.Delta.Reason) == d.Class)
}

// PostingsOf lists the documents that carry an event: from what a till said to what
// the ERP was told.
func (i *Ingest) PostingsOf(ctx context.Context, id protocol.EventID) (list []protocol.Posting, err error) {
	err = i.call(ctx, func(i *Ingest, _ int64) error {
		at, _, found, err := i.o.Ledger.Find(id)
		if err != nil || !found {
			return err
		}
		en, err := i.o.Ledger.Read(at)
		if err != nil {
			return err
		}
		of, err := merge.SourceAt(&en, i.o.Ledger.Read, &protocol.Event{})
		if err != nil {
			return err
		}
		cells := map[uint32]bool{}
		for _, k := range en.Links {
			cells[uint32(k.Cell)] = true
		}
		store := i.eng.OriginOf(en.Origin).Store
		until := time.Now().Add(reverseWait)
		for _, d := range i.eng.Postings.List(posting.Filter{Store: store, Limit: reverseDocsMax}) {
			x := *d
			if x.At < uint64(at) || time.Now().After(until) {
				break // they are newest first: what was cut before the event cannot carry it
			}
			if err := i.fill(&x); err != nil {
				return err
			}
			if slices.ContainsFunc(x.Lines, func(l posting.Line) bool {
				return cells[l.Cell] && l.First <= uint64(at) && l.Last >= uint64(at) && carries(&x, &l, &of, uint64(at))
			}) {
				list = append(list, x.View())
			}
		}
		return nil
	})
	return list, err
}
