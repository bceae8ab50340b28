package journal

import (
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// Root keys of the file (FORMAT.md):
//
//	"m"                             bucket: identity, marks, checkpoint
//	"r" ‖ first u64                 bucket: a segment's records, key seq u64
//	"i" ‖ segment u64 ‖ first u64   bucket: one index run under "e"
const (
	prefixRun     = 'i'
	prefixSegment = 'r'
)

var (
	bucketMeta    = []byte("m")
	keyIdentity   = []byte("identity")
	keyMarks      = []byte("marks")
	keyCheckpoint = []byte("checkpoint")
	keyRun        = []byte("e")
)

// segment is a bucket of consecutive records.
type segment struct{ first uint64 }

func (s segment) name() []byte {
	return binary.BigEndian.AppendUint64([]byte{prefixSegment}, s.first)
}

func (r runName) name() []byte {
	b := binary.BigEndian.AppendUint64([]byte{prefixRun}, r.segment)
	return binary.BigEndian.AppendUint64(b, r.first)
}

func keySeq(k []byte) uint64 { return binary.BigEndian.Uint64(k) }

// segmentsOf lists the segments, oldest first.
func segmentsOf(tx *bolt.Tx) []segment {
	var segs []segment
	c := tx.Cursor()
	for k, _ := c.Seek([]byte{prefixSegment}); k != nil && k[0] == prefixSegment; k, _ = c.Next() {
		if len(k) == 9 {
			segs = append(segs, segment{keySeq(k[1:])})
		}
	}
	return segs
}

func putMeta(tx *bolt.Tx, k []byte, v any) error {
	b, err := encodeMeta(v)
	if err != nil {
		return err
	}
	return tx.Bucket(bucketMeta).Put(k, b)
}

// put writes the planned rows, opens segments where one is full, and moves the
// index out of memory when there is enough of it or its segment ends.
func (t *transaction) put(tx *bolt.Tx) error {
	hooks := t.c.j.opts.hooks
	if err := hooks.at("put"); err != nil {
		return err
	}
	fresh := make([]runItem, 0, len(t.rows))
	var b *bolt.Bucket
	for i := range t.rows {
		r := &t.rows[i]
		last := len(t.segs) - 1
		if last < 0 || r.after.seq-t.segs[last].first >= uint64(t.c.j.opts.SegmentEvents) {
			if last >= 0 {
				if err := t.flush(tx, fresh, r.before.seq, true); err != nil {
					return err
				}
				fresh = fresh[:0]
			}
			if err := setEnd(b, r.before.seq); err != nil {
				return err
			}
			var err error
			if b, err = t.openSegment(tx, r.before); err != nil {
				return err
			}
		} else if b == nil {
			b = tx.Bucket(t.segs[last].name())
			b.FillPercent = fillAppend
		}
		if err := b.Put(key(r.after.seq), r.value); err != nil {
			return fmt.Errorf("put record %d: %w", r.after.seq, err)
		}
		if r.item.id == (protocol.EventID{}) {
			continue // a lost record's marker
		}
		fresh = append(fresh, runItem{r.item.id, entry{r.after.seq, r.item.content}})
	}
	if n := len(t.rows); n > 0 {
		if err := setEnd(b, t.rows[n-1].after.seq); err != nil {
			return err
		}
	}
	waiting := len(fresh)
	if !t.flushed {
		waiting += len(t.c.mem)
	}
	if waiting < indexMemMax || len(fresh) == 0 {
		return nil
	}
	return t.flush(tx, fresh, fresh[len(fresh)-1].seq, false)
}

// setEnd notes a segment's last seq as its bucket's sequence, which stands in
// the parent page. So a segment that lost its end to a damaged page, or whose
// branch points to an older copy of a page, is not taken for a shorter one.
func setEnd(b *bolt.Bucket, seq uint64) error {
	if b == nil { // nothing was put into it by this transaction
		return nil
	}
	if err := b.SetSequence(seq); err != nil {
		return fmt.Errorf("note end of segment: %w", err)
	}
	return nil
}

const fillAppend = 0.95 // of a page: nothing is ever inserted between

func (t *transaction) openSegment(tx *bolt.Tx, before tip) (*bolt.Bucket, error) {
	s := segment{first: before.seq + 1}
	b, err := tx.CreateBucket(s.name())
	if err != nil {
		return nil, fmt.Errorf("create segment %d: %w", s.first, err)
	}
	b.FillPercent = fillAppend
	if err := b.Put(key(0), headerValue(before)); err != nil {
		return nil, fmt.Errorf("put header of segment %d: %w", s.first, err)
	}
	t.segs = append(slices.Clip(t.segs), s)
	return b, nil
}

// flush writes what is in memory and fresh, up to seq, as a run of the newest
// segment, merging older runs of it, and bounds the next open's scan there.
func (t *transaction) flush(tx *bolt.Tx, fresh []runItem, seq uint64, seal bool) error {
	if err := t.c.j.opts.hooks.at("index"); err != nil {
		return err
	}
	seg := t.segs[len(t.segs)-1].first
	items := make([]runItem, 0, len(t.c.mem)+len(fresh))
	if !t.flushed {
		for id, e := range t.c.mem {
			items = append(items, runItem{id, e})
		}
	}
	items = append(items, fresh...)
	t.flushed, t.indexed = true, seq
	own := 0 // runs of this segment stand last
	for own < len(t.runs) && t.runs[len(t.runs)-1-own].segment == seg {
		own++
	}
	mine := t.runs[len(t.runs)-own:]
	take := mergeTail(mine, len(items), seal)
	first := seg
	if own > 0 {
		last := mine[len(mine)-1]
		first = last.first + uint64(last.count)
	}
	for _, r := range mine[len(mine)-take:] {
		run := runBytes(tx, r)
		if err := checkRun(run); err != nil {
			return err
		}
		items = runItems(items, run)
		first = min(first, r.first)
		if err := tx.DeleteBucket(r.name()); err != nil {
			return fmt.Errorf("delete index run: %w", err)
		}
	}
	if len(items) > 0 {
		sortRun(items)
		name := runName{segment: seg, first: first, count: len(items), filter: filterOfItems(items)}
		if err := putRun(tx, name, items); err != nil {
			return err
		}
		t.runs = append(slices.Clone(t.runs[:len(t.runs)-take]), name)
	}
	return t.putCheckpoint(tx, seq)
}

// putCheckpoint writes registers as of the last record in the runs.
func (t *transaction) putCheckpoint(tx *bolt.Tx, seq uint64) error {
	regs := make(registers, len(t.c.regs))
	for n, us := range t.c.regs {
		regs[n] = us
	}
	for i := range t.rows {
		if t.rows[i].after.seq <= seq {
			regs.seen(t.rows[i].item.register, t.rows[i].after.us)
		}
	}
	cp := checkpoint{Seq: seq}
	for n, us := range regs {
		cp.Registers = append(cp.Registers, protocol.RegisterSeen{Register: n, LastUS: us})
	}
	return putMeta(tx, keyCheckpoint, cp)
}

func putRun(tx *bolt.Tx, name runName, items []runItem) error {
	b, err := tx.CreateBucket(name.name())
	if err != nil {
		return fmt.Errorf("create index run: %w", err)
	}
	if err := b.Put(keyRun, appendRun(make([]byte, 0, 4+runEntry*len(items)), items)); err != nil {
		return fmt.Errorf("put index run: %w", err)
	}
	return nil
}

// runBytes is the value of a run, valid inside tx.
func runBytes(tx *bolt.Tx, r runName) []byte {
	b := tx.Bucket(r.name())
	if b == nil {
		return nil
	}
	return b.Get(keyRun)
}

// finder looks ids up: memory first, then those runs, from the newest, whose
// filters do not rule it out. A run is opened once per transaction.
func (c *committer) finder(tx *bolt.Tx) func(protocol.EventID) (entry, bool) {
	var opened map[int][]byte
	return func(id protocol.EventID) (entry, bool) {
		if e, ok := c.mem[id]; ok {
			return e, true
		}
		for i := len(c.runs) - 1; i >= 0; i-- {
			if !c.runs[i].filter.mayHold(&id) {
				continue
			}
			run, ok := opened[i]
			if !ok {
				if run = runBytes(tx, c.runs[i]); opened == nil {
					opened = make(map[int][]byte, 1)
				}
				opened[i] = run
			}
			if e, ok := findInRun(run, id); ok {
				return e, true
			}
		}
		return entry{}, false
	}
}
