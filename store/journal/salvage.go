package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// inspectFile checks the pages of a suspect file without bbolt.
func inspectFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("inspect file: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("inspect file: %w", err)
	}
	return inspectPages(fileSource(f), info.Size())
}

func fileSource(f *os.File) source {
	var buf []byte
	return func(off int64, n int) ([]byte, error) {
		if cap(buf) < n {
			buf = make([]byte, n)
		}
		got, err := f.ReadAt(buf[:n], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read page: %w", err)
		}
		return buf[:got], nil
	}
}

// quarantine sets the damaged file aside, for ever, and builds a new one of all
// records that are intact in it. dbMu is held and the file is closed.
//
// Crash windows: the damaged file first gets a second name; the new file takes
// the first name whole, in one rename. Where hard links do not exist the first
// name is gone for a moment: openFirst then salvages the newest *.corrupt-*.
func (c *committer) quarantine() error {
	aside := fmt.Sprintf("%s.corrupt-%d", c.path(), c.j.opts.Now().Unix())
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s.corrupt-%d-%d", c.path(), c.j.opts.Now().Unix(), n)
	}
	if err := os.Link(c.path(), aside); err != nil {
		if err := os.Rename(c.path(), aside); err != nil {
			return fmt.Errorf("set corrupt file aside: %w", err)
		}
	}
	if err := syncDir(filepath.Dir(c.path())); err != nil {
		return err
	}
	return c.salvage(aside)
}

// orphan is the newest corrupt file whose salvage was interrupted before a new
// file stood; "" if there is none.
func (c *committer) orphan() string {
	names, err := filepath.Glob(c.path() + ".corrupt-*")
	if err != nil || len(names) == 0 {
		return ""
	}
	return slices.Max(names)
}

// salvage makes a new file at the journal's path from the damaged one.
func (c *committer) salvage(damagedPath string) error {
	f, err := os.Open(damagedPath)
	if err != nil {
		return fmt.Errorf("salvage: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	found, err := sweep(f)
	if err != nil {
		return fmt.Errorf("salvage: %w", err)
	}
	value := func(r find) (row, error) {
		b := make([]byte, r.size)
		if _, err := f.ReadAt(b, r.off); err != nil {
			return row{}, fmt.Errorf("salvage record %d: %w", r.seq, err)
		}
		return decodeValue(r.seq, b)
	}
	chosen, rest := found.choose(value)
	b := builder{c: committer{j: c.j}, value: value, known: map[protocol.EventID]bool{}}
	id := c.identity("salvaged from " + filepath.Base(damagedPath))
	if err := makeFile(c.path(), id, func(db *bolt.DB) error { return b.build(db, found, chosen, rest) }); err != nil {
		return fmt.Errorf("salvage: %w", err)
	}
	c.j.counters.salvaged.Add(b.kept)
	c.j.counters.lost.Add(b.lost)
	c.boot = fmt.Sprintf("salvaged: %d records kept, %d lost%s; the damaged file is %s",
		b.kept, b.lost, b.ranges, filepath.Base(damagedPath))
	c.j.log.Error().Uint64("kept", b.kept).Uint64("lost", b.lost).Str("file", damagedPath).
		Msg("journal: salvaged a damaged file; keep it for analysis")
	return nil
}

// sweep reads a file page by page.
func sweep(f *os.File) (*finds, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	read := fileSource(f)
	found := &finds{headers: map[uint64]tip{}}
	pageSize := os.Getpagesize()
	if meta, err := newestMeta(read); err == nil {
		pageSize = meta.pageSize
		found.tail = liveTail(read, meta)
	}
	for off := int64(0); off < info.Size(); off += int64(pageSize) {
		page, err := read(off, pageSize)
		if err != nil {
			continue // an unreadable sector loses its page, no more
		}
		if len(page) < pageHead {
			break
		}
		flags, _, overflow := pageKind(page)
		if flags != pageLeaf {
			continue
		}
		if overflow > 0 {
			n := min((int64(overflow)+1)*int64(pageSize), 4*protocol.RecordBytesMax, info.Size()-off)
			if page, err = read(off, int(n)); err != nil {
				continue
			}
		}
		found.sweepPage(page, off)
	}
	return found, nil
}

// liveTail reads the first segment's name from the root page, if that is one
// sound leaf; 0 if not.
func liveTail(read source, meta pageMeta) uint64 {
	page, err := read(int64(meta.root)*int64(meta.pageSize), meta.pageSize)
	if err != nil || len(page) < pageHead {
		return 0
	}
	flags, count, overflow := pageKind(page)
	if flags != pageLeaf || overflow != 0 {
		return 0
	}
	for i := range count {
		e, ok := parseElement(page, true, i)
		if !ok {
			return 0
		}
		if e.bucket && len(e.key) == 9 && e.key[0] == prefixSegment {
			return keySeq(e.key[1:])
		}
	}
	return 0
}

// builder fills a new file with salvaged or restored records, under their own seqs.
type builder struct {
	c      committer // only its bookkeeping is used
	value  func(find) (row, error)
	known  map[protocol.EventID]bool
	rows   []planned
	kept   uint64
	lost   uint64
	ranges string
}

const builderBatch = 1000

func (b *builder) build(db *bolt.DB, found *finds, chosen, rest []find) error {
	at := tip{}
	if len(chosen) > 0 {
		at = b.start(found, chosen[0])
	}
	b.begin(at)
	for _, r := range chosen {
		if r.seq > at.seq+1 {
			b.ranges += fmt.Sprintf(" (seq %d to %d)", at.seq+1, r.seq-1)
		}
		for at.seq+1 < r.seq {
			b.lost++
			if err := b.add(db, &at, at.us, lostMarker); err != nil {
				return err
			}
		}
		if err := b.addFind(db, &at, r); err != nil {
			return err
		}
	}
	for _, r := range rest {
		if err := b.addRest(db, &at, r); err != nil {
			return err
		}
	}
	m := found.marks
	m.Merged, m.Safe = min(m.Merged, at.seq), min(m.Safe, m.Merged, at.seq)
	if err := b.finish(db, m); err != nil {
		return err
	}
	return db.Update(func(tx *bolt.Tx) error {
		for k, n := range found.setBack {
			if err := tx.Bucket(bucketMeta).Put([]byte(k), n.raw); err != nil {
				return fmt.Errorf("put set-back: %w", err)
			}
		}
		return nil
	})
}

// begin places the new file's first record behind at.
func (b *builder) begin(at tip) {
	b.c.mem, b.c.regs = map[protocol.EventID]entry{}, registers{}
	b.c.head, b.c.base = at, at
}

// finish commits what is left, and the marks.
func (b *builder) finish(db *bolt.DB, m marks) error {
	if err := b.write(db); err != nil {
		return err
	}
	m.Update++
	return db.Update(func(tx *bolt.Tx) error { return putMeta(tx, keyMarks, m) })
}

// start is the tip in front of the first record, or of the live tail where the
// records behind that are lost: from its segment's header, or, where that is lost
// too, made up with a zero chain (the aggregator then sees a fork, mints an epoch,
// and knows each event by its id).
func (b *builder) start(found *finds, first find) tip {
	if t := found.tail; t > 0 && t < first.seq && first.seq-t <= salvageFillMax {
		if before, ok := found.headers[t]; ok {
			return before
		}
		return tip{seq: t - 1}
	}
	if before, ok := found.headers[first.seq]; ok {
		return before
	}
	return tip{seq: first.seq - 1}
}

func (b *builder) addFind(db *bolt.DB, at *tip, r find) error {
	got, err := b.value(r)
	if err != nil {
		b.lost++ // it was readable a moment ago: the disk is failing
		return b.add(db, at, at.us, lostMarker)
	}
	us, event, err := protocol.SplitRecord(got.record)
	if err != nil {
		return err
	}
	b.kept++
	return b.add(db, at, us, event)
}

// addRest appends a record whose seq was given to another, unless its event is
// there already.
func (b *builder) addRest(db *bolt.DB, at *tip, r find) error {
	got, err := b.value(r)
	if err != nil {
		return nil //nolint:nilerr // a rolled back twin that cannot be read is no loss
	}
	us, event, err := protocol.SplitRecord(got.record)
	var e protocol.Event
	if err != nil || protocol.DecodeEvent(event, &e) != nil || b.known[e.ID] {
		return nil //nolint:nilerr // no event, or one that is kept
	}
	b.kept++
	return b.add(db, at, us, event)
}

func (b *builder) add(db *bolt.DB, at *tip, us int64, event []byte) error {
	item := &pending{}
	var e protocol.Event
	if protocol.DecodeEvent(event, &e) == nil {
		item.id, item.content, item.register = e.ID, e.ContentHash(), e.Register
		b.known[e.ID] = true
	}
	r := rebuilt(*at, us, event, item)
	b.rows, *at = append(b.rows, r), r.after
	if len(b.rows) < builderBatch {
		return nil
	}
	return b.write(db)
}

// write commits the rows gathered.
func (b *builder) write(db *bolt.DB) error {
	if len(b.rows) == 0 {
		return nil
	}
	t := transaction{c: &b.c, rows: b.rows, segs: b.c.segs, runs: b.c.runs}
	if err := db.Update(t.put); err != nil {
		return err
	}
	b.c.takeOver(&t)
	b.rows = b.rows[:0]
	return nil
}
