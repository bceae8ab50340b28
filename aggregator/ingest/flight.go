package ingest

import (
	"context"
	"fmt"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// flight is a batch on its way to the disk, with all that is to be said once it is
// there. While it is under way the writer folds the next batch:
//
//	writer     fold 1 │ seal │ fold 2 ……………… │ land 1, seal │ fold 3 …
//	committer         │      commit 1 ……│    │              │ commit 2 …
//
// Nothing is told of a batch before it is on the disk: positions, acks, answers and
// orders are worked out when it is sealed, from the fold as it is then, and said when
// it lands. A batch is sealed only after the one before it has landed, so that one is
// under way and one open. A failed commit ends the process: what was folded on top of
// it was told to nobody.
type flight struct {
	batch   *ledger.Batch
	head    ledger.Position
	cells   []Position
	letters []letter
	told    []told
	replies []func(error)
	tookUS  uint64
}

// letter is a control message that waits for its batch.
type letter struct {
	to protocol.Origin
	ch protocol.Channel
	m  any
}

// told is what Merged, or Safe, is to hear of a journal.
type told struct {
	origin protocol.Origin
	mark   ledger.Mark
	merged int
	safe   bool // only its safe mark moved
}

// seal ends the open batch: from here on all that is folded belongs to the next.
func (i *Ingest) seal(batchUS int64) (*flight, error) {
	b := &ledger.Batch{Exceptions: i.exceptions, Facts: i.facts}
	f := &flight{batch: b, head: i.eng.Head(), letters: i.letters, replies: i.replies}
	i.exceptions, i.facts, i.letters, i.replies, i.entries = nil, nil, nil, nil, 0
	for _, s := range i.owed {
		if s.moved() {
			b.Marks = append(b.Marks, s.pending())
		}
	}
	if uint64(i.eng.Head()-i.checkpoint) >= max(i.o.CheckpointEvery, uint64(i.eng.Cells())) {
		if err := i.eng.checkpoint(b); err != nil {
			return nil, err
		}
	}
	i.eng.TakeStaged(b)
	f.cells = i.changed()
	i.address(f, batchUS)
	return f, nil
}

// changed lists the positions that changed, in stock or in what is held.
func (i *Ingest) changed() []Position {
	i.cells = i.cells[:0]
	for _, list := range [][]reserve.Key{i.held, i.laned} {
		for _, k := range list {
			if c, ok := i.eng.CellAt(k.Location, k.SKU); ok {
				i.cells = append(i.cells, i.position(c))
			}
		}
	}
	i.eng.TakeDirty(func(c merge.Cell) { i.cells = append(i.cells, i.position(c)) })
	return i.cells
}

// address writes what sessions and stores are owed.
func (i *Ingest) address(f *flight, batchUS int64) {
	nowUS := i.o.Now().UnixMicro()
	i.weigh(nowUS)
	for _, s := range i.owed {
		i.send(s, nowUS)
		switch {
		case s.merged > 0 || s.welcome != nil:
			f.told = append(f.told, told{s.origin, s.mark, s.merged, false})
		case s.mark.SafeSeq != s.was.SafeSeq && i.o.Safe != nil:
			f.told = append(f.told, told{s.origin, s.mark, 0, true})
		}
		s.settled()
	}
	for _, o := range i.ordered {
		i.order(o, false, nowUS)
	}
	i.tellStores(batchUS)
	f.letters = append(f.letters, i.letters...)
	i.letters, i.owed, i.ordered = nil, i.owed[:0], i.ordered[:0]
	i.held, i.laned, i.rejected = i.held[:0], i.laned[:0], i.rejected[:0]
}

// launch sends a sealed batch off; one with nothing to write has arrived.
func (i *Ingest) launch(f *flight) error {
	i.flight = f
	if b := f.batch; len(b.Entries)+len(b.Marks)+len(b.Exceptions)+len(b.Facts)+len(b.Journals)+len(b.Chunks) == 0 {
		return i.arrived(nil)
	}
	if !i.hand {
		i.commits <- f
	}
	return nil
}

// write makes a batch durable, on the committer's goroutine. Crash before: nothing
// of it happened, agents send again. Crash after: agents send again and are told
// that it is merged.
func (i *Ingest) write(f *flight) error {
	start := i.o.Now()
	if err := i.o.Ledger.Commit(context.Background(), f.batch); err != nil {
		return fmt.Errorf("commit batch of %d events: %w", len(f.batch.Entries), err)
	}
	f.tookUS = uint64(i.o.Now().Sub(start).Microseconds())
	i.n.commits.Add(1)
	return nil
}

// commitAll writes what is launched, in order, until there is no more.
func (i *Ingest) commitAll() {
	for f := range i.commits {
		i.landed <- i.write(f)
	}
}

// land waits until the ledger holds all that is sealed. By hand nobody writes
// meanwhile: it is done here, at the last moment, so that a simulation too has folds
// that run ahead of the disk.
func (i *Ingest) land() error {
	switch {
	case i.flight == nil:
		return nil
	case i.hand:
		return i.arrived(i.write(i.flight))
	}
	return i.arrived(<-i.landed)
}

// arrived says what was to be said of the batch: the ledger has it.
func (i *Ingest) arrived(err error) error {
	f := i.flight
	i.flight = nil
	if err != nil {
		for _, r := range f.replies {
			r(err)
		}
		return err
	}
	if f.batch.Checkpoint != 0 {
		i.checkpoint = f.batch.Checkpoint
	}
	i.n.events.Add(uint64(len(f.batch.Entries)))
	i.n.commitUS.Add(f.tookUS)
	i.n.pending.Store(uint64(i.eng.Pending()))
	i.n.cells.Store(uint64(i.eng.Cells()))
	i.eng.Committed()
	if len(f.cells) > 0 {
		i.o.Cells(f.cells)
	}
	i.post(f.letters)
	for n := range f.told {
		if t := &f.told[n]; t.safe {
			i.o.Safe(t.origin, t.mark.SafeSeq)
		} else {
			i.o.Merged(t.origin, t.mark, t.merged)
		}
	}
	i.o.Shown(f.head)
	for _, r := range f.replies {
		r(nil)
	}
	return nil
}

// post sends a batch's letters. What agents set their clocks by is written now.
func (i *Ingest) post(letters []letter) {
	nowUS := i.o.Now().UnixMicro()
	for _, l := range letters {
		switch m := l.m.(type) {
		case *protocol.Welcome:
			m.ServerUS = nowUS
		case *protocol.Ack:
			m.SendUS = nowUS
		}
		i.down(l.to, l.ch, l.m)
	}
}

// later sends a control message when the open batch is durable: it may speak of it.
func (i *Ingest) later(o protocol.Origin, ch protocol.Channel, m any) {
	i.letters = append(i.letters, letter{o, ch, m})
}
