package yardstick

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"go.etcd.io/bbolt"
)

// Bolt writes batches of records into one bucket, one transaction each, with
// the settings of the product and ascending keys: the least that a ledger on
// bbolt must do for the same bytes.
type Bolt struct {
	db  *bbolt.DB
	seq uint64
}

var bucket = []byte("log")

// As in the ledger: room that the file may grow into, and the steps in which it grows.
const (
	mapAhead  = 64 << 30
	allocSize = 64 << 20
)

// OpenBolt creates the file.
func OpenBolt(path string) (*Bolt, error) {
	o := &bbolt.Options{Timeout: 2 * time.Second, FreelistType: bbolt.FreelistMapType, NoFreelistSync: true}
	if runtime.GOOS != "windows" && strconv.IntSize == 64 { // as the ledger does
		o.InitialMmapSize = mapAhead
	}
	db, err := bbolt.Open(path, 0o600, o)
	if err != nil {
		return nil, fmt.Errorf("open bbolt: %w", err)
	}
	db.AllocSize = allocSize
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create bucket: %w", err)
	}
	return &Bolt{db: db}, nil
}

// Batch commits records in one transaction.
func (b *Bolt) Batch(records [][]byte) error {
	err := b.db.Update(func(tx *bbolt.Tx) error {
		bk := tx.Bucket(bucket)
		bk.FillPercent = 0.95
		for _, r := range records {
			b.seq++
			key := binary.BigEndian.AppendUint64(nil, b.seq)
			if err := bk.Put(key, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("commit batch: %w", err)
	}
	return nil
}

// Close closes the file.
func (b *Bolt) Close() error { return b.db.Close() }
