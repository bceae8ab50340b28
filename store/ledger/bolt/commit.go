package bolt

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

var errReadOnly = errors.New("ledger is open for reading only")

// fail makes the ledger refuse all that follows.
func (l *Ledger) fail(err error) error {
	if l.failure.CompareAndSwap(nil, &err) {
		l.opts.Log.Error().Err(err).Uint64("head", l.head.Load()).Msg("ledger failed, reopen it")
	}
	return fmt.Errorf("%w: %w", ledger.ErrFailed, err)
}

func (l *Ledger) failed() error {
	if p := l.failure.Load(); p != nil {
		return fmt.Errorf("%w: %w", ledger.ErrFailed, *p)
	}
	return nil
}

func (l *Ledger) step(name string) error {
	if l.opts.fail == nil {
		return nil
	}
	return l.opts.fail(name)
}

// Commit implements ledger.Ledger. Before the batch it does what upkeep of the
// id index is due, in transactions of its own; a failure there fails the
// ledger, and the batch has not been begun.
func (l *Ledger) Commit(ctx context.Context, b *ledger.Batch) error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	if err := l.failed(); err != nil {
		return err
	}
	if l.opts.ReadOnly {
		return fmt.Errorf("commit batch: %w", errReadOnly)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	start := l.opts.Now()
	if err := l.fence(b.Marks); errors.Is(err, ledger.ErrFenced) {
		return fmt.Errorf("commit batch: %w", err)
	} else if err != nil {
		return l.fail(fmt.Errorf("commit batch: %w", err))
	}
	if err := l.checkBatch(b); err != nil {
		return l.fail(fmt.Errorf("commit batch: %w", err))
	}
	if err := l.upkeep(len(b.Entries)); err != nil {
		return l.fail(fmt.Errorf("keep id index: %w", err))
	}
	w := writer{l: l, b: b}
	if err := l.update(w.write); err != nil {
		return l.fail(fmt.Errorf("commit batch: %w", err))
	}
	// The batch is on disk. A kill here loses the answer, not the batch: the
	// caller's senders offer it again, and Find tells them that it is there.
	if err := l.step("committed"); err != nil {
		return l.fail(fmt.Errorf("commit batch: %w", err))
	}
	l.publish(b, w.opened)
	l.commitUS.Store(l.opts.Now().Sub(start).Microseconds())
	return nil
}

// markState is a mark in memory. The writer alone changes it, under mu.
type markState struct {
	mark   ledger.Mark
	key    []byte
	serial uint64 // of the last batch that set it: one batch sets it once
}

// fence compares marks with what is stored, which memory mirrors, and gathers
// their states for the rest of the commit.
func (l *Ledger) fence(marks []ledger.Mark) error {
	l.serial++
	l.states = l.states[:0]
	var fresh map[protocol.Origin]*markState
	for i := range marks {
		m := &marks[i]
		if m.Origin.Store == "" || m.Origin.Agent == "" {
			return fmt.Errorf("check marks: %q names no journal", m.Origin)
		}
		st := l.marks[m.Origin] // inserted under commitMu only
		if st == nil {
			st = fresh[m.Origin]
		}
		if st == nil {
			if fresh == nil {
				fresh = map[protocol.Origin]*markState{}
			}
			st = &markState{key: originKey(m.Origin)}
			fresh[m.Origin] = st
		}
		was := &st.mark
		switch {
		case st.serial == l.serial:
			return fmt.Errorf("check marks: %s is set twice", m.Origin)
		case was.Epoch != m.WasEpoch || was.Lease != m.WasLease || was.Seq != m.WasSeq:
			return fmt.Errorf("set mark of %s: %w: it stands at epoch %d lease %d seq %d, not at %d %d %d",
				m.Origin, ledger.ErrFenced, was.Epoch, was.Lease, was.Seq, m.WasEpoch, m.WasLease, m.WasSeq)
		}
		st.serial = l.serial
		l.states = append(l.states, st)
	}
	return nil
}

// checkBatch finds callers' mistakes before anything is written.
func (l *Ledger) checkBatch(b *ledger.Batch) error {
	want := ledger.Position(l.head.Load())
	for i := range b.Entries {
		want++
		if b.Entries[i].Position != want {
			return fmt.Errorf("check entry: position is %d, want %d", b.Entries[i].Position, want)
		}
		if err := checkEntry(&b.Entries[i]); err != nil {
			return err
		}
	}
	for i := range b.Journals {
		if got, want := uint32(b.Journals[i].ID), l.journals+uint32(i)+1; got != want {
			return fmt.Errorf("check journal %s: number is %d, want %d", b.Journals[i].Origin, got, want)
		}
	}
	for i := range b.Cells {
		if got, want := uint32(b.Cells[i].ID), l.cells+uint32(i)+1; got != want {
			return fmt.Errorf("check cell: number is %d, want %d", got, want)
		}
	}
	switch {
	case b.Checkpoint > want:
		return fmt.Errorf("check checkpoint: it is at %d, the log ends at %d", b.Checkpoint, want)
	case b.Checkpoint < ledger.Position(l.checkpoint.Load()) && b.Checkpoint != 0:
		return fmt.Errorf("check checkpoint: it is at %d, the stored one at %d", b.Checkpoint, l.checkpoint.Load())
	case b.Checkpoint == 0 && len(b.Chunks) > 0:
		return errors.New("check checkpoint: there are chunks without a position")
	}
	return nil
}

// writer puts one batch into one transaction.
type writer struct {
	l      *Ledger
	b      *ledger.Batch
	opened int // exceptions opened less those closed
}

func (w *writer) write(tx *bbolt.Tx) error {
	for _, s := range []struct {
		name string
		do   func(*bbolt.Tx) error
	}{
		{"names", w.putNames},
		{"entries", w.putEntries},
		{"marks", w.putMarks},
		{"exceptions", w.putExceptions},
		{"facts", w.putFacts},
		{"checkpoint", w.putCheckpoint},
	} {
		if err := w.l.step(s.name); err != nil {
			return err
		}
		if err := s.do(tx); err != nil {
			return err
		}
	}
	return w.l.step("sync")
}

// putEntries appends to the log, in blocks. Values stay in the arena until the
// commit has written them to pages.
func (w *writer) putEntries(tx *bbolt.Tx) error {
	entries := w.b.Entries
	if w.l.arena = w.l.arena[:0]; len(entries) == 0 {
		return nil
	}
	log := tx.Bucket(bucketLog)
	log.FillPercent = fillAppend
	arena := w.l.arena
	for len(entries) > 0 {
		first := entries[0].Position
		room := (segmentOf(first)+1)*segmentEntries - uint64(first) + 1
		from, n := len(arena), 0
		for n < len(entries) && uint64(n) < room && (n == 0 || len(arena)-from < blockBytes) {
			arena = appendFramed(arena, &entries[n])
			n++
		}
		entries = entries[n:]
		name, key := key64(segmentOf(first)), key64(uint64(first))
		seg, err := log.CreateBucketIfNotExists(name[:])
		if err != nil {
			return fmt.Errorf("create segment %d: %w", segmentOf(first), err)
		}
		seg.FillPercent = fillAppend
		if err := seg.Put(key[:], arena[from:len(arena):len(arena)]); err != nil {
			return fmt.Errorf("put entries %d to %d: %w", first, first+ledger.Position(n)-1, err)
		}
	}
	w.l.arena = arena
	return putMeta(tx, metaHead, uint64(w.b.Entries[len(w.b.Entries)-1].Position))
}

func segmentOf(p ledger.Position) uint64 { return (uint64(p) - 1) / segmentEntries }

func (w *writer) putMarks(tx *bbolt.Tx) error {
	bucket := tx.Bucket(bucketMarks)
	bucket.FillPercent = fillAppend // journals are few and stay: full pages are fewer to write
	arena := w.l.arena              // behind the entries
	for i := range w.b.Marks {
		m, key, at := &w.b.Marks[i], w.l.states[i].key, len(arena)
		arena = appendMark(append(arena, 0, 0, 0, 0), m)
		arena = seal(key, arena, at)
		if err := bucket.Put(key, arena[at:len(arena):len(arena)]); err != nil {
			return fmt.Errorf("put mark of %s: %w", m.Origin, err)
		}
	}
	w.l.arena = arena
	return nil
}

// publish lets readers see a batch that is on disk, all of it at once.
func (l *Ledger) publish(b *ledger.Batch, opened int) {
	l.mu.Lock()
	for i := range b.Entries {
		if e := &b.Entries[i]; e.Ref == 0 {
			l.hot.put(idEntry{id: e.EventID, content: e.Content, pos: uint64(e.Position)})
		}
	}
	for i := range b.Marks {
		st := l.states[i]
		if st.mark.Origin != b.Marks[i].Origin { // its first time
			l.marks[b.Marks[i].Origin] = st
		}
		st.mark = cloneMark(b.Marks[i])
	}
	l.openEx += opened
	if n := len(b.Entries); n > 0 {
		// The last thing under the lock: who sees the head finds all below it,
		// and what Find tells of can be read.
		l.head.Store(uint64(b.Entries[n-1].Position))
	}
	l.mu.Unlock()
	if cap(l.arena) > arenaKeepMax {
		l.arena = nil
	}
	l.journals += uint32(len(b.Journals))
	l.cells += uint32(len(b.Cells))
	if b.Checkpoint != 0 {
		l.checkpoint.Store(uint64(b.Checkpoint))
	}
}
