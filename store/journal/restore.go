package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// Restored says what a journal is made of again: what its header in an export
// told, and one record after the other.
type Restored struct {
	InstallID string
	CreatedUS int64
	Tail      uint64         // seq of the first record; 1 where there is none
	ChainTail protocol.Chain // in front of it
	Epoch     uint64
	Merged    uint64

	// Next gives record after record, from Tail on; io.EOF ends them.
	Next func() (recordUS int64, event []byte, err error)
	// ChainHead is asked behind the last record, and must be what the records hash to.
	ChainHead func() protocol.Chain
}

// Restore makes the journal at path again, record by record under the same seqs
// and chain, so that an aggregator goes on with it where it stood. A journal that
// is there already is never touched: fs.ErrExist. The file appears whole or not
// at all.
func Restore(path string, from Restored) error {
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("restore journal: %w", os.ErrExist), err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("restore journal: %w", err)
	}
	j := &Journal{opts: Options{Path: path}}
	j.opts.setDefaults()
	b := builder{c: committer{j: j}, known: map[protocol.EventID]bool{}}
	id := identity{Format: formatVersion, InstallID: from.InstallID, CreatedUS: from.CreatedUS, Origin: "restored from an export"}
	err := makeFile(path, id, func(db *bolt.DB) error { return b.restore(db, from) })
	if err != nil {
		return fmt.Errorf("restore journal: %w", err)
	}
	return nil
}

func (b *builder) restore(db *bolt.DB, from Restored) error {
	at := tip{seq: max(from.Tail, 1) - 1, chain: from.ChainTail}
	b.begin(at)
	for {
		us, event, err := from.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if us <= at.us {
			return fmt.Errorf("time of record %d is %d, not later than %d", at.seq+1, us, at.us)
		}
		if err := b.add(db, &at, us, event); err != nil {
			return err
		}
	}
	if want := from.ChainHead(); at.chain != want {
		return &CorruptError{What: "chain over the restored records", Got: at.chain.String(), Want: want.String()}
	}
	merged := min(from.Merged, at.seq)
	return b.finish(db, marks{Epoch: from.Epoch, Merged: merged})
}
