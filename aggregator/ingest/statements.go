package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// statement takes a snapshot, which may come in several parts: it is judged as a
// whole against the book at its own moment, and journaled with what was decided
// of each line.
func (i *Ingest) statement(o protocol.Origin, parts []*protocol.Event, results []protocol.FeedResult, nowUS int64) error {
	fresh := false
	for _, ev := range parts {
		known, err := i.eng.Known(ev.ID)
		if err != nil {
			return err
		}
		fresh = fresh || !known
	}
	if !fresh {
		return i.takeParts(o, parts, results, nowUS) // the merge tells a repeat from an id that was used again
	}
	st, err := i.compare(o, parts, nowUS)
	if err != nil {
		return err
	}
	j := i.eng.Drift.Judge(st)
	if j.Refused != "" {
		ids := make([]string, len(parts))
		for k, ev := range parts {
			ids[k] = i.refuse(o, ev, j.Refused, j.Reason, nowUS)
			results[k] = protocol.FeedResult{DocumentID: ev.DocumentID, EventID: ev.ID, Status: "parked", Code: j.Refused, ExceptionID: ids[k]}
		}
		for _, c := range j.Changes {
			if c.Refused != nil {
				c.Refused.Exceptions = ids
			}
		}
		return i.drift(j.Changes, nowUS)
	}
	n := 0
	for _, ev := range parts {
		ev.Complete = ev.Complete && j.Whole
		for l := range ev.Lines {
			ev.Lines[l].Stance = j.Stances[n]
			n++
		}
	}
	if err := i.takeParts(o, parts, results, nowUS); err != nil {
		return err
	}
	if !j.Whole {
		if err := i.takeZeroes(o, parts[0], st.Lines[n:], j.Stances[n:], nowUS); err != nil {
			return err
		}
	}
	return i.drift(j.Changes, nowUS)
}

// takeZeroes journals what a complete statement says by leaving out, where only
// some of it is taken.
func (i *Ingest) takeZeroes(o protocol.Origin, of *protocol.Event, lines []reconcile.Line, stances []protocol.Stance, nowUS int64) error {
	var zero []protocol.Line
	for n := range lines {
		if stances[n] == protocol.StanceAnchor {
			zero = append(zero, protocol.Line{Line: len(zero)%protocol.DocumentLinesMax + 1, SKU: lines[n].SKU})
		}
	}
	for part := range slices.Chunk(zero, protocol.DocumentLinesMax) {
		ev := &protocol.Event{
			Kind: protocol.KindSnapshot, Store: of.Store, DocumentID: fmt.Sprintf("left-out:%d", i.eng.Head()), EventTime: of.EventTime,
			Source: of.Source, Reason: "left out of " + of.DocumentID, Acks: of.Acks, Lines: part,
		}
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
		if _, _, err := i.append(o, ev, nowUS); err != nil {
			return err
		}
	}
	return nil
}

// takeParts merges a statement's parts.
func (i *Ingest) takeParts(o protocol.Origin, parts []*protocol.Event, results []protocol.FeedResult, nowUS int64) error {
	for k, ev := range parts {
		out, id, err := i.append(o, ev, nowUS)
		if err != nil {
			return err
		}
		results[k] = result(ev, &out, id)
	}
	return nil
}

func result(ev *protocol.Event, out *merge.Outcome, exception string) protocol.FeedResult {
	r := protocol.FeedResult{DocumentID: ev.DocumentID, EventID: ev.ID, Status: "accepted"}
	switch out.Verdict {
	case merge.Duplicate:
		r.Status = "duplicate"
	case merge.Parked:
		r.Status, r.Code, r.ExceptionID = "parked", out.Code, exception
	case merge.Merged:
	}
	return r
}

// compare puts the book beside each line, and counts what would be zeroed.
func (i *Ingest) compare(o protocol.Origin, parts []*protocol.Event, nowUS int64) (*reconcile.Statement, error) {
	first := parts[0]
	st := &reconcile.Statement{
		Source: first.Source, SnapshotID: first.Session, Location: first.Store, Type: i.o.LocationType(first.Store), HasAgents: i.eng.HasAgents(first.Store),
		AsOfUS: first.EventTime.US, NowUS: nowUS, Acknowledged: len(first.Acks) > 0,
	}
	if st.SnapshotID == "" {
		st.SnapshotID = first.DocumentID
	}
	origin := i.eng.Origin(o)
	stated := map[protocol.SKU]protocol.Quantity{}
	complete := false
	for _, ev := range parts {
		complete = complete || ev.Complete
		for l := range ev.Lines {
			line := &ev.Lines[l]
			if err := i.beside(st, ev, origin, line.SKU, line.Quantity); err != nil {
				return nil, err
			}
			stated[line.SKU] += line.Quantity
		}
	}
	left := map[protocol.SKU]bool{}
	i.eng.At(first.Store, func(c merge.Cell) {
		q, named := stated[c.SKU]
		if c.OnHand != 0 {
			st.NonZero++
			if named && q == 0 || !named && complete {
				st.Zeroed++
			}
			left[c.SKU] = !named
		}
	})
	if st.Complete = complete; !complete {
		return st, nil
	}
	for _, sku := range i.eng.Drift.OpenAt(st.Source, st.Location) {
		_, named := stated[sku]
		left[sku] = !named
	}
	for _, sku := range slices.Sorted(maps.Keys(left)) {
		if left[sku] {
			if err := i.beside(st, first, origin, sku, 0); err != nil {
				return nil, err
			}
		}
	}
	return st, nil
}

// beside adds a line with what the book held.
func (i *Ingest) beside(st *reconcile.Statement, ev *protocol.Event, from ledger.OriginID, sku protocol.SKU, stated protocol.Quantity) error {
	book, anchored, foreign, err := i.eng.BookAt(ev, from, sku)
	if err == nil {
		st.Lines = append(st.Lines, reconcile.Line{SKU: sku, Stated: stated, Book: book, Anchored: anchored, Foreign: foreign})
	}
	return err
}

// refuse parks a part of a statement until somebody approves it.
func (i *Ingest) refuse(o protocol.Origin, ev *protocol.Event, code, reason string, nowUS int64) string {
	i.n.parked.Add(1)
	id := "statement-" + ev.ID.String()
	i.exceptions = append(i.exceptions, protocol.Exception{
		ID: id, State: "open", Code: code, Reason: reason, Origin: o, EventID: ev.ID, Kind: ev.Kind, DocumentID: ev.DocumentID,
		At: time.UnixMicro(nowUS).UTC(), Document: protocol.ViewDocument(ev), Raw: protocol.AppendRecord(nil, nowUS, ev),
	})
	return id
}

// drift journals changes of the book of statements.
func (i *Ingest) drift(changes []*reconcile.Change, nowUS int64) error {
	for _, c := range changes {
		body, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("encode reconciliation: %w", err)
		}
		action := actionStatement
		if c.Decided != nil {
			action = actionDecided
		}
		if err := i.journal(protocol.DecisionsOrigin, protocol.KindDecision, "", action, body, nowUS); err != nil {
			return err
		}
		i.eng.Drift.Apply(c)
	}
	return nil
}

// approve takes a refused statement's part as the number, by a person's word.
func (i *Ingest) approve(x *protocol.Exception, nowUS int64) error {
	var ev protocol.Event
	if _, err := protocol.DecodeRecord(x.Raw, &ev); err != nil {
		return fmt.Errorf("retry exception %s: %w", x.ID, err)
	}
	if x.Code == "snapshot_older" {
		return fmt.Errorf("retry exception %s: %w: a newer statement is adopted; discard it", x.ID, ErrNotRetriable)
	}
	out, _, err := i.append(x.Origin, &ev, nowUS)
	if err != nil {
		return err
	}
	if out.Verdict == merge.Parked {
		x.Code, x.Reason = out.Code, out.Reason
		return nil
	}
	x.State, x.DecidedAt = "retried", time.UnixMicro(nowUS).UTC()
	return nil
}

// Reconciliations lists rows of drift, and what of transfers and advices is open
// for too long.
func (i *Ingest) Reconciliations(ctx context.Context, f reconcile.Filter) (list []protocol.Reconciliation, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		i.age(nowUS)
		list = i.eng.Drift.List(f)
		return nil
	})
	return list, err
}

// OpenDrift counts the rows that wait for a statement or a person. Who has stopped
// waiting reads nothing that is still being written.
func (i *Ingest) OpenDrift(ctx context.Context) (int, error) {
	var n atomic.Int64
	err := i.call(ctx, func(i *Ingest, _ int64) error {
		n.Store(int64(i.eng.Drift.Open()))
		return nil
	})
	return int(n.Load()), err
}

// Reconciliation returns one row.
func (i *Ingest) Reconciliation(ctx context.Context, id string) (r protocol.Reconciliation, ok bool, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		i.age(nowUS)
		r, ok = i.eng.Drift.Get(id)
		return nil
	})
	return r, ok, err
}

// Ages beyond which what is open of a transfer or an advice is shown as residue.
const (
	transferAgeUS = 3 * 86_400 * 1_000_000
	adviceAgeUS   = 7 * 86_400 * 1_000_000
)

// age offers the book what has been on its way for too long, or came without
// having been sent.
func (i *Ingest) age(nowUS int64) {
	var rows []reconcile.ResidueRow
	i.eng.EachFlow(func(x merge.Flow) {
		since, age := x.SinceUS, int64(transferAgeUS)
		if x.Kind == reconcile.ResidueAdvice {
			since, age = max(x.SinceUS, x.DueUS), adviceAgeUS
		}
		if nowUS >= since+age {
			rows = append(rows, reconcile.ResidueRow{Kind: x.Kind, Name: x.ID, Location: x.Location, SKU: x.SKU, Quantity: x.Open, SinceUS: since})
		}
	})
	i.eng.Drift.Residue(rows, nowUS)
}

// Decide carries a person's decision on a row out: the row keeps who and why, and
// the positions follow, in one commit.
func (i *Ingest) Decide(ctx context.Context, id, action, who, note string) (r protocol.Reconciliation, err error) {
	var refused *protocol.Problem
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		i.age(nowUS)
		c, p := i.eng.Drift.Decide(id, action, who, note, nowUS)
		if p != nil {
			refused = p
			return nil //nolint:nilerr // told to the caller; nothing was changed
		}
		if c != nil {
			if err := i.drift([]*reconcile.Change{c}, nowUS); err != nil {
				return err
			}
		}
		r, _ = i.eng.Drift.Get(id)
		switch {
		case c == nil || c.Decided == nil:
			return nil
		case c.Decided.Adoption != nil:
			return i.adopt(c.Decided.Adoption, note, nowUS)
		}
		return i.discard(r.Exceptions, note, nowUS)
	})
	if err == nil && refused != nil {
		err = refused
	}
	return r, err
}

// adopt carries out what a decision asks for: a statement becomes the number from
// its own moment on, or a residue is closed without goods moving.
func (i *Ingest) adopt(a *reconcile.Adoption, note string, nowUS int64) error {
	if a.Residue != nil {
		return i.writeOff(a.Residue, note, nowUS)
	}
	if a.SKU == "" {
		return i.approveAll(a.Exceptions, nowUS)
	}
	ev := &protocol.Event{
		Kind: protocol.KindSnapshot, Store: a.Location, DocumentID: fmt.Sprintf("adopt:%d", i.eng.Head()), EventTime: protocol.Stamp{US: a.AsOfUS},
		Source: a.Source, Reason: note, Lines: []protocol.Line{{Line: 1, SKU: a.SKU, Quantity: a.Stated}},
	}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	_, _, err := i.append(protocol.Origin{Store: a.Location, Agent: protocol.AgentID(protocol.FeedAgentPrefix + a.Source)}, ev, nowUS)
	return err
}

func (i *Ingest) approveAll(ids []string, nowUS int64) error {
	if err := i.land(); err != nil { // what is on its way may be about them
		return err
	}
	for _, id := range ids {
		x, err := i.o.Ledger.Exception(id)
		if err != nil {
			return fmt.Errorf("read exception %s: %w", id, err)
		}
		if x.State != "open" {
			continue
		}
		if err := i.approve(&x, nowUS); err != nil {
			return err
		}
		i.exceptions = append(i.exceptions, x)
	}
	return nil
}

func (i *Ingest) discard(ids []string, note string, nowUS int64) error {
	if err := i.land(); err != nil { // what is on its way may be about them
		return err
	}
	for _, id := range ids {
		x, err := i.o.Ledger.Exception(id)
		if err != nil {
			return fmt.Errorf("read exception %s: %w", id, err)
		}
		x.State, x.Note, x.DecidedAt = "discarded", note, time.UnixMicro(nowUS).UTC()
		i.exceptions = append(i.exceptions, x)
	}
	return nil
}

// writeOff closes what is left of a transfer or an advice; no goods move.
func (i *Ingest) writeOff(r *reconcile.ResidueRow, note string, nowUS int64) error {
	ev := &protocol.Event{
		Kind: protocol.KindTransfer, Store: r.Location, DocumentID: fmt.Sprintf("write-off:%d", i.eng.Head()), EventTime: protocol.Stamp{US: nowUS},
		TransferID: r.Name, Direction: protocol.DirectionIn, Action: "write_off", Reason: note, Source: "decisions",
		Lines: []protocol.Line{{Line: 1, SKU: r.SKU, Quantity: r.Quantity}},
	}
	if r.Kind == reconcile.ResidueAdvice {
		ev.Kind, ev.TransferID, ev.Direction, ev.AdviceID = protocol.KindAdvice, "", protocol.DirectionNone, r.Name
	}
	ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
	_, _, err := i.append(protocol.Origin{Store: r.Location, Agent: protocol.DecisionsOrigin.Agent}, ev, nowUS)
	return err
}
