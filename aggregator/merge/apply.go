package merge

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"unicode/utf8"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Input is one record in its place.
type Input struct {
	Origin   ledger.OriginID
	Epoch    uint64
	Seq      uint64
	MergedUS int64     // of the aggregator's clock; never less than that of the input before
	Record   []byte    // kept by the engine until Committed
	Prepared *Prepared // of Record; nil prepares it here
	HoldID   string    // a sale that names an order only: the hold that the order is
}

// Prepared is what can be worked out of a record before its turn, on any
// goroutine: reading it, and the two hashes over it.
type Prepared struct {
	event    protocol.Event
	recordUS int64
	content  [8]byte
	id       protocol.EventID // as store, kind and document id give it
	err      error
}

// Event is the record's document; not to be looked at when it cannot be read.
func (p *Prepared) Event() *protocol.Event { return &p.event }

// Prepare reads a record.
func Prepare(record []byte, p *Prepared) { PrepareText(record, string(record), p) }

// PrepareText reads a record of which there is a string too: the document's strings
// are parts of it.
func PrepareText(record []byte, text string, p *Prepared) {
	p.recordUS, p.err = protocol.DecodeRecordText(record, text, &p.event)
	if p.err == nil {
		p.content = contentOf(record, &p.event)
		p.id = protocol.MakeEventID(p.event.Store, p.event.Kind, p.event.DocumentID)
	}
}

// Verdict is what became of a record.
type Verdict uint8

// Verdicts. There is no fourth: a record is never refused, since a poisonous
// one must not block its store.
const (
	Merged Verdict = iota
	Duplicate
	Parked
)

// Outcome tells the verdict, and for Parked why.
type Outcome struct {
	Verdict  Verdict
	Position ledger.Position // Merged: of the entry; Duplicate: of the first
	Event    *protocol.Event // that of Prepared; without one valid until the next Apply; nil when undecodable
	RecordUS int64
	Code     string
	Reason   string
	Notes    []Note // Merged: what is odd about it; valid until the next Apply
}

func parked(code, reason string) Outcome { return Outcome{Verdict: Parked, Code: code, Reason: reason} }

// Apply folds one record in. The error is the log's: nothing of the record is
// in the state that matters then, and the engine must be thrown away.
func (e *Engine) Apply(in Input) (Outcome, error) {
	p := in.Prepared
	if p == nil {
		p = &e.prepared
		Prepare(in.Record, p)
	}
	if p.err != nil {
		return parked("undecodable", p.err.Error()), nil //nolint:nilerr // parked with the error as its reason
	}
	out, err := e.admit(in, p)
	if err == nil && out.Verdict == Merged {
		out = e.check(in, &p.event)
	}
	if err == nil && out.Verdict == Merged {
		out, err = e.fold(in, &p.event, p.recordUS, p.content)
	}
	out.Event, out.RecordUS = &p.event, p.recordUS
	return out, err
}

// admit checks identity and looks for an earlier event of the same id.
func (e *Engine) admit(in Input, p *Prepared) (Outcome, error) {
	ev, o := &p.event, e.origins[in.Origin]
	if ev.Store != o.Store {
		return parked("store_mismatch", fmt.Sprintf("the journal of %s carries a document of store %s", o, ev.Store)), nil
	}
	if p.id != ev.ID {
		return parked("id_mismatch", fmt.Sprintf("event id is %s, but store, kind and document id give %s", ev.ID, p.id)), nil
	}
	pos, first, ok, err := e.find(ev.ID)
	switch {
	case err != nil:
		return Outcome{}, err
	case !ok:
		return Outcome{Verdict: Merged}, nil
	case first == p.content, ev.Kind == protocol.KindHold: // an answer to a task counts once, whoever gave it
		return Outcome{Verdict: Duplicate, Position: pos}, nil
	}
	return parked("id_reused", fmt.Sprintf("document %s (%s) came again with other content; the first stands at ledger position %d", ev.DocumentID, ev.Kind, pos)), nil
}

// contentOf is Event.ContentHash, taken from the record's own bytes where they
// are what the hash is over.
func contentOf(record []byte, ev *protocol.Event) [8]byte {
	if ev.HashesWhole() {
		if _, body, err := protocol.SplitRecord(record); err == nil {
			sum := sha256.Sum256(body)
			return [8]byte(sum[:8])
		}
	}
	return ev.ContentHash()
}

func (e *Engine) fold(in Input, ev *protocol.Event, us int64, content [8]byte) (Outcome, error) {
	en := ledger.Entry{
		Position: e.head + 1, Origin: in.Origin, Epoch: in.Epoch, Seq: in.Seq, MergedUS: in.MergedUS,
		EventID: ev.ID, Content: content, Record: in.Record,
	}
	at := placeOf(&en, us, ev)
	e.notes, e.sold, e.deltas = e.notes[:0], e.sold[:0], e.deltas[:0]
	e.seen.reset(us)
	e.watchDay(ev)
	out, err := e.foldKind(in, &en, &at, ev)
	if err != nil || out.Verdict == Parked {
		return out, err
	}
	e.stage(en)
	if vp, ok := e.pending[ev.ID]; ok {
		if err := e.settleVoid(ev, vp, in.MergedUS); err != nil {
			return Outcome{}, err
		}
	}
	if ev.Kind == protocol.KindSale {
		if err := e.collect(in, ev, en.Position); err != nil {
			return Outcome{}, err
		}
	}
	return Outcome{Verdict: Merged, Position: en.Position, Notes: e.notes}, nil
}

func (e *Engine) foldKind(in Input, en *ledger.Entry, at *place, ev *protocol.Event) (Outcome, error) {
	switch ev.Kind { //nolint:exhaustive // the others are told by their effects alone
	case protocol.KindVoid:
		return e.foldVoid(en, at, ev, e.behind(in))
	case protocol.KindClock:
		e.lineage.tell(at, ev)
		e.meta = true
		return Outcome{}, nil
	case protocol.KindCommand: // no goods: ingest reads it
		e.meta = true
		return Outcome{}, nil
	case protocol.KindHold:
		if _, gone := e.voided[ev.ID]; gone { // the collecting sale was here first: it alone counts
			for i := range ev.Lines {
				e.cellOf(ev.Store, ev.Lines[i].SKU) // the position is known all the same
			}
			return Outcome{}, nil
		}
	case protocol.KindReturn:
		if ev.OriginalDocument != "" {
			if err := e.noteReturn(ev); err != nil {
				return Outcome{}, err
			}
		}
	}
	if ev.Flags != 0 {
		e.noteFlags(ev)
	}
	x := effects{items: e.items, pieces: e.pieces, notes: &e.notes}
	e.fx = x.of(ev, en.Position, e.fx[:0])
	e.pieces = x.pieces
	return Outcome{}, e.applyEffects(en, at, ev, e.fx, e.behind(in))
}

// collect makes a sale that hands out reserved goods the one movement of them:
// the store's own answer "collected", merged before or still to come, has no
// effect beside it.
func (e *Engine) collect(in Input, sale *protocol.Event, at ledger.Position) error {
	hold := sale.HoldID
	if hold == "" {
		hold = in.HoldID
	}
	if hold == "" {
		return nil
	}
	id := protocol.MakeEventID(sale.Store, protocol.KindHold, protocol.HoldDocumentID(hold, protocol.HoldCollected))
	if _, done := e.voided[id]; done {
		return nil
	}
	e.voided[id] = at
	e.meta = true
	p, _, ok, err := e.find(id)
	if err != nil || !ok {
		return err
	}
	return e.complete(p, p, in.MergedUS)
}

// own are the kinds that only the aggregator's own journals carry.
var own = []protocol.Kind{protocol.KindReservation, protocol.KindItem, protocol.KindPolicy, protocol.KindDecision, protocol.KindPosting}

// check finds documents that decode but cannot take effect as they are.
func (e *Engine) check(in Input, ev *protocol.Event) Outcome {
	feed := e.origins[in.Origin].IsFeed()
	switch {
	case len(ev.DocumentID) > protocol.IDBytesMax || !utf8.ValidString(ev.DocumentID):
		return parked("document_id_impossible", fmt.Sprintf("the document id has %d bytes; at most %d of valid UTF-8 are allowed", len(ev.DocumentID), protocol.IDBytesMax))
	case ev.Counterparty != "" && protocol.CheckName(string(ev.Counterparty)) != nil:
		return parked("counterparty_impossible", fmt.Sprintf("the counterparty %.80q is not a location's name", ev.Counterparty))
	case (ev.Store == protocol.ChainStore) != contains(own, ev.Kind),
		!feed && (ev.Kind == protocol.KindSnapshot || ev.Kind == protocol.KindAdvice || ev.Action == actionWriteOff):
		return parked("kind_not_allowed", fmt.Sprintf("a journal of %s does not carry a %s", e.origins[in.Origin], ev.Kind))
	case ev.Kind == protocol.KindTransfer && (ev.Direction == protocol.DirectionNone || ev.Counterparty == "") && ev.Action != actionWriteOff:
		return parked("transfer_incomplete", "a transfer needs a direction and a counterparty")
	case ev.Kind == protocol.KindTransfer && ev.Counterparty == ev.Store:
		return parked("transfer_with_itself", "a transfer's counterparty is the store itself")
	}
	return Outcome{}
}

// turn is the furthest place of a journal that was folded.
type turn struct{ epoch, seq uint64 }

// behind tells whether a record stands in the log after its turn, as one that
// is retried from the exceptions does.
func (e *Engine) behind(in Input) bool {
	t := e.turns[in.Origin]
	return in.Epoch < t.epoch || (in.Epoch == t.epoch && in.Seq <= t.seq)
}

func (e *Engine) stage(en ledger.Entry) {
	if en.Ref == 0 {
		e.stagedIDs.put(e.staged, en.EventID, len(e.staged))
		t := &e.turns[en.Origin]
		if en.Epoch > t.epoch || (en.Epoch == t.epoch && en.Seq > t.seq) {
			*t = turn{en.Epoch, en.Seq}
		}
	}
	e.staged = append(e.staged, en)
	e.head = en.Position
}

// foldVoid takes back the effects of the void's original, or leaves the void
// waiting for it.
func (e *Engine) foldVoid(en *ledger.Entry, at *place, ev *protocol.Event, behind bool) (Outcome, error) {
	if ev.VoidsKind != protocol.KindInvalid && !contains(Voidable, ev.VoidsKind) {
		return parked("void_unsupported", fmt.Sprintf("a %s cannot be voided; correct it with a new %s or an adjustment", ev.VoidsKind, ev.VoidsKind)), nil
	}
	for _, id := range voidCandidates(ev) {
		p, _, ok, err := e.find(id)
		if err != nil {
			return Outcome{}, err
		}
		if by, done := e.voided[id]; done {
			return parked("already_voided", fmt.Sprintf("document %s is already cancelled by the void at ledger position %d", ev.Voids, by)), nil
		}
		if !ok {
			continue
		}
		if e.fx, err = e.effectsAt(p, e.fx[:0]); err != nil {
			return Outcome{}, err
		}
		Negate(e.fx)
		e.voided[id] = en.Position
		e.meta = true
		e.link(en, ledger.Link{Prev: p}) // cell 0: where the original stands
		return Outcome{}, e.applyEffects(en, at, &e.other, e.fx, behind)
	}
	for _, id := range voidCandidates(ev) {
		if by, ok := e.pending[id]; ok {
			return parked("already_voided", fmt.Sprintf("document %s is already cancelled by the void at ledger position %d", ev.Voids, by)), nil
		}
	}
	for _, id := range voidCandidates(ev) {
		e.pending[id] = en.Position
	}
	e.meta = true
	e.noteWaiting(ev)
	return Outcome{}, nil
}

// settleVoid completes a void that came before its original.
func (e *Engine) settleVoid(original *protocol.Event, vp ledger.Position, mergedUS int64) error {
	originalAt := e.head
	ven, err := e.read(vp)
	if err != nil {
		return err
	}
	if _, err := protocol.DecodeRecord(ven.Record, &e.other); err != nil {
		return fmt.Errorf("decode void at %d: %w", vp, err)
	}
	for _, id := range voidCandidates(&e.other) {
		delete(e.pending, id)
	}
	e.voided[original.ID] = vp
	e.meta = true
	e.notes = append(e.notes, Note{Code: codeVoidWaiting, Key: voidKey(&e.other), Reason: "it cancelled " + original.Kind.String() + " " + original.DocumentID + ", which has come", Over: true})
	return e.complete(vp, originalAt, mergedUS)
}

// complete writes a second entry that carries the effects of an earlier one (by)
// which had to wait for company: those of the document at undone, taken back, at
// by's own place in its journal.
func (e *Engine) complete(by, undone ledger.Position, mergedUS int64) error {
	first, err := e.read(by)
	if err != nil {
		return err
	}
	us, err := protocol.DecodeRecord(first.Record, &e.other)
	if err != nil {
		return fmt.Errorf("decode entry %d: %w", by, err)
	}
	en := ledger.Entry{Position: e.head + 1, Origin: first.Origin, Epoch: first.Epoch, Seq: first.Seq, MergedUS: mergedUS, Ref: by}
	at := placeOf(&en, us, &e.other)
	e.watchDay(&e.other)
	if e.fx, err = e.effectsAt(undone, e.fx[:0]); err != nil {
		return err
	}
	Negate(e.fx)
	e.link(&en, ledger.Link{Prev: undone}) // cell 0: whose effects are taken back
	if err := e.applyEffects(&en, &at, &e.other, e.fx, true); err != nil {
		return err
	}
	e.stage(en)
	return nil
}

func voidCandidates(v *protocol.Event) []protocol.EventID {
	kinds := Voidable
	if v.VoidsKind != protocol.KindInvalid {
		kinds = []protocol.Kind{v.VoidsKind}
	}
	ids := make([]protocol.EventID, len(kinds))
	for i, k := range kinds {
		ids[i] = protocol.MakeEventID(v.Store, k, v.Voids)
	}
	return ids
}

func contains[T comparable](list []T, v T) bool {
	for _, x := range list {
		if x == v {
			return true
		}
	}
	return false
}

// effectsAt lists the effects of the document at a position and leaves it in
// e.other.
func (e *Engine) effectsAt(p ledger.Position, into []Effect) ([]Effect, error) {
	en, err := e.read(p)
	if err != nil {
		return into, err
	}
	if _, err := protocol.DecodeRecord(en.Record, &e.other); err != nil {
		return into, fmt.Errorf("decode entry %d: %w", p, err)
	}
	x := effects{items: e.items, pieces: e.pieces}
	into = x.of(&e.other, p, into)
	e.pieces = x.pieces
	return into, nil
}

// Replay folds a committed entry in again, as at start-up and in fsck. It fails
// where the fold does not come to the entry that the log holds. hold gives what
// Input.HoldID was. The event is nil for the second half of an earlier entry, and
// valid until the next call.
func (e *Engine) Replay(en *ledger.Entry, hold func(*protocol.Event) string) (*protocol.Event, error) {
	if en.Position <= e.head { // made with its first half's company
		return nil, nil //nolint:nilnil // there is neither an event nor an error
	}
	ev := &e.prepared.event
	us, err := protocol.DecodeRecordText(en.Record, string(en.Record), ev)
	if err != nil {
		return nil, fmt.Errorf("replay entry %d: %w", en.Position, err)
	}
	in := Input{Origin: en.Origin, Epoch: en.Epoch, Seq: en.Seq, MergedUS: en.MergedUS, Record: en.Record, HoldID: hold(ev)}
	out, err := e.fold(in, ev, us, en.Content)
	if err != nil {
		return nil, fmt.Errorf("replay entry %d: %w", en.Position, err)
	}
	if out.Verdict != Merged || out.Position != en.Position {
		return nil, fmt.Errorf("replay entry %d: %w: folded to position %d (%s)", en.Position, ledger.ErrCorrupt, out.Position, out.Code)
	}
	e.forget()
	return ev, nil
}

// Register makes journals known as the ledger numbered them, before a restore
// or a replay. Cells are not registered: a replay makes them in the order in
// which the live fold did, and a full count must not see those of its future.
func (e *Engine) Register(journals []ledger.Journal) {
	for _, j := range journals {
		e.addOrigin(j.ID, j.Origin)
	}
}

var errNoLink = errors.New("entry does not link the cell")
