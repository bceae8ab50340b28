package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// Inspection is what Inspect found in a journal's file.
type Inspection struct {
	Path      string
	FileBytes int64
	InUse     bool // a process has it open: it was read as it stood

	InstallID, Origin string
	CreatedUS         int64
	Epoch             uint64
	Merged, Safe      uint64

	Tail, Head            uint64 // of the records; Head = Tail-1 where there is none
	ChainTail, ChainHead  protocol.Chain
	Records               uint64 // verified
	Lost                  uint64 // of these, markers of records that a former salvage could not read
	IndexRuns, IndexedIDs int

	// Damage is the first damage; nil when all is sound. Readable then is the
	// number of records that a salvage would keep.
	Damage   *CorruptError
	Readable uint64
}

// Each is called with a verified record; before and after are the chains in front
// of it and behind it. rec is valid during the call.
type Each func(seq uint64, recordUS int64, rec []byte, before, after protocol.Chain) error

// Inspect verifies the journal at path from seq from on (0 = all): meta pages,
// tree, names, the checksum and chain of each record, and the index. It takes no
// lock, writes nothing and cannot be brought down by a damaged page, so it may
// run beside a working agent; what is appended after it began is left out.
// Damage is told in the result; errors mean that the file could not be read.
//
// each, if given, is called once per verified record, in order. An error of it
// ends the inspection and is returned.
func Inspect(ctx context.Context, path string, from uint64, each Each) (*Inspection, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("inspect journal: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	n := inspection{f: f, from: from, each: each}
	n.r.Path, n.r.InUse = path, inUse(path)
	if err := n.run(ctx); err != nil {
		return nil, fmt.Errorf("inspect journal: %w", err)
	}
	return &n.r, nil
}

// CheckFile opens the file as the agent would, with bbolt, which walks all pages,
// and verifies every record. It changes nothing. bbolt may panic over a damaged
// file in a goroutine of its own: call it in a process that may die.
func CheckFile(path string) error {
	opts := boltOptions()
	opts.ReadOnly, opts.PreLoadFreelist = true, true
	var db *bolt.DB
	err := safely("open", func() (err error) {
		db, err = bolt.Open(path, 0o600, opts)
		return classify(path, err)
	})
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // read only
	var c committer
	c.j = &Journal{db: db}
	return safely("check", func() error { return c.load(true) })
}

// InUse tells whether a process has the journal at path open. It asks for bbolt's
// lock, for a moment.
func InUse(path string) bool {
	_, err := os.Stat(path)
	return err == nil && inUse(path)
}

func inUse(path string) bool {
	opts := boltOptions()
	opts.ReadOnly, opts.Timeout = true, time.Millisecond
	var db *bolt.DB
	err := safely("lock", func() (err error) {
		db, err = bolt.Open(path, 0o600, opts)
		return classify(path, err)
	})
	if db != nil {
		_ = safely("unlock", db.Close)
	}
	return errors.Is(err, ErrLocked)
}

// inspection walks a file that may change under its eyes. Records never change,
// and the pages of full leaves are never written again; only the right edge of
// the tree is. So what fails while the file changes is looked at again from the
// record where it failed, under the meta page that is then the newest.
type inspection struct {
	f    *os.File
	from uint64
	each Each

	r      Inspection
	at     tip    // behind the last verified record
	placed bool   // at is set
	target uint64 // head when the inspection began
	failed error  // of each: the caller's
}

func (n *inspection) run(ctx context.Context) error {
	info, err := n.f.Stat()
	if err != nil {
		return err
	}
	n.r.FileBytes = info.Size()
	pause := time.NewTimer(0)
	defer pause.Stop()
	var seen tip
	for try := 0; ; try++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		before := n.txid()
		err := n.pass(ctx)
		if err == nil || !isCorrupt(err) || n.failed != nil {
			return err
		}
		if n.at != seen {
			seen, try = n.at, 0
		}
		// Nothing was written meanwhile: the damage is no page in the making.
		if still := before != 0 && before == n.txid(); (still && try > 0) || try >= inspectRetries {
			return n.damaged(err)
		}
		pause.Reset(time.Duration(try+1) * 5 * time.Millisecond)
	}
}

// txid is the number of the newest transaction; 0 where no meta page is sound.
func (n *inspection) txid() uint64 {
	m, err := newestMeta(fileSource(n.f))
	if err != nil {
		return 0
	}
	return m.txid
}

// pass verifies what stands behind n.at.
func (n *inspection) pass(ctx context.Context) error {
	read := fileSource(n.f)
	meta, err := newestMeta(read)
	if err != nil {
		return err
	}
	if err := bothMetas(read, meta.pageSize); err != nil {
		return err
	}
	t := &tree{read: read, meta: meta}
	list, err := t.buckets()
	if err != nil {
		return err
	}
	var segs, runs []branch
	named := false
	for _, b := range list {
		switch {
		case string(b.name) == string(bucketMeta):
			named = true
			if err := n.metas(t, b); err != nil {
				return err
			}
		case b.name[0] == prefixSegment && len(b.name) == 9:
			segs = append(segs, b)
		case b.name[0] == prefixRun && len(b.name) == 17:
			runs = append(runs, b)
		default:
			return damaged("name of a bucket", fmt.Sprintf("%x", b.name), "meta, a segment or an index run")
		}
	}
	if !named {
		return damaged("meta bucket", "none", "one")
	}
	if err := n.records(ctx, t, segs); err != nil {
		return err
	}
	if err := n.index(t, runs); err != nil {
		return err
	}
	info, err := n.f.Stat()
	if err != nil {
		return err
	}
	return inspectPages(read, info.Size())
}

func (n *inspection) metas(t *tree, b branch) error {
	var id identity
	var m marks
	var cp checkpoint
	for _, v := range []struct {
		key []byte
		to  any
	}{{keyIdentity, &id}, {keyMarks, &m}, {keyCheckpoint, &cp}} {
		raw, err := t.get(b, v.key)
		if err != nil {
			return err
		}
		if err := decodeMeta(string(v.key), raw, v.to); err != nil {
			return err
		}
	}
	var failed error
	_, err := readSetBack(math.MaxUint64, func(k []byte) []byte {
		raw, err := t.get(b, k)
		failed = errors.Join(failed, err)
		return raw
	})
	if err := cmp.Or(failed, err); err != nil {
		return err
	}
	if id.Format != formatVersion {
		return fmt.Errorf("format %d of the file is not %d: use the agent that wrote it, or a newer one", id.Format, formatVersion)
	}
	n.r.InstallID, n.r.Origin, n.r.CreatedUS = id.InstallID, id.Origin, id.CreatedUS
	n.r.Epoch, n.r.Merged, n.r.Safe = m.Epoch, m.Merged, m.Safe
	return nil
}

// records verifies the segments' records from n.at to the target.
func (n *inspection) records(ctx context.Context, t *tree, segs []branch) error {
	if len(segs) == 0 {
		if !n.placed {
			n.r.Tail = 1
		}
		return nil
	}
	end, err := segmentEnd(t, segs[len(segs)-1])
	if err != nil {
		return err
	}
	if n.target == 0 {
		n.target = end
	}
	if err := n.place(t, segs); err != nil {
		return err
	}
	for i, s := range segs {
		first, last := keySeq(s.name[1:]), end
		if i+1 < len(segs) {
			last = keySeq(segs[i+1].name[1:]) - 1
		}
		if got, err := segmentEnd(t, s); err != nil {
			return err
		} else if got != last {
			return damaged(fmt.Sprintf("end of segment %d", first), got, last)
		}
		before, err := header(t, s)
		if err != nil {
			return err
		}
		if n.at.seq == before.seq && n.at != before {
			return damaged(fmt.Sprintf("header of segment %d", first), before.chain, n.at.chain)
		}
		if n.at.seq >= last || n.at.seq >= n.target {
			continue
		}
		if err := t.each(s, key(n.at.seq+1), func(e element) (bool, error) { return n.record(ctx, e) }); err != nil {
			return err
		}
		if n.at.seq < min(last, n.target) {
			return damaged(fmt.Sprintf("record %d", n.at.seq+1), "none", "a record")
		}
	}
	return nil
}

// segmentEnd is the last seq of a segment, compared with what its parent says.
func segmentEnd(t *tree, s branch) (uint64, error) {
	k, err := t.last(s)
	if err != nil {
		return 0, err
	}
	if len(k) != 8 || keySeq(k) == 0 || (s.sequence != 0 && s.sequence != keySeq(k)) {
		return 0, damaged(fmt.Sprintf("last key of segment %x", s.name[1:]), fmt.Sprintf("%x", k), s.sequence)
	}
	return keySeq(k), nil
}

// header reads the tip in front of a segment.
func header(t *tree, s branch) (tip, error) {
	raw, err := t.get(s, key(0))
	if err != nil {
		return tip{}, err
	}
	return decodeHeader(keySeq(s.name[1:]), raw)
}

// place sets n.at in front of the first record to verify: the tail, or n.from.
// Where segments were trimmed meanwhile it moves on to what is retained.
func (n *inspection) place(t *tree, segs []branch) error {
	first := keySeq(segs[0].name[1:])
	if n.placed && n.at.seq+1 >= first {
		return nil
	}
	base, err := header(t, segs[0])
	if err != nil {
		return err
	}
	if !n.placed {
		n.r.Tail, n.r.ChainTail = first, base.chain
	}
	n.at, n.placed = base, true
	n.r.Head, n.r.ChainHead = base.seq, base.chain
	if n.from <= first {
		return nil
	}
	return n.skipTo(t, segs, min(n.from, n.target+1)-1)
}

// skipTo places n.at behind a record, trusting its checksum.
func (n *inspection) skipTo(t *tree, segs []branch, seq uint64) error {
	i := len(segs) - 1
	for i > 0 && keySeq(segs[i].name[1:]) > seq {
		i--
	}
	raw, err := t.get(segs[i], key(seq))
	if err != nil {
		return err
	}
	r, err := decodeValue(seq, raw)
	if err != nil {
		return err
	}
	us, err := r.recordTime()
	if err != nil {
		return damaged(fmt.Sprintf("time of record %d", seq), err, "a varint")
	}
	n.at = tip{seq: seq, us: us, total: r.total, chain: r.chain}
	n.r.Tail, n.r.ChainTail, n.r.Head, n.r.ChainHead = seq+1, r.chain, seq, r.chain
	return nil
}

func (n *inspection) record(ctx context.Context, e element) (bool, error) {
	seq := n.at.seq + 1
	if len(e.key) != 8 || keySeq(e.key) != seq || e.bucket {
		return false, damaged(fmt.Sprintf("record %d", seq), fmt.Sprintf("key %x", e.key), "the next seq")
	}
	r, err := decodeValue(seq, e.value)
	if err != nil {
		return false, err
	}
	after, err := n.at.follow(r)
	if err != nil {
		return false, err
	}
	if n.each != nil {
		if n.failed = n.each(seq, after.us, r.record, n.at.chain, after.chain); n.failed != nil {
			return false, n.failed
		}
	}
	n.at, n.r.Head, n.r.ChainHead = after, seq, after.chain
	n.r.Records++
	if _, event, err := protocol.SplitRecord(r.record); err == nil && string(event) == string(lostMarker) {
		n.r.Lost++
	}
	if seq%1024 == 0 && ctx.Err() != nil {
		return false, ctx.Err()
	}
	return seq < n.target, nil
}

func (n *inspection) index(t *tree, runs []branch) error {
	n.r.IndexRuns, n.r.IndexedIDs = len(runs), 0
	for _, b := range runs {
		raw, err := t.get(b, keyRun)
		if err != nil {
			return err
		}
		if err := checkRun(raw); err != nil {
			return err
		}
		n.r.IndexedIDs += (len(raw) - 4) / runEntry
	}
	return nil
}

// damaged notes the damage, and what a salvage would still find.
func (n *inspection) damaged(err error) error {
	if !errors.As(err, &n.r.Damage) {
		return err
	}
	found, err := sweep(n.f)
	if err != nil {
		return err
	}
	low := found.low()
	seqs := make([]uint64, 0, len(found.records))
	for _, r := range found.records {
		if r.seq >= low {
			seqs = append(seqs, r.seq)
		}
	}
	slices.Sort(seqs)
	n.r.Readable = uint64(len(slices.Compact(seqs)))
	return nil
}
