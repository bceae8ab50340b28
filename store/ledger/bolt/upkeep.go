package bolt

import (
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"tillwire/store/ledger"
)

// upkeep is the writer's own memory of work that the id index has in hand. All
// of it may be lost: what a crash leaves half done is in no manifest, and Open
// lists it as dead.
type upkeep struct {
	merges map[uint64]*merge // by tier
	dead   []uint64          // runs whose chunks are still to be deleted
	closed bool
}

// upkeep does what is due before a batch of n entries: each step is a small
// transaction, and their number is bounded by n.
func (l *Ledger) upkeep(n int) error {
	if l.hot.len() >= l.opts.IDsHot { // written under commitMu only
		if err := l.seal(l.head.Load()); err != nil {
			return err
		}
	}
	l.planMerges()
	for _, tier := range slices.Sorted(maps.Keys(l.keep.merges)) {
		m := l.keep.merges[tier]
		for m.credit += n * mergeCredit; m.credit >= int(min(mergeStepIDs, m.left)); {
			if err := l.stepMerge(m); err != nil {
				return fmt.Errorf("merge runs of tier %d: %w", tier, err)
			}
			if m.done {
				delete(l.keep.merges, tier)
				break
			}
			if m.left == 0 {
				break // only parts of the filter are left: one step a commit
			}
		}
	}
	if len(l.keep.dead) > 0 {
		if err := l.bury(); err != nil {
			return fmt.Errorf("delete run: %w", err)
		}
	}
	return nil
}

// seal turns the hot map, which holds the ids up to position upTo, into a run
// of tier 0. A crash before its commit leaves the ids to the log's tail; after
// it, to the run: never to neither.
func (l *Ledger) seal(upTo uint64) error {
	start := l.opts.Now()
	ids := sortIDs(l.hot.all())
	b := newRunBuilder(uint64(len(ids)), 0)
	err := l.update(func(tx *bbolt.Tx) error {
		if err := l.step("seal"); err != nil {
			return err
		}
		if err := b.begin(tx); err != nil {
			return err
		}
		for value := range slices.Chunk(ids, runChunkIDs*runValueChunks) {
			if err := b.put(tx, value); err != nil {
				return err
			}
		}
		if _, err := b.putParts(tx, b.parts); err != nil {
			return err
		}
		if err := b.finish(tx); err != nil {
			return err
		}
		if err := putMeta(tx, metaSealed, upTo); err != nil {
			return err
		}
		return l.step("seal sync")
	})
	if err == nil {
		err = l.step("sealed")
	}
	if err != nil {
		return fmt.Errorf("seal ids: %w", err)
	}
	runs := append(slices.Clone(l.runs), &b.run)
	sortRuns(runs)
	l.mu.Lock()
	l.runs = runs
	l.hot.clear()
	l.mu.Unlock()
	l.opts.Log.Debug().Int("ids", len(ids)).Int("runs", len(runs)).Int64("dur_ms", l.opts.Now().Sub(start).Milliseconds()).Msg("ids sealed")
	return nil
}

// runBuilder writes one run, over one transaction or many.
type runBuilder struct {
	run
	name    [8]byte
	next    uint64 // chunk
	partsAt uint64
}

func newRunBuilder(count, tier uint64) *runBuilder {
	return &runBuilder{run: run{
		runHead: runHead{tier: tier, count: count, chunks: (count + runChunkIDs - 1) / runChunkIDs, parts: bloomParts(count, tier)},
		bloom:   newBloom(count, tier),
	}}
}

// begin takes a number that was never used and makes the bucket.
func (b *runBuilder) begin(tx *bbolt.Tx) error {
	no, err := getMeta(tx, metaNextRun)
	if err != nil {
		return err
	}
	if err := putMeta(tx, metaNextRun, no+1); err != nil {
		return err
	}
	b.no, b.name = no, key64(no)
	if _, err := tx.Bucket(bucketIDs).CreateBucket(b.name[:]); err != nil {
		return fmt.Errorf("create run %d: %w", no, err)
	}
	return nil
}

func (b *runBuilder) bucket(tx *bbolt.Tx) *bbolt.Bucket {
	bucket := tx.Bucket(bucketIDs).Bucket(b.name[:])
	bucket.FillPercent = fillAppend
	return bucket
}

// put appends one value: full, or the last.
func (b *runBuilder) put(tx *bbolt.Tx, ids []idEntry) error {
	key := partKey(keyChunk, b.next/runValueChunks)
	v := make([]byte, 0, runValueChunks*crcBytes+len(ids)*idBytes)
	for chunk := range slices.Chunk(ids, runChunkIDs) {
		at := len(v)
		v = appendIDChunk(append(v, make([]byte, crcBytes)...), chunk)
		seal(partKey(keyChunk, b.next), v, at)
		b.fences = append(b.fences, chunk[0].id)
		b.next++
	}
	if err := b.bucket(tx).Put(key, v); err != nil {
		return fmt.Errorf("put chunks up to %d of run %d: %w", b.next, b.no, err)
	}
	for i := range ids {
		b.bloom.add(ids[i].id)
		b.last = max(b.last, ids[i].pos)
	}
	return nil
}

// putParts writes up to n parts of the filter and tells whether all are there.
func (b *runBuilder) putParts(tx *bbolt.Tx, n uint64) (done bool, err error) {
	bucket := b.bucket(tx)
	for ; n > 0 && b.partsAt < b.parts; n-- {
		from := b.partsAt * bloomPartWords
		words := b.bloom[from:min(from+bloomPartWords, uint64(len(b.bloom)))]
		key := partKey(keyBloom, b.partsAt)
		v := appendWords(make([]byte, crcBytes, crcBytes+8*len(words)), words)
		if err := bucket.Put(key, seal(key, v, 0)); err != nil {
			return false, fmt.Errorf("put filter of run %d: %w", b.no, err)
		}
		b.partsAt++
	}
	return b.partsAt == b.parts, nil
}

// finish writes the fences and enters the run in the manifest.
func (b *runBuilder) finish(tx *bbolt.Tx) error {
	bucket := b.bucket(tx)
	no := uint64(0)
	for part := range slices.Chunk(b.fences, fencesPerPart) {
		key := partKey(keyFence, no)
		v := make([]byte, crcBytes, crcBytes+16*len(part))
		for i := range part {
			v = append(v, part[i][:]...)
		}
		if err := bucket.Put(key, seal(key, v, 0)); err != nil {
			return fmt.Errorf("put fences of run %d: %w", b.no, err)
		}
		no++
	}
	if err := tx.Bucket(bucketRuns).Put(b.name[:], sealed(b.name[:], b.encode())); err != nil {
		return fmt.Errorf("list run %d: %w", b.no, err)
	}
	return nil
}

// merge makes one run of the next tier out of runs of one tier, a step at a
// time. Its inputs answer lookups until it is finished.
type merge struct {
	inputs []*run
	at     []mergeCursor
	out    *runBuilder
	left   uint64 // ids
	credit int
	begun  bool
	done   bool
	buf    []idEntry
}

type mergeCursor struct {
	chunk uint64
	off   int
	bytes []byte // of the chunk, valid within a transaction
	head  idEntry
	has   bool
}

// planMerges begins a merge in each tier that has enough runs and none going.
func (l *Ledger) planMerges() {
	byTier := map[uint64][]*run{}
	for _, r := range l.runs {
		byTier[r.tier] = append(byTier[r.tier], r)
	}
	for tier, runs := range byTier {
		if len(runs) < runFanIn || tier >= runTiersMax || l.keep.merges[tier] != nil {
			continue
		}
		inputs := slices.Clone(runs[len(runs)-runFanIn:]) // the oldest
		m := &merge{inputs: inputs, at: make([]mergeCursor, len(inputs))}
		for _, r := range inputs {
			m.left += r.count
		}
		m.out = newRunBuilder(m.left, tier+1)
		if l.keep.merges == nil {
			l.keep.merges = map[uint64]*merge{}
		}
		l.keep.merges[tier] = m
	}
}

// stepMerge moves up to mergeStepIDs ids in one transaction, or ends the merge.
func (l *Ledger) stepMerge(m *merge) error {
	moved := 0
	err := l.update(func(tx *bbolt.Tx) error {
		if err := l.step("merge"); err != nil {
			return err
		}
		if !m.begun {
			if err := m.out.begin(tx); err != nil {
				return err
			}
			m.begun = true
		}
		var err error
		if moved, err = m.move(tx, mergeStepIDs); err != nil || m.left > 0 {
			return err
		}
		ready, err := m.out.putParts(tx, mergeStepParts)
		if err != nil || !ready {
			return err
		}
		m.done = true
		if err := m.out.finish(tx); err != nil {
			return err
		}
		for _, r := range m.inputs {
			name := key64(r.no)
			if err := tx.Bucket(bucketRuns).Delete(name[:]); err != nil {
				return fmt.Errorf("unlist run %d: %w", r.no, err)
			}
		}
		return l.step("merge sync")
	})
	if err == nil {
		err = l.step("merged")
	}
	if err != nil {
		return err
	}
	m.credit -= moved
	if m.done {
		l.replaceRuns(m)
	}
	return nil
}

// replaceRuns shows readers the merged run instead of its inputs, whose chunks
// are deleted from now on: who began a transaction before has them still.
func (l *Ledger) replaceRuns(m *merge) {
	runs := []*run{&m.out.run}
	for _, r := range l.runs {
		if slices.Contains(m.inputs, r) {
			l.keep.dead = append(l.keep.dead, r.no)
			continue
		}
		runs = append(runs, r)
	}
	sortRuns(runs)
	l.mu.Lock()
	l.runs = runs
	l.mu.Unlock()
}

// move appends up to n ids, in whole values, to the output.
func (m *merge) move(tx *bbolt.Tx, n int) (int, error) {
	moved := 0
	for i := range m.at {
		m.at[i].bytes, m.at[i].has = nil, false // of the transaction before
	}
	for moved < n && m.left > 0 {
		m.buf = m.buf[:0]
		for len(m.buf) < runChunkIDs*runValueChunks {
			e, ok, err := m.next(tx)
			if err != nil {
				return moved, err
			}
			if !ok {
				break
			}
			m.buf = append(m.buf, e)
		}
		if len(m.buf) == 0 || uint64(len(m.buf)) > m.left {
			return moved, fmt.Errorf("%w: runs have other than %d ids left", ledger.ErrCorrupt, m.left)
		}
		if err := m.out.put(tx, m.buf); err != nil {
			return moved, err
		}
		moved += len(m.buf)
		m.left -= uint64(len(m.buf))
	}
	return moved, nil
}

// next takes the least id of all inputs.
func (m *merge) next(tx *bbolt.Tx) (idEntry, bool, error) {
	least := -1
	for i := range m.at {
		if !m.at[i].has {
			if err := m.at[i].load(tx, m.inputs[i]); err != nil {
				return idEntry{}, false, err
			}
		}
		if m.at[i].has && (least < 0 || compareIDs(&m.at[i].head, &m.at[least].head) < 0) {
			least = i
		}
	}
	if least < 0 {
		return idEntry{}, false, nil
	}
	c := &m.at[least]
	c.has = false
	c.off++
	return c.head, true, nil
}

// load puts the id under the cursor into head; has stays false at the end.
func (c *mergeCursor) load(tx *bbolt.Tx, r *run) (err error) {
	if c.bytes != nil && c.off*idBytes >= len(c.bytes) {
		c.chunk, c.off, c.bytes = c.chunk+1, 0, nil
	}
	if c.chunk >= r.chunks {
		return nil
	}
	if c.bytes == nil {
		if c.bytes, err = readIDChunk(tx, r, c.chunk); err != nil {
			return err
		}
		if c.off*idBytes >= len(c.bytes) { // the transaction before ended with this chunk
			return c.load(tx, r)
		}
	}
	c.head, c.has = idChunkAt(c.bytes, c.off), true
	return nil
}

// bury deletes some chunks of a dead run, and with the last its bucket.
func (l *Ledger) bury() error {
	gone := false
	no := l.keep.dead[0]
	err := l.update(func(tx *bbolt.Tx) error {
		if err := l.step("bury"); err != nil {
			return err
		}
		ids, name := tx.Bucket(bucketIDs), key64(no)
		bucket := ids.Bucket(name[:])
		if bucket == nil {
			return fmt.Errorf("%w: run %d is missing", ledger.ErrCorrupt, no)
		}
		var keys [][]byte
		c := bucket.Cursor()
		for k, _ := c.First(); k != nil && len(keys) < buryParts; k, _ = c.Next() {
			keys = append(keys, slices.Clone(k))
		}
		for _, k := range keys {
			if err := bucket.Delete(k); err != nil {
				return err
			}
		}
		if gone = len(keys) < buryParts; gone {
			return ids.DeleteBucket(name[:])
		}
		return nil
	})
	if err != nil {
		return err
	}
	if gone {
		l.keep.dead = l.keep.dead[1:]
	}
	return nil
}
