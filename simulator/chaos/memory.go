package chaos

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// ledgerImage is what a ledger's file holds. Entries are only ever appended, so
// that copies share them.
type ledgerImage struct {
	entries    []ledger.Entry
	journals   []ledger.Journal
	cells      []ledger.Cell
	marks      map[protocol.Origin]ledger.Mark
	exceptions map[string]protocol.Exception
	facts      map[string][]byte
	chunks     map[uint32][]byte
	checkpoint ledger.Position
}

func newLedgerImage() *ledgerImage {
	return &ledgerImage{
		marks: map[protocol.Origin]ledger.Mark{}, exceptions: map[string]protocol.Exception{},
		facts: map[string][]byte{}, chunks: map[uint32][]byte{},
	}
}

// copy is a backup.
func (m *ledgerImage) copy() *ledgerImage {
	c := *m
	c.entries, c.journals, c.cells = slices.Clip(m.entries), slices.Clip(m.journals), slices.Clip(m.cells)
	c.marks, c.exceptions, c.facts, c.chunks = maps.Clone(m.marks), maps.Clone(m.exceptions), maps.Clone(m.facts), maps.Clone(m.chunks)
	return &c
}

// fate is what becomes of a commit.
type fate uint8

const (
	fateDone   fate = iota
	fateNever       // fails, and is not there after a reopen
	fateHidden      // fails, and is there after a reopen
)

var errLedgerDisk = errors.New("simulated: input/output error")

// memory is a ledger over an image: ledger.Ledger, for one process's life.
type memory struct {
	img    *ledgerImage
	ids    map[protocol.EventID]ledger.Position
	failed bool
	fate   func(*ledger.Batch) fate
}

func openMemory(img *ledgerImage, fate func(*ledger.Batch) fate) *memory {
	l := &memory{img: img, ids: make(map[protocol.EventID]ledger.Position, len(img.entries)), fate: fate}
	for i := range img.entries {
		l.index(&img.entries[i])
	}
	return l
}

func (l *memory) index(e *ledger.Entry) {
	if e.Ref == 0 {
		if _, known := l.ids[e.EventID]; !known {
			l.ids[e.EventID] = e.Position
		}
	}
}

func (l *memory) Commit(_ context.Context, b *ledger.Batch) error {
	if l.failed {
		return ledger.ErrFailed
	}
	for _, m := range b.Marks {
		was := l.img.marks[m.Origin]
		if was.Epoch != m.WasEpoch || was.Lease != m.WasLease || was.Seq != m.WasSeq {
			return fmt.Errorf("commit batch: %w", ledger.ErrFenced)
		}
	}
	for i := range b.Entries {
		if want := l.Head() + ledger.Position(i) + 1; b.Entries[i].Position != want {
			l.failed = true
			return fmt.Errorf("commit batch: position %d, want %d", b.Entries[i].Position, want)
		}
	}
	f := l.fate(b)
	if f != fateNever {
		l.write(b)
	}
	if f != fateDone {
		l.failed = true
		return fmt.Errorf("commit batch: %w", errLedgerDisk)
	}
	return nil
}

func (l *memory) write(b *ledger.Batch) {
	m := l.img
	for i := range b.Entries {
		e := b.Entries[i]
		e.Record, e.Links = slices.Clone(e.Record), slices.Clone(e.Links)
		m.entries = append(m.entries, e)
		l.index(&e)
	}
	m.journals = append(m.journals, b.Journals...)
	m.cells = append(m.cells, b.Cells...)
	for _, x := range b.Marks {
		x.WasEpoch, x.WasLease, x.WasSeq = 0, 0, 0
		m.marks[x.Origin] = x
	}
	for _, x := range b.Exceptions {
		m.exceptions[x.ID] = x
	}
	for _, x := range b.Facts {
		if delete(m.facts, x.Key); x.Value != nil {
			m.facts[x.Key] = slices.Clone(x.Value)
		}
	}
	for _, x := range b.Chunks {
		m.chunks[x.No] = slices.Clone(x.Data)
	}
	if b.Checkpoint != 0 {
		m.checkpoint = b.Checkpoint
	}
}

func (l *memory) Head() ledger.Position { return ledger.Position(len(l.img.entries)) }

func (l *memory) Read(p ledger.Position) (ledger.Entry, error) {
	if p == 0 || p > l.Head() {
		return ledger.Entry{}, ledger.ErrNotFound
	}
	return l.img.entries[p-1], nil
}

func (l *memory) Scan(p ledger.Position, fn func(*ledger.Entry) error) error {
	for head := l.Head(); p <= head; p++ {
		e := l.img.entries[max(p, 1)-1]
		if err := fn(&e); err != nil {
			return err
		}
	}
	return nil
}

func (l *memory) Find(id protocol.EventID) (ledger.Position, [8]byte, bool, error) {
	p, ok := l.ids[id]
	if !ok {
		return 0, [8]byte{}, false, nil
	}
	return p, l.img.entries[p-1].Content, true, nil
}

func (l *memory) Marks() ([]ledger.Mark, error) {
	return slices.SortedFunc(maps.Values(l.img.marks), func(a, b ledger.Mark) int {
		return cmp.Or(strings.Compare(string(a.Origin.Store), string(b.Origin.Store)), strings.Compare(string(a.Origin.Agent), string(b.Origin.Agent)))
	}), nil
}

func (l *memory) Journals() ([]ledger.Journal, error) { return l.img.journals, nil }

func (l *memory) Cells(fn func(ledger.Cell) error) error {
	for _, c := range l.img.cells {
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

func (l *memory) Checkpoint(fn func(ledger.Chunk) error) (ledger.Position, error) {
	for _, no := range slices.Sorted(maps.Keys(l.img.chunks)) {
		if err := fn(ledger.Chunk{No: no, Data: l.img.chunks[no]}); err != nil {
			return 0, err
		}
	}
	return l.img.checkpoint, nil
}

func (l *memory) Exceptions(f ledger.Filter) ([]protocol.Exception, error) {
	var out []protocol.Exception
	for _, id := range slices.Sorted(maps.Keys(l.img.exceptions)) {
		e := l.img.exceptions[id]
		if id > f.After && (f.State == "" || e.State == f.State) && (f.Code == "" || e.Code == f.Code) && (f.Store == "" || e.Origin.Store == f.Store) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (l *memory) Exception(id string) (protocol.Exception, error) {
	if e, ok := l.img.exceptions[id]; ok {
		return e, nil
	}
	return protocol.Exception{}, ledger.ErrNotFound
}

func (l *memory) CountExceptions() (n int, err error) {
	for _, e := range l.img.exceptions {
		if e.State == "open" {
			n++
		}
	}
	return n, nil
}

func (l *memory) Fact(key string) ([]byte, error) {
	if v, ok := l.img.facts[key]; ok {
		return v, nil
	}
	return nil, ledger.ErrNotFound
}

func (l *memory) Stats() ledger.Stats { return ledger.Stats{Head: l.Head()} }
func (l *memory) Close() error        { return nil }
