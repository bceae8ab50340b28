package ingest

import (
	"encoding/json"
	"fmt"

	"tillwire/aggregator/catalog"
	"tillwire/aggregator/demand"
	"tillwire/aggregator/merge"
	"tillwire/aggregator/outcomes"
	"tillwire/aggregator/policy"
	"tillwire/aggregator/posting"
	"tillwire/aggregator/reconcile"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Fold is everything that follows from the log: positions, and the books of what
// the aggregator itself decided. Each is a function of the log alone.
type Fold struct {
	*merge.Engine
	Book     *reserve.Book
	Policies *policy.Book
	Demand   *demand.Learner
	Items    *Master
	Drift    *reconcile.Book
	Postings *posting.Book
	Outcomes *outcomes.Book
}

// The books' checkpoint chunks stand behind those of the positions.
const (
	chunksOfBooks = 0x4000_0000
	chunksEach    = 1 << 16
)

func newFold(l ledger.Ledger, rules reconcile.Rules) *Fold {
	f := &Fold{
		Engine: merge.New(l), Book: reserve.New(), Policies: policy.New(), Demand: demand.New(), Items: &Master{book: catalog.New()},
		Drift: reconcile.New(rules), Postings: posting.New(), Outcomes: outcomes.New(),
	}
	f.UseItems(f.Items)
	return f
}

// hold names the reservation that a sale hands out, where it names the order
// only.
func (f *Fold) hold(ev *protocol.Event, nowUS int64) string {
	if ev.Kind != protocol.KindSale || ev.HoldID != "" || ev.OrderID == "" {
		return ""
	}
	id, _ := f.Book.HoldOf(ev, nowUS)
	return id
}

// replay folds a committed entry, as the writer did when it was new.
func (f *Fold) replay(en *ledger.Entry) error {
	f.Book.Advance(en.MergedUS)
	ev, err := f.Replay(en, func(ev *protocol.Event) string { return f.hold(ev, en.MergedUS) })
	if err != nil || ev == nil {
		return err
	}
	f.tally(ev, en.MergedUS, f.FromFeed(en.Origin))
	if ev.Store == protocol.ChainStore {
		return f.apply(ev, en.Position)
	}
	f.owe(ev, en.Origin, en.Position, en.MergedUS)
	f.observe(ev, en.MergedUS, f.FromFeed(en.Origin))
	return nil
}

// apply puts a decision that was journaled into effect.
func (f *Fold) apply(ev *protocol.Event, at ledger.Position) error {
	var err error
	switch ev.Kind { //nolint:exhaustive // the chain's own journals carry no others
	case protocol.KindReservation:
		var c reserve.Change
		if err = json.Unmarshal(ev.Body, &c); err == nil {
			f.Book.Apply(&c)
		}
	case protocol.KindPolicy:
		var p protocol.Policy
		if err = json.Unmarshal(ev.Body, &p); err == nil {
			f.Policies.Apply(&p)
		}
	case protocol.KindItem:
		var it protocol.Item
		if err = json.Unmarshal(ev.Body, &it); err == nil {
			f.Items.apply(&it, at)
		}
	case protocol.KindDecision:
		var c reconcile.Change
		if err = json.Unmarshal(ev.Body, &c); err == nil {
			f.Drift.Apply(&c)
		}
	case protocol.KindPosting:
		var c posting.Change
		if err = json.Unmarshal(ev.Body, &c); err == nil {
			f.applyPosting(&c, at)
		}
	}
	if err != nil {
		return fmt.Errorf("apply %s at %d: %w: %w", ev.Kind, at, ledger.ErrCorrupt, err)
	}
	return nil
}

// observe lets the books see a merged event. It names the reservation that a
// store rejected, if so. A document that an agent journaled may name a source too,
// the supplier of a receipt say; only a feed speaks as one.
func (f *Fold) observe(ev *protocol.Event, mergedUS int64, feed bool) (rejected string) {
	if feed && ev.Source != "" && ev.Source != "reservations" && ev.Source != "decisions" {
		f.Drift.Moved(ev.Store, ev.Source)
	}
	switch ev.Kind { //nolint:exhaustive // the others concern positions only
	case protocol.KindSale:
		f.Demand.Advance(mergedUS)
		for _, x := range f.Sold() {
			f.Demand.Observe(uint32(x.Cell), ev.Store, x.Quantity, ev.EventTime)
		}
		if ev.HoldID == "" && ev.OrderID == "" {
			return ""
		}
		return f.Book.Observe(ev, mergedUS)
	case protocol.KindReceipt, protocol.KindCount: // the position exists, and could have sold, from here on
		f.Demand.Advance(mergedUS)
		for _, c := range f.Touched() {
			f.Demand.Observe(uint32(c), ev.Store, 0, ev.EventTime)
		}
	case protocol.KindHold:
		return f.Book.Observe(ev, mergedUS)
	}
	return ""
}

// book is one of the books, as checkpoints see it.
type book interface {
	Chunks(emit func(no uint32, data []byte)) error
	Restore(no uint32, data []byte) error
}

// books are in the order of their chunk numbers, which are on disk.
func (f *Fold) books() []book {
	return []book{f.Book, f.Policies, f.Demand, f.Items, f.Drift, f.Postings, f.Outcomes}
}

// checkpoint adds what changed since the last one to a batch.
func (f *Fold) checkpoint(b *ledger.Batch) error {
	f.tallyEnds()
	f.Checkpoint(b)
	for n, x := range f.books() {
		err := x.Chunks(func(no uint32, data []byte) {
			b.Chunks = append(b.Chunks, ledger.Chunk{No: chunksOfBooks + uint32(n)*chunksEach + no, Data: data})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (f *Fold) restore(at ledger.Position, chunks []ledger.Chunk, cells func(func(ledger.Cell) error) error) error {
	n := 0
	for n < len(chunks) && chunks[n].No < chunksOfBooks {
		n++
	}
	if err := f.Restore(at, chunks[:n], cells); err != nil {
		return err
	}
	books := f.books()
	for _, c := range chunks[n:] {
		which := (c.No - chunksOfBooks) / chunksEach
		if int(which) >= len(books) {
			return fmt.Errorf("restore chunk %d: %w: it belongs to no book", c.No, ledger.ErrCorrupt)
		}
		if err := books[which].Restore(c.No-chunksOfBooks-which*chunksEach, c.Data); err != nil {
			return err
		}
	}
	f.Watch(f.Postings.Active())
	return nil
}

// Load rebuilds the fold: the stored checkpoint, then the log behind it.
func Load(l ledger.Ledger, rules reconcile.Rules) (*Fold, []ledger.Mark, error) {
	f, marks, err := prepare(l, rules)
	if err != nil {
		return nil, nil, err
	}
	var chunks []ledger.Chunk
	at, err := l.Checkpoint(func(c ledger.Chunk) error { chunks = append(chunks, c); return nil })
	if err != nil {
		return nil, nil, fmt.Errorf("read checkpoint: %w", err)
	}
	if at != 0 {
		if err := f.restore(at, chunks, l.Cells); err != nil {
			return nil, nil, err
		}
	}
	if err := l.Scan(at+1, f.replay); err != nil {
		return nil, nil, fmt.Errorf("replay log from %d: %w", at+1, err)
	}
	return f, marks, nil
}

// Rebuild folds the whole log from its first entry, ignoring checkpoints: what
// fsck compares with.
func Rebuild(l ledger.Ledger, rules reconcile.Rules) (*Fold, error) {
	f, _, err := prepare(l, rules)
	if err != nil {
		return nil, err
	}
	if err := l.Scan(1, f.replay); err != nil {
		return nil, fmt.Errorf("replay log: %w", err)
	}
	return f, nil
}

func prepare(l ledger.Ledger, rules reconcile.Rules) (*Fold, []ledger.Mark, error) {
	f := newFold(l, rules)
	journals, err := l.Journals()
	if err != nil {
		return nil, nil, fmt.Errorf("read journals: %w", err)
	}
	f.Register(journals)
	marks, err := l.Marks()
	if err != nil {
		return nil, nil, fmt.Errorf("read marks: %w", err)
	}
	for _, m := range marks {
		if len(m.Forks) > 0 {
			f.SetForks(m.Origin, m.Forks)
		}
	}
	return f, marks, nil
}
