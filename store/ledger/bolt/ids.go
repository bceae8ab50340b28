package bolt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sort"

	"go.etcd.io/bbolt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// The index of event ids. A B+tree would touch a page for each event, for ids
// are random; so they are gathered instead:
//
//	commit ──► hot map (memory) ──seal──► run, tier 0 ──merge 4──► run, tier 1 ──► …
//
// The hot map holds the ids behind meta "sealed" and is filled again from the
// log at Open. A run is sorted and never changed; a filter in memory keeps most
// lookups of unknown ids from the disk.

// run is a sorted run as it is kept in memory.
type run struct {
	runHead
	bloom  bloom
	fences []protocol.EventID // first id of each chunk
}

// Keys in a run's bucket: a letter and the part's number.
const (
	keyBloom = 'b'
	keyChunk = 'c'
	keyFence = 'f'
)

func partKey(kind byte, no uint64) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(no))
}

// Find implements ledger.Ledger. Of an id that was committed twice, against the
// contract, it tells the newest.
func (l *Ledger) Find(id protocol.EventID) (p ledger.Position, content [8]byte, ok bool, err error) {
	l.mu.RLock()
	if h := l.hot.find(&id); h != nil {
		p, content = ledger.Position(h.pos), h.content
		l.mu.RUnlock()
		return p, content, true, nil
	}
	h1, h2 := bloomHash(id)
	for i, r := range l.runs {
		if r.bloom.has(h1, h2) {
			e, ok, err := l.findInRuns(l.runs[i:], id, h1, h2) // unlocks mu
			if err != nil {
				return 0, content, false, fmt.Errorf("find event %s: %w", id, err)
			}
			return ledger.Position(e.pos), e.content, ok, nil
		}
	}
	l.mu.RUnlock()
	return 0, content, false, nil
}

// findInRuns is called with mu held for reading and gives it back once its
// transaction has begun: the runs it was given exist in that one.
func (l *Ledger) findInRuns(runs []*run, id protocol.EventID, h1, h2 uint64) (e idEntry, ok bool, err error) {
	tx, err := l.db.Begin(false)
	l.mu.RUnlock()
	if err != nil {
		return e, false, err
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	for _, r := range runs {
		if !r.bloom.has(h1, h2) {
			continue
		}
		n := sort.Search(len(r.fences), func(i int) bool { return bytes.Compare(r.fences[i][:], id[:]) > 0 })
		if n == 0 {
			continue
		}
		first := n - 1
		if first > 0 && r.fences[first] == id {
			first-- // equal ids may begin in the chunk before
		}
		for i := first; i < n; i++ {
			chunk, err := readIDChunk(tx, r, uint64(i))
			if err != nil {
				return e, false, err
			}
			if e, ok := searchIDChunk(chunk, id); ok {
				return e, true, nil
			}
		}
	}
	return e, false, nil
}

// readIDChunk returns a verified chunk, valid within tx.
func readIDChunk(tx *bbolt.Tx, r *run, no uint64) ([]byte, error) {
	name, key, first := key64(r.no), partKey(keyChunk, no), no-no%runValueChunks
	bucket := tx.Bucket(bucketIDs).Bucket(name[:])
	if bucket == nil {
		return nil, fmt.Errorf("%w: run %d of the id index is missing", ledger.ErrCorrupt, r.no)
	}
	value := bucket.Get(partKey(keyChunk, no/runValueChunks))
	if want := chunkBytes(r.count, first, min(first+runValueChunks, r.chunks)); uint64(len(value)) != want {
		return nil, fmt.Errorf("read run %d chunk %d: %w: %d bytes, want %d", r.no, no, ledger.ErrCorrupt, len(value), want)
	}
	from := chunkBytes(r.count, first, no)
	chunk, err := unseal("id chunk", key, value[from:from+chunkBytes(r.count, no, no+1)])
	if err != nil {
		return nil, fmt.Errorf("read run %d: %w", r.no, err)
	}
	return chunk, nil
}

// errIndex marks damage of the index, which can be made again from the log.
var errIndex = errors.New("id index is damaged")

// loadRuns reads the manifest with filters and fences, and lists what lies
// about of runs that were not finished or not yet deleted.
func (l *Ledger) loadRuns(tx *bbolt.Tx) error {
	ids := tx.Bucket(bucketIDs)
	err := tx.Bucket(bucketRuns).ForEach(func(k, v []byte) error {
		payload, err := unseal("run", k, v)
		if err != nil {
			return err
		}
		if len(k) != 8 {
			return fmt.Errorf("%w: run has key %x", ledger.ErrCorrupt, k)
		}
		h, ok := decodeRunHead(binary.BigEndian.Uint64(k), payload)
		bucket := ids.Bucket(k)
		if !ok || bucket == nil {
			return fmt.Errorf("%w: run %x has head %x, bucket %t", ledger.ErrCorrupt, k, payload, bucket != nil)
		}
		r := &run{runHead: h}
		if err := r.load(bucket); err != nil {
			return err
		}
		l.runs = append(l.runs, r)
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", errIndex, err)
	}
	sortRuns(l.runs)
	return ids.ForEachBucket(func(k []byte) error {
		no := binary.BigEndian.Uint64(k)
		if !slices.ContainsFunc(l.runs, func(r *run) bool { return r.no == no }) {
			l.keep.dead = append(l.keep.dead, no)
		}
		return nil
	})
}

func sortRuns(runs []*run) {
	slices.SortFunc(runs, func(a, b *run) int {
		if a.last > b.last {
			return -1
		}
		return 1
	})
}

func (r *run) load(bucket *bbolt.Bucket) error {
	r.bloom = newBloom(r.count, r.tier)
	for i, rest := uint64(0), []uint64(r.bloom); i < r.parts; i++ {
		n := min(len(rest), bloomPartWords)
		b, err := readPart(bucket, keyBloom, i, 8*n)
		if err != nil {
			return fmt.Errorf("read run %d: %w", r.no, err)
		}
		decodeWords(rest[:n], b)
		rest = rest[n:]
	}
	r.fences = make([]protocol.EventID, r.chunks)
	for i := uint64(0); i*fencesPerPart < r.chunks; i++ {
		part := r.fences[i*fencesPerPart : min((i+1)*fencesPerPart, r.chunks)]
		b, err := readPart(bucket, keyFence, i, 16*len(part))
		if err != nil {
			return fmt.Errorf("read run %d: %w", r.no, err)
		}
		for j := range part {
			copy(part[j][:], b[16*j:])
		}
	}
	return nil
}

func readPart(bucket *bbolt.Bucket, kind byte, no uint64, want int) ([]byte, error) {
	key := partKey(kind, no)
	b, err := unseal("part", key, bucket.Get(key))
	if err == nil && len(b) != want {
		err = fmt.Errorf("read part %s: %w: %d bytes, want %d", key, ledger.ErrCorrupt, len(b), want)
	}
	return b, err
}

// dropIndex forgets all runs in one transaction; loadHot makes them anew.
func (l *Ledger) dropIndex() error {
	l.runs, l.keep.dead = nil, nil
	return l.update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(bucketRuns); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(bucketRuns); err != nil {
			return err
		}
		if err := putMeta(tx, metaSealed, 0); err != nil {
			return err
		}
		return l.loadRuns(tx) // lists what is dead now
	})
}

// loadHot fills the hot map from the log behind the last seal, sealing on the
// way where that is more than memory should hold.
func (l *Ledger) loadHot() error {
	var sealedTo uint64
	err := l.view(func(tx *bbolt.Tx) (err error) {
		sealedTo, err = getMeta(tx, metaSealed)
		return err
	})
	if err != nil {
		return err
	}
	if head := l.head.Load(); sealedTo > head {
		return fmt.Errorf("%w: ids are sealed to %d, log ends at %d", ledger.ErrCorrupt, sealedTo, head)
	}
	return l.Scan(ledger.Position(sealedTo)+1, func(e *ledger.Entry) error {
		if e.Ref == 0 {
			l.hot.put(idEntry{id: e.EventID, content: e.Content, pos: uint64(e.Position)})
		}
		if l.opts.ReadOnly || l.hot.len() < 2*l.opts.IDsHot {
			return nil
		}
		return l.seal(uint64(e.Position))
	})
}
