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
	key, name := key64(uint64(p)), key64(segmentOf(p))
	var value []byte
	err := l.view(func(tx *bbolt.Tx) error {
		if seg := tx.Bucket(bucketLog).Bucket(name[:]); seg != nil {
			value = bytes.Clone(seg.Get(key[:]))
		}
		return nil
	})
	if err != nil {
		return e, fmt.Errorf("read entry %d: %w", p, err)
	}
	if value == nil {
		return e, fmt.Errorf("read entry %d: %w: it is missing below head %d", p, ledger.ErrCorrupt, l.Head())
	}
	_, err = decodeEntry(p, key[:], value, &e, nil)
	return e, err
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
	ends := make([]int, 0, min(scanEntries, uint64(head-p)+1))
	err := l.view(func(tx *bbolt.Tx) error {
		name := key64(segmentOf(p))
		seg := tx.Bucket(bucketLog).Bucket(name[:])
		if seg == nil {
			return fmt.Errorf("%w: segment %d is missing below head %d", ledger.ErrCorrupt, segmentOf(p), head)
		}
		want := uint64(p)
		from := key64(want)
		last := min(uint64(head), (segmentOf(p)+1)*segmentEntries)
		c := seg.Cursor()
		for k, v := c.Seek(from[:]); len(ends) < cap(ends) && len(arena) < scanBytesMax && want <= last; k, v = c.Next() {
			if len(k) != 8 || binary.BigEndian.Uint64(k) != want {
				return fmt.Errorf("%w: got key %x, want entry %d", ledger.ErrCorrupt, k, want)
			}
			if arena == nil {
				arena = make([]byte, 0, cap(ends)*(len(v)+64))
			}
			arena = append(arena, v...)
			ends = append(ends, len(arena))
			want++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	entries := make([]ledger.Entry, len(ends))
	links := make([]ledger.Link, 0, 4*len(ends))
	at := 0
	for i, end := range ends {
		key := key64(uint64(p) + uint64(i))
		if links, err = decodeEntry(p+ledger.Position(i), key[:], arena[at:end:end], &entries[i], links); err != nil {
			return nil, err
		}
		at = end
	}
	return entries, nil
}

// Stats implements ledger.Ledger.
func (l *Ledger) Stats() ledger.Stats {
	s := ledger.Stats{Head: l.Head(), CommitUS: l.commitUS.Load()}
	s.FreeBytes = int64(l.db.Stats().FreePageN) * int64(l.db.Info().PageSize)
	_ = l.view(func(tx *bbolt.Tx) error {
		s.Bytes = tx.Size()
		return nil
	})
	return s
}
