package bolt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

const stateOpen = "open"

// stored is an exception on disk: the kind is kept by number, since one that
// this version does not know has no name to be read back by.
type stored struct {
	protocol.Exception
	Kind uint8 `json:"kind,omitempty"`
}

// Each exception stands in the index under every way it is listed:
//
//	'a' state 0 id · 'b' code 0 id · 'c' store 0 id · 'd' state 0 code 0 id
//
// all in order of id, so that a page continues behind the last id seen.
func exIndexKeys(e *protocol.Exception) [4][]byte {
	return [4][]byte{
		exIndexKey('a', e.State, e.ID), exIndexKey('b', e.Code, e.ID),
		exIndexKey('c', string(e.Origin.Store), e.ID), exIndexKey('d', e.State+"\x00"+e.Code, e.ID),
	}
}

func exIndexKey(way byte, name, id string) []byte {
	k := make([]byte, 0, 2+len(name)+len(id))
	return append(append(append(append(k, way), name...), 0), id...)
}

func checkException(e *protocol.Exception) error {
	for _, s := range []struct{ field, v string }{{"id", e.ID}, {"state", e.State}, {"code", e.Code}} {
		if s.v == "" || len(s.v) > exceptionIDMax || strings.IndexByte(s.v, 0) >= 0 {
			return fmt.Errorf("put exception %q: its %s must be 1 to %d bytes without zeros", e.ID, s.field, exceptionIDMax)
		}
	}
	return nil
}

func (w *writer) putExceptions(tx *bbolt.Tx) error {
	w.opened = 0
	rows, index := tx.Bucket(bucketExceptions), tx.Bucket(bucketExIndex)
	for i := range w.b.Exceptions {
		e := &w.b.Exceptions[i]
		if err := checkException(e); err != nil {
			return err
		}
		key := []byte(e.ID)
		if v := rows.Get(key); v != nil {
			old, err := decodeException(key, v)
			if err != nil {
				return err
			}
			for _, k := range exIndexKeys(&old) {
				if err := index.Delete(k); err != nil {
					return fmt.Errorf("unlist exception %q: %w", e.ID, err)
				}
			}
			if old.State == stateOpen {
				w.opened--
			}
		}
		v, err := encodeException(e)
		if err != nil {
			return err
		}
		if err := rows.Put(key, sealed(key, v)); err != nil {
			return fmt.Errorf("put exception %q: %w", e.ID, err)
		}
		for _, k := range exIndexKeys(e) {
			if err := index.Put(k, []byte{}); err != nil {
				return fmt.Errorf("list exception %q: %w", e.ID, err)
			}
		}
		if e.State == stateOpen {
			w.opened++
		}
	}
	return nil
}

func encodeException(e *protocol.Exception) ([]byte, error) {
	v, err := json.Marshal(stored{Exception: *e, Kind: uint8(e.Kind)})
	if err != nil {
		return nil, fmt.Errorf("encode exception %q: %w", e.ID, err)
	}
	return v, nil
}

func decodeException(key, v []byte) (protocol.Exception, error) {
	payload, err := unseal("exception", key, v)
	if err != nil {
		return protocol.Exception{}, err
	}
	var s stored
	if err := json.Unmarshal(payload, &s); err != nil {
		return protocol.Exception{}, fmt.Errorf("decode exception %q: %w: %w", key, ledger.ErrCorrupt, err)
	}
	s.Exception.Kind = protocol.Kind(s.Kind)
	return s.Exception, nil
}

func (l *Ledger) loadOpenExceptions(tx *bbolt.Tx) error {
	prefix := exIndexKey('a', stateOpen, "")
	c := tx.Bucket(bucketExIndex).Cursor()
	for k, _ := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, _ = c.Next() {
		l.openEx++
	}
	return nil
}

// CountExceptions implements ledger.Ledger, from memory.
func (l *Ledger) CountExceptions() (int, error) {
	if err := l.failed(); err != nil {
		return 0, fmt.Errorf("count exceptions: %w", err)
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.openEx, nil
}

// Exception implements ledger.Ledger.
func (l *Ledger) Exception(id string) (e protocol.Exception, err error) {
	if err := l.failed(); err != nil {
		return e, fmt.Errorf("read exception %q: %w", id, err)
	}
	err = l.view(func(tx *bbolt.Tx) error {
		v := tx.Bucket(bucketExceptions).Get([]byte(id))
		if v == nil {
			return ledger.ErrNotFound
		}
		e, err = decodeException([]byte(id), v)
		return err
	})
	if err != nil {
		return e, fmt.Errorf("read exception %q: %w", id, err)
	}
	return e, nil
}

// Exceptions implements ledger.Ledger, in order of id. It takes the narrowest
// index that the filter allows and looks at the rows for the rest of it.
func (l *Ledger) Exceptions(f ledger.Filter) ([]protocol.Exception, error) {
	if err := l.failed(); err != nil {
		return nil, fmt.Errorf("list exceptions: %w", err)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = exceptionsPage
	}
	limit = min(limit, exceptionsMax)
	list := exLister{f: f, limit: limit, after: f.After, bucket: bucketExIndex}
	switch {
	case f.Store != "":
		list.prefix = exIndexKey('c', string(f.Store), "")
	case f.State != "" && f.Code != "":
		list.prefix = exIndexKey('d', f.State+"\x00"+f.Code, "")
	case f.State != "":
		list.prefix = exIndexKey('a', f.State, "")
	case f.Code != "":
		list.prefix = exIndexKey('b', f.Code, "")
	default:
		list.bucket = bucketExceptions
	}
	for !list.done {
		if err := l.view(list.page); err != nil {
			return nil, fmt.Errorf("list exceptions: %w", err)
		}
	}
	return list.out, nil
}

// exLister gathers one answer over several short transactions.
type exLister struct {
	f      ledger.Filter
	limit  int
	bucket []byte
	prefix []byte
	after  string
	out    []protocol.Exception
	done   bool
}

func (x *exLister) page(tx *bbolt.Tx) error {
	rows := tx.Bucket(bucketExceptions)
	c := tx.Bucket(x.bucket).Cursor()
	from := append(bytes.Clone(x.prefix), x.after...)
	k, _ := c.Seek(from)
	for looked := 0; looked < listRowsMax; looked++ {
		if x.after != "" && bytes.Equal(k, from) {
			k, _ = c.Next()
		}
		if k == nil || !bytes.HasPrefix(k, x.prefix) || len(x.out) >= x.limit {
			x.done = true
			return nil
		}
		id := k[len(x.prefix):]
		x.after = string(id)
		v := rows.Get(id)
		if v == nil {
			return fmt.Errorf("%w: exception %q is listed but missing", ledger.ErrCorrupt, id)
		}
		e, err := decodeException(id, v)
		if err != nil {
			return err
		}
		if x.f.Match(&e) {
			x.out = append(x.out, e)
		}
		k, _ = c.Next()
	}
	return nil
}
