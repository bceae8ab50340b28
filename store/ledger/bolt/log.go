package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"tillwire/store/ledger"
)

// Head implements ledger.Ledger.
func (l *Ledger) Head() ledger.Position { return ledger.Position(l.head.Load()) }

// Read implements ledger.Ledger.
func (l *Ledger) Read(p ledger.Position) (ledger.Entry, error) {
	var e ledger.Entry
	if p == 0 || p > l.Head() {
		return e, fmt.Errorf("read entry %d: %w", p, ledger.ErrNotFound)
	}
	var value []byte
	err := l.view(func(tx *bbolt.Tx) error {
		c, first, block, err := seekBlock(tx, p)
		if c == nil || err != nil {
			return err
		}
		for ok := true; ok && first <= p; first++ {
			if value, block, ok = cutFrame(block); !ok {
				value = nil
			}
		}
		value = bytes.Clone(value)
		return nil
	})
	if err == nil && value == nil {
		err = fmt.Errorf("%w: it is missing below head %d", ledger.ErrCorrupt, l.Head())
	}
	if err != nil {
		return e, fmt.Errorf("read entry %d: %w", p, err)
	}
	key := key64(uint64(p))
	_, err = decodeEntry(p, key[:], value, &e, nil)
	return e, err
}

// seekBlock finds the block that should hold p; the cursor is nil where there
// is none.
func seekBlock(tx *bbolt.Tx, p ledger.Position) (*bbolt.Cursor, ledger.Position, []byte, error) {
	name, key := key64(segmentOf(p)), key64(uint64(p))
	seg := tx.Bucket(bucketLog).Bucket(name[:])
	if seg == nil {
		return nil, 0, nil, nil
	}
	c := seg.Cursor()
	k, block := c.Seek(key[:])
	switch {
	case k == nil:
		k, block = c.Last()
	case !bytes.Equal(k, key[:]):
		k, block = c.Prev()
	}
	if k == nil {
		return nil, 0, nil, nil
	}
	if len(k) != 8 {
		return nil, 0, nil, fmt.Errorf("%w: block has key %x, want 8 bytes", ledger.ErrCorrupt, k)
	}
	return c, ledger.Position(binary.BigEndian.Uint64(k)), block, nil
}

// Scan implements ledger.Ledger. It ends at the head of the moment it began.
// Up to 1,000 entries are copied in one short transaction, so that a slow fn
// pins no pages; entries of one such copy share memory: who keeps a few of them
// for long should clone their records.
func (l *Ledger) Scan(p ledger.Position, fn func(*ledger.Entry) error) error {
	head := l.Head()
	for p = max(p, 1); p <= head; {
		entries, err := l.copyEntries(p, head)
		if err != nil {
			return fmt.Errorf("scan log: %w", err)
		}
		for i := range entries {
			if err := fn(&entries[i]); err != nil {
				return err
			}
		}
		p += ledger.Position(len(entries))
	}
	return nil
}

// copyEntries reads some entries from p on, at least one, none beyond head.
func (l *Ledger) copyEntries(p, head ledger.Position) ([]ledger.Entry, error) {
	var arena []byte
	n := 0
	err := l.view(func(tx *bbolt.Tx) (err error) {
		arena, n, err = copyBlocks(tx, p, head)
		return err
	})
	if err != nil {
		return nil, err
	}
	entries := make([]ledger.Entry, n)
	links := make([]ledger.Link, 0, 4*n)
	var key [8]byte
	for i := range entries {
		var value []byte
		value, arena, _ = cutFrame(arena)
		at := p + ledger.Position(i)
		key = key64(uint64(at))
		if links, err = decodeEntry(at, key[:], value, &entries[i], links); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

// copyBlocks copies the frames of n entries from p on. A block is of one
// commit, so that none reaches beyond a head.
func copyBlocks(tx *bbolt.Tx, p, head ledger.Position) (arena []byte, n int, err error) {
	c, first, block, err := seekBlock(tx, p)
	if err != nil {
		return nil, 0, err
	}
	if c == nil {
		return nil, 0, fmt.Errorf("%w: entry %d is missing below head %d", ledger.ErrCorrupt, p, head)
	}
	for ; first < p; first++ {
		var ok bool
		if _, block, ok = cutFrame(block); !ok || len(block) == 0 {
			return nil, 0, fmt.Errorf("%w: block ends at entry %d, entry %d is missing", ledger.ErrCorrupt, first, p)
		}
	}
	arena = make([]byte, 0, min(scanEntries, uint64(head-p)+1)*320+blockBytes)
	last := min(uint64(head), (segmentOf(p)+1)*segmentEntries)
	for {
		k, ok := countFrames(block)
		if !ok {
			return nil, 0, fmt.Errorf("%w: block of entry %d has %d bytes of which only %d entries are whole", ledger.ErrCorrupt, uint64(p)+uint64(n), len(block), k)
		}
		arena = append(arena, block...)
		n += k
		next := uint64(p) + uint64(n)
		if n >= scanEntries || len(arena) >= scanBytesMax || next > last {
			break
		}
		var key []byte
		if key, block = c.Next(); len(key) != 8 || binary.BigEndian.Uint64(key) != next {
			return nil, 0, fmt.Errorf("%w: got block %x, want entry %d", ledger.ErrCorrupt, key, next)
		}
	}
	return arena, n, nil
}

// Stats implements ledger.Ledger.
func (l *Ledger) Stats() ledger.Stats {
	s := ledger.Stats{Head: l.Head(), CommitUS: l.commitUS.Load()}
	db := l.db.Stats()
	s.FreeBytes = int64(db.FreePageN+db.PendingPageN) * l.pageSize
	_ = l.view(func(tx *bbolt.Tx) error {
		s.Bytes = tx.Size()
		return nil
	})
	return s
}
