package bolt

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"tillwire/store/ledger"
)

// SegmentEntries is how many positions a segment of the log holds. A segment that
// is full never changes again.
const SegmentEntries = segmentEntries

// Snapshot is the ledger at one moment, for a backup. While it is open, pages that
// commits replace stay in the file, and a file that must grow beyond what is
// mapped waits for it: write the state to a local file, and close it.
type Snapshot struct {
	Head  ledger.Position
	Marks []ledger.Mark

	tx *bbolt.Tx
}

// Snapshot begins one. It is quick, and may be called between two commits by who
// commits; the other methods by anyone.
func (l *Ledger) Snapshot() (*Snapshot, error) {
	if err := l.failed(); err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	marks, err := l.Marks()
	if err != nil {
		return nil, err
	}
	tx, err := l.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("take snapshot: %w", err)
	}
	s := &Snapshot{Head: l.Head(), Marks: marks, tx: tx}
	if at, err := getMeta(tx, metaHead); err != nil || at != uint64(s.Head) {
		s.Close()
		return nil, fmt.Errorf("take snapshot: head is %d in the file, %d in memory: %w", at, s.Head, err)
	}
	return s, nil
}

// Close ends the snapshot. It may be called more than once.
func (s *Snapshot) Close() {
	if s.tx != nil {
		_ = s.tx.Rollback() // of a read transaction: cannot fail
		s.tx = nil
	}
}

// Full is how many segments of the log are full.
func (s *Snapshot) Full() uint64 { return uint64(s.Head) / segmentEntries }

// WriteState writes all that is not a full segment of the log.
func (s *Snapshot) WriteState(w io.Writer) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	d, err := newDumper(w)
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	for _, key := range [][]byte{metaHead, metaCheckpoint} {
		if v := s.tx.Bucket(bucketMeta).Get(key); v != nil {
			if err := d.put(partMeta, key, v); err != nil {
				return fmt.Errorf("write state: %w", err)
			}
		}
	}
	for _, p := range partBuckets {
		err := s.tx.Bucket(p.bucket).ForEach(func(k, v []byte) error {
			if _, err := unseal(string(p.bucket), k, v); err != nil {
				return err // what is damaged is not copied as if it were well
			}
			return d.put(p.part, k, v)
		})
		if err != nil {
			return fmt.Errorf("write %s: %w", p.bucket, err)
		}
	}
	name := key64(s.Full())
	if seg := s.tx.Bucket(bucketLog).Bucket(name[:]); seg != nil {
		if err := seg.ForEach(func(k, v []byte) error { return d.put(partBlock, k, v) }); err != nil {
			return fmt.Errorf("write log: %w", err)
		}
	}
	return d.end()
}

// WriteSegment writes a full segment of the log, in short transactions.
func (l *Ledger) WriteSegment(no uint64, w io.Writer) error {
	if (no+1)*segmentEntries > uint64(l.Head()) {
		return fmt.Errorf("write segment %d: %w: it is not full", no, ledger.ErrNotFound)
	}
	d, err := newDumper(w)
	if err != nil {
		return fmt.Errorf("write segment %d: %w", no, err)
	}
	for from := uint64(0); ; {
		keys, values, err := l.copySegment(no, from)
		if err != nil {
			return fmt.Errorf("write segment %d: %w", no, err)
		}
		for i := range keys {
			if err := d.put(partBlock, keys[i], values[i]); err != nil {
				return fmt.Errorf("write segment %d: %w", no, err)
			}
			from = binary.BigEndian.Uint64(keys[i]) + 1
		}
		if len(keys) == 0 {
			return d.end()
		}
	}
}

// copySegment copies some blocks of a segment, from a position on.
func (l *Ledger) copySegment(no, from uint64) (keys, values [][]byte, err error) {
	err = l.view(func(tx *bbolt.Tx) error {
		name, key := key64(no), key64(from)
		seg := tx.Bucket(bucketLog).Bucket(name[:])
		if seg == nil {
			return fmt.Errorf("%w: segment is missing", ledger.ErrCorrupt)
		}
		c, size := seg.Cursor(), 0
		for k, v := c.Seek(key[:]); k != nil && size < scanBytesMax; k, v = c.Next() {
			if len(k) != 8 {
				return fmt.Errorf("%w: block has key %x, want 8 bytes", ledger.ErrCorrupt, k)
			}
			keys, values = append(keys, bytes.Clone(k)), append(values, bytes.Clone(v))
			size += len(v)
		}
		return nil
	})
	return keys, values, err
}

// TipAt is the entry at a position, as backups remember the end of a segment.
func (l *Ledger) TipAt(p ledger.Position) (Tip, error) {
	e, err := l.Read(p)
	return tipOf(&e), err
}
