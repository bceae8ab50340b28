package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"tillwire/store/ledger"
)

// Loader makes a ledger's file of dumps. Segments come in their order, the state
// last; each is verified while it is read. The file is whole after Finish only.
type Loader struct {
	path string
	db   *bbolt.DB
	last ledger.Position
	info *DumpInfo // of the state
}

// NewLoader makes a fresh file; one that exists is an error.
func NewLoader(path string) (*Loader, error) {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("make ledger %s: it exists", path)
	}
	if err := createFile(path); err != nil {
		return nil, fmt.Errorf("make ledger %s: %w", path, err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, NoSync: true})
	if err != nil {
		return nil, fmt.Errorf("make ledger %s: %w", path, err)
	}
	return &Loader{path: path, db: db}, nil
}

// Add takes a dump; state says which it is.
func (l *Loader) Add(r io.Reader, state bool) (*DumpInfo, error) {
	c := &checker{info: &DumpInfo{Facts: map[string][]byte{}, Highest: map[ledger.OriginID]EpochSeq{}}}
	var open *loading
	err := readDump(r, func(part byte, key, value []byte) error {
		if err := c.pair(part, key, value); err != nil {
			return err
		}
		if open == nil {
			tx, err := l.db.Begin(true)
			if err != nil {
				return err
			}
			open = &loading{tx: tx}
		}
		if err := open.put(part, key, value); err != nil {
			return err
		}
		if open.bytes += len(key) + len(value); open.bytes < loadBytesMax {
			return nil
		}
		tx := open.tx
		open = nil
		return tx.Commit()
	})
	if open != nil {
		if err == nil {
			err = open.tx.Commit()
		} else {
			err = errors.Join(err, open.tx.Rollback())
		}
	}
	i := c.info
	switch {
	case err != nil:
		return nil, fmt.Errorf("load dump: %w", err)
	case l.info != nil:
		return nil, fmt.Errorf("load dump: %w: it stands behind the state", ledger.ErrCorrupt)
	case i.First != 0 && i.First != l.last+1:
		return nil, fmt.Errorf("load dump: %w: its log begins at %d, want %d", ledger.ErrCorrupt, i.First, l.last+1)
	}
	l.last = max(l.last, i.Last)
	if state {
		l.info = i
	}
	return i, nil
}

// loading is one transaction of a load.
type loading struct {
	tx    *bbolt.Tx
	bytes int
}

func (o *loading) put(part byte, key, value []byte) error {
	var bucket *bbolt.Bucket
	switch part {
	case partMeta:
		bucket = o.tx.Bucket(bucketMeta)
	case partBlock:
		name := key64(segmentOf(ledger.Position(binary.BigEndian.Uint64(key))))
		var err error
		if bucket, err = o.tx.Bucket(bucketLog).CreateBucketIfNotExists(name[:]); err != nil {
			return fmt.Errorf("create segment: %w", err)
		}
	default:
		for _, p := range partBuckets {
			if p.part == part {
				bucket = o.tx.Bucket(p.bucket)
			}
		}
	}
	bucket.FillPercent = fillAppend
	// bbolt keeps the value, though not the key, until the commit.
	if err := bucket.Put(key, bytes.Clone(value)); err != nil {
		return fmt.Errorf("put %c %x: %w", part, key, err)
	}
	if part != partException {
		return nil
	}
	e, err := decodeException(key, value)
	if err != nil {
		return err
	}
	index := o.tx.Bucket(bucketExIndex)
	for _, k := range exIndexKeys(&e) {
		if err := index.Put(k, []byte{}); err != nil {
			return fmt.Errorf("list exception %q: %w", e.ID, err)
		}
	}
	return nil
}

// Finish makes the file durable. Its index of event ids is made by the next Open.
func (l *Loader) Finish() error {
	switch {
	case l.info == nil:
		return errors.Join(fmt.Errorf("load ledger: %w: there was no state", ledger.ErrCorrupt), l.Abort())
	case l.last != l.info.Head:
		return errors.Join(fmt.Errorf("load ledger: %w: log ends at %d, want %d", ledger.ErrCorrupt, l.last, l.info.Head), l.Abort())
	}
	if err := errors.Join(l.db.Sync(), l.db.Close()); err != nil {
		return fmt.Errorf("load ledger: %w", err)
	}
	return syncDir(filepath.Dir(l.path))
}

// Abort closes the unfinished file and removes it.
func (l *Loader) Abort() error { return errors.Join(l.db.Close(), os.Remove(l.path)) }

// CheckUnused fails where a process has the ledger open. A file that is missing or
// damaged is not in use.
func CheckUnused(path string) error {
	if _, err := os.Stat(path); err != nil {
		return nil //nolint:nilerr // nothing is there to be in use
	}
	db, err := lockFile(path)
	if errors.Is(err, berrors.ErrTimeout) {
		return fmt.Errorf("check ledger %s: another process holds it; stop the aggregator first: %w", path, err)
	}
	if err != nil {
		return nil //nolint:nilerr // what cannot be opened is not in use
	}
	return db.Close()
}

func lockFile(path string) (db *bbolt.DB, err error) {
	defer guard(&err)
	return bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout / 4, ReadOnly: true})
}
