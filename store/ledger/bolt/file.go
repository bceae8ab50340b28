package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"tillwire/store/ledger"
)

// createFile makes a seeded file under another name and moves it into place: a
// power cut leaves either no ledger or a whole one.
func createFile(path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	seed := path + ".new"
	if err := os.Remove(seed); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := bbolt.Open(seed, 0o600, &bbolt.Options{Timeout: openTimeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range allBuckets {
			if _, err := tx.CreateBucket(name); err != nil {
				return fmt.Errorf("create bucket %s: %w", name, err)
			}
		}
		return putMeta(tx, metaFormat, formatVersion)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		return err
	}
	if err := os.Rename(seed, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a rename durable. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func openFile(path string, readOnly bool) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	} else if info.Size() == 0 {
		return nil, fmt.Errorf("%w: file has 0 bytes, want at least 2 pages", ledger.ErrCorrupt)
	}
	// A file that was cut is told by its length: what lies behind its end cannot be
	// looked at without a fault, and a fault inside bbolt.Open keeps the file locked.
	if m, ok := readMeta(path); ok && m.pages > uint64(m.bytes/m.pageSize) {
		return nil, fmt.Errorf("%w: file has %d bytes, its %d pages take %d", ledger.ErrCorrupt, m.bytes, m.pages, int64(m.pages)*m.pageSize)
	}
	if !readOnly {
		if err := probe(path); err != nil {
			return nil, err
		}
	}
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: openTimeout, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true, ReadOnly: readOnly, InitialMmapSize: mapBytes(info.Size()),
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("another process holds the file; stop the aggregator first: %w", err)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %w", ledger.ErrCorrupt, err)
	}
	return db, err
}

// probe walks the whole tree in this goroutine, where a panic can be caught,
// before bbolt does the same in one of its own to rebuild the free list, where
// a panic ends the process. A file that was closed properly holds its free list
// and needs neither.
func probe(path string) error {
	if m, ok := readMeta(path); ok && m.freelist != noFreelist {
		return nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: openTimeout, ReadOnly: true})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("another process holds the file; stop the aggregator first: %w", err)
	case err != nil:
		return fmt.Errorf("%w: %w", ledger.ErrCorrupt, err)
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error { return walk(b) })
	})
	return errors.Join(err, db.Close())
}

func walk(b *bbolt.Bucket) error {
	c := b.Cursor()
	last := []byte(nil)
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if last != nil && string(last) >= string(k) {
			return fmt.Errorf("%w: key %x stands behind %x", ledger.ErrCorrupt, k, last)
		}
		last = k
		if v != nil {
			continue
		}
		if child := b.Bucket(k); child != nil {
			if err := walk(child); err != nil {
				return err
			}
		}
	}
	return nil
}

// meta is what bbolt's newest sound meta page says of the file.
type meta struct {
	pageSize int64
	freelist uint64 // page of the free list; noFreelist: it was not written
	pages    uint64 // that are in use or free: the file is at least as long
	bytes    int64  // of the file, looked at after that
}

const noFreelist = ^uint64(0)

// readMeta reads bbolt's two meta pages: {page header 16, magic 4, version 4, page
// size 4, flags 4, root 16, freelist 8, pages 8, txid 8, checksum 8}.
func readMeta(path string) (m meta, ok bool) {
	f, err := os.Open(path)
	if err != nil {
		return m, false
	}
	defer func() { _ = f.Close() }()
	const magic, metaBytes = 0xED0CDAED, 80
	var b [metaBytes]byte
	newest, size := uint64(0), int64(os.Getpagesize())
	for page := range int64(2) {
		if _, err := f.ReadAt(b[:], page*size); err != nil || binary.LittleEndian.Uint32(b[16:]) != magic {
			return m, false
		}
		size = int64(binary.LittleEndian.Uint32(b[24:]))
		sum := fnv.New64a()
		_, _ = sum.Write(b[16:72]) // a hash takes all
		if txid := binary.LittleEndian.Uint64(b[64:]); txid >= newest && sum.Sum64() == binary.LittleEndian.Uint64(b[72:]) {
			newest, ok = txid, true
			m = meta{pageSize: size, freelist: binary.LittleEndian.Uint64(b[48:]), pages: binary.LittleEndian.Uint64(b[56:])}
		}
	}
	info, err := f.Stat()
	if err != nil {
		return m, false
	}
	m.bytes = info.Size()
	return m, ok
}

// guard turns a panic, or a fault in the mapped file, into ErrCorrupt.
// Used as: defer guard(&err).
func guard(err *error) {
	if r := recover(); r != nil { //nolint:revive // every caller defers guard
		*err = fmt.Errorf("%w: %v", ledger.ErrCorrupt, r)
	}
}

// mapBytes is how much of the file is mapped at once: room that it may grow into.
// bbolt maps a file anew when it outgrows its map, and must wait for every open
// transaction to do so: a backup's snapshot would stop the writer for minutes. Its
// maintainers' remedy is to map more than there is (DB.Begin, Options.InitialMmapSize).
// It costs address space alone; on Windows it would be the file's size, and a system
// of 32 bits has not the room: there a map grows as bbolt sees fit.
func mapBytes(fileSize int64) int {
	if runtime.GOOS == "windows" || strconv.IntSize < 64 {
		return 0
	}
	return int(fileSize + mapAheadBytes)
}
