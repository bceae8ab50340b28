package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Names cannot hold a zero byte, so it parts them.
func originKey(o protocol.Origin) []byte {
	return append(append([]byte(o.Store), 0), o.Agent...)
}

func cloneMark(m ledger.Mark) ledger.Mark {
	m.Forks = slices.Clone(m.Forks)
	m.WasEpoch, m.WasLease, m.WasSeq = 0, 0, 0
	return m
}

func (l *Ledger) loadMarks(tx *bbolt.Tx) error {
	return tx.Bucket(bucketMarks).ForEach(func(k, v []byte) error {
		payload, err := unseal("mark", k, v)
		if err != nil {
			return err
		}
		store, agent, _ := bytes.Cut(k, []byte{0})
		m, err := decodeMark(protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}, payload)
		if err != nil {
			return err
		}
		l.marks[m.Origin] = &markState{mark: m, key: bytes.Clone(k)}
		return nil
	})
}

// Marks implements ledger.Ledger, in order of store and agent.
func (l *Ledger) Marks() ([]ledger.Mark, error) {
	if err := l.failed(); err != nil {
		return nil, fmt.Errorf("read marks: %w", err)
	}
	l.mu.RLock()
	marks := make([]ledger.Mark, 0, len(l.marks))
	for _, st := range l.marks {
		marks = append(marks, cloneMark(st.mark))
	}
	l.mu.RUnlock()
	slices.SortFunc(marks, func(a, b ledger.Mark) int {
		return cmp.Or(cmp.Compare(a.Origin.Store, b.Origin.Store), cmp.Compare(a.Origin.Agent, b.Origin.Agent))
	})
	return marks, nil
}

// loadCounts finds how many journals and cells there are.
func (l *Ledger) loadCounts(tx *bbolt.Tx) error {
	for _, of := range []struct {
		bucket []byte
		n      *uint32
	}{{bucketJournals, &l.journals}, {bucketCells, &l.cells}} {
		k, _ := tx.Bucket(of.bucket).Cursor().Last()
		switch len(k) {
		case 0:
		case 4:
			*of.n = binary.BigEndian.Uint32(k)
		default:
			return fmt.Errorf("%w: last key of %s is %x, want 4 bytes", ledger.ErrCorrupt, of.bucket, k)
		}
	}
	return nil
}

// putNames writes journals and cells: number → first name ‖ 0 ‖ second name.
func (w *writer) putNames(tx *bbolt.Tx) error {
	put := func(b *bbolt.Bucket, no uint32, first, second string) error {
		key := key32(no)
		v := make([]byte, crcBytes, crcBytes+len(first)+1+len(second))
		v = append(append(append(v, first...), 0), second...)
		return b.Put(key[:], seal(key[:], v, 0))
	}
	journals, cells := tx.Bucket(bucketJournals), tx.Bucket(bucketCells)
	journals.FillPercent, cells.FillPercent = fillAppend, fillAppend
	for _, j := range w.b.Journals {
		if err := put(journals, uint32(j.ID), string(j.Origin.Store), string(j.Origin.Agent)); err != nil {
			return fmt.Errorf("put journal %s: %w", j.Origin, err)
		}
	}
	for _, c := range w.b.Cells {
		if err := put(cells, uint32(c.ID), string(c.Location), string(c.SKU)); err != nil {
			return fmt.Errorf("put cell %d: %w", c.ID, err)
		}
	}
	return nil
}

// names calls fn for each pair of a bucket in order of number, outside of
// transactions.
func (l *Ledger) names(bucket []byte, fn func(no uint32, first, second string) error) error {
	type pair struct {
		no            uint32
		first, second string
	}
	page := make([]pair, 0, listRowsMax)
	for next := uint32(1); ; {
		page = page[:0]
		err := l.view(func(tx *bbolt.Tx) error {
			from := key32(next)
			c := tx.Bucket(bucket).Cursor()
			for k, v := c.Seek(from[:]); k != nil && len(page) < listRowsMax; k, v = c.Next() {
				payload, err := unseal(string(bucket), k, v)
				if err != nil {
					return err
				}
				first, second, ok := bytes.Cut(payload, []byte{0})
				if want := key32(next); !ok || !bytes.Equal(k, want[:]) {
					return fmt.Errorf("%w: got %x → %q, want number %d", ledger.ErrCorrupt, k, payload, next)
				}
				page = append(page, pair{next, string(first), string(second)})
				next++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("read %s: %w", bucket, err)
		}
		for _, p := range page {
			if err := fn(p.no, p.first, p.second); err != nil {
				return err
			}
		}
		if len(page) < listRowsMax {
			return nil
		}
	}
}

// Journals implements ledger.Ledger, in order of number.
func (l *Ledger) Journals() ([]ledger.Journal, error) {
	if err := l.failed(); err != nil {
		return nil, fmt.Errorf("read journals: %w", err)
	}
	var out []ledger.Journal
	err := l.names(bucketJournals, func(no uint32, store, agent string) error {
		o := protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}
		out = append(out, ledger.Journal{ID: ledger.OriginID(no), Origin: o})
		return nil
	})
	return out, err
}

// Cells implements ledger.Ledger.
func (l *Ledger) Cells(fn func(ledger.Cell) error) error {
	if err := l.failed(); err != nil {
		return fmt.Errorf("read cells: %w", err)
	}
	return l.names(bucketCells, func(no uint32, location, sku string) error {
		return fn(ledger.Cell{ID: ledger.CellID(no), Location: protocol.StoreID(location), SKU: protocol.SKU(sku)})
	})
}

func (w *writer) putFacts(tx *bbolt.Tx) error {
	bucket := tx.Bucket(bucketFacts)
	for _, f := range w.b.Facts {
		if f.Key == "" || len(f.Key) > factKeyMax {
			return fmt.Errorf("put fact: name has %d bytes, 1 to %d fit", len(f.Key), factKeyMax)
		}
		key := []byte(f.Key)
		var err error
		if f.Value == nil {
			err = bucket.Delete(key)
		} else {
			err = bucket.Put(key, sealed(key, f.Value))
		}
		if err != nil {
			return fmt.Errorf("put fact %q: %w", f.Key, err)
		}
	}
	return nil
}

// Fact implements ledger.Ledger.
func (l *Ledger) Fact(key string) ([]byte, error) {
	if err := l.failed(); err != nil {
		return nil, fmt.Errorf("read fact %q: %w", key, err)
	}
	var value []byte
	err := l.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketFacts).Get([]byte(key))
		if v == nil {
			return ledger.ErrNotFound
		}
		payload, err := unseal("fact", []byte(key), v)
		value = append([]byte{}, payload...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read fact %q: %w", key, err)
	}
	return value, nil
}

func (w *writer) putCheckpoint(tx *bbolt.Tx) error {
	if w.b.Checkpoint == 0 {
		return nil
	}
	bucket := tx.Bucket(bucketChunks)
	bucket.FillPercent = fillAppend
	for _, c := range w.b.Chunks {
		if len(c.Data) > chunkBytesMax {
			return fmt.Errorf("put chunk %d: it has %d bytes, at most %d fit", c.No, len(c.Data), chunkBytesMax)
		}
		key := key32(c.No)
		if err := bucket.Put(key[:], sealed(key[:], c.Data)); err != nil {
			return fmt.Errorf("put chunk %d: %w", c.No, err)
		}
	}
	return putMeta(tx, metaCheckpoint, uint64(w.b.Checkpoint))
}

// Checkpoint implements ledger.Ledger. It reads in one transaction, so that
// position and chunks are of one moment: fn should be quick.
func (l *Ledger) Checkpoint(fn func(ledger.Chunk) error) (ledger.Position, error) {
	if err := l.failed(); err != nil {
		return 0, fmt.Errorf("read checkpoint: %w", err)
	}
	var at uint64
	err := l.view(func(tx *bbolt.Tx) (err error) {
		if at, err = getMeta(tx, metaCheckpoint); err != nil || at == 0 {
			return err
		}
		return tx.Bucket(bucketChunks).ForEach(func(k, v []byte) error {
			payload, err := unseal("chunk", k, v)
			if err != nil {
				return err
			}
			if len(k) != 4 {
				return fmt.Errorf("read chunk %x: %w: key of %d bytes, want 4", k, ledger.ErrCorrupt, len(k))
			}
			return fn(ledger.Chunk{No: binary.BigEndian.Uint32(k), Data: bytes.Clone(payload)})
		})
	})
	if err != nil {
		return 0, fmt.Errorf("read checkpoint: %w", err)
	}
	return ledger.Position(at), nil
}
