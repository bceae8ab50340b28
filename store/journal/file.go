package journal

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"tillwire/protocol"
)

// safely runs fn and turns a panic of bbolt over a damaged page, or a fault of
// its mapping, into a *CorruptError. It cannot catch panics in goroutines that
// bbolt starts itself: see openFile.
func safely(what string, fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		switch r := recover().(type) {
		case nil:
		case *CorruptError:
			err = r
		case error:
			err = &CorruptError{What: what, Got: r.Error(), Want: "sound pages"}
		default:
			err = &CorruptError{What: what, Got: fmt.Sprint(r), Want: "sound pages"}
		}
	}()
	return fn()
}

func (c *committer) path() string { return c.j.opts.Path }

// openFirst opens or makes the file when the journal is opened.
func (c *committer) openFirst() error {
	if err := os.MkdirAll(filepath.Dir(c.path()), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	c.boot = "reopened"
	if _, err := os.Stat(c.path()); errors.Is(err, fs.ErrNotExist) {
		if aside := c.orphan(); aside != "" {
			if err := c.salvage(aside); err != nil {
				return err
			}
			return c.openedFirst()
		}
		c.boot = "fresh"
		if err := makeFile(c.path(), c.identity("fresh"), nil); err != nil {
			return err
		}
	}
	return c.openedFirst()
}

// openedFirst opens a file that stands, and starts the bookkeeping.
func (c *committer) openedFirst() error {
	if err := c.openOrSalvage(); err != nil {
		return err
	}
	c.m.ballast = c.ballastStands()
	c.j.marks = c.written
	c.j.marks.Boot++
	c.j.dirty = true
	c.marksAt = time.Now().Add(marksLinger)
	c.diskAt = time.Now()
	c.measureDisk(c.diskAt)
	c.publish()
	return nil
}

func (c *committer) openOrSalvage() error {
	c.j.dbMu.Lock()
	defer c.j.dbMu.Unlock()
	err := c.openFile(c.j.opts.VerifyAll)
	if !isCorrupt(err) {
		return err
	}
	c.j.log.Error().Err(err).Msg("journal: the file is corrupt")
	if err := c.quarantine(); err != nil {
		return err
	}
	return c.openFile(true)
}

func (c *committer) identity(origin string) identity {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails (crypto/rand)
	return identity{
		Format: formatVersion, InstallID: hex.EncodeToString(id[:]),
		CreatedUS: c.j.opts.Now().UnixMicro(), Origin: origin,
	}
}

func boltOptions() *bolt.Options {
	return &bolt.Options{
		Timeout:        lockTimeout,
		FreelistType:   bolt.FreelistMapType,
		NoFreelistSync: true,
		NoStatistics:   true,
	}
}

// makeFile makes a file whole or not at all: it is filled under another name,
// synced, renamed, and its directory is synced. fill may be nil.
func makeFile(path string, id identity, fill func(*bolt.DB) error) error {
	temp := path + ".new"
	// A former attempt may have died here; nobody was told that it exists.
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove unfinished file: %w", err)
	}
	opts := boltOptions()
	opts.NoSync = true // nothing depends on this file before it is whole: one sync at the end
	db, err := bolt.Open(temp, 0o600, opts)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		if _, err := tx.CreateBucket(bucketMeta); err != nil {
			return err
		}
		if err := putMeta(tx, keyIdentity, id); err != nil {
			return err
		}
		if err := putMeta(tx, keyMarks, marks{}); err != nil {
			return err
		}
		return putMeta(tx, keyCheckpoint, checkpoint{})
	})
	if err == nil && fill != nil {
		err = fill(db)
	}
	if err == nil {
		err = db.Sync()
	}
	if e := db.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("fill new file: %w", err)
	}
	// Crash window: the temporary file is whole, the journal does not exist
	// yet. The next open starts again.
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("put new file in place: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// openFile opens bbolt and loads the committer's state. dbMu is held.
//
// bbolt walks all pages when it opens a file, in a goroutine of its own, and
// panics there over a damaged one: the process dies, and until it has, the
// opening goroutine goes on with a freelist that is only half true. No recover
// of ours can help. So the pages are inspected before bbolt may see them.
func (c *committer) openFile(deep bool) error {
	if err := c.j.opts.hooks.at("open"); err != nil {
		return err
	}
	info, err := os.Stat(c.path())
	if err != nil {
		return fmt.Errorf("open file: %w", err)
	}
	if info.Size() == 0 { // bbolt would silently make a new one of it
		return &CorruptError{Path: c.path(), What: "file", Got: "0 bytes", Want: "a journal"}
	}
	if err := inspectLocked(c.path()); err != nil {
		return err
	}
	done, err := c.opening()
	if err != nil {
		return err
	}
	defer done()
	err = safely("open", func() (err error) {
		c.j.db, err = c.room.openBolt(c.path())
		return err
	})
	before := c.books
	if err == nil {
		err = safely("load", func() error { return c.load(deep) })
	}
	if err == nil {
		spans := c.setBack.spans
		c.j.twice.Store(&spans)
		return nil
	}
	c.books = before
	if c.j.db != nil {
		_ = c.closeFile() // the first error is the one that matters
	}
	return classify(c.path(), err)
}

// classify gives bbolt's refusals our names.
func classify(path string, err error) error {
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum),
		errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrInvalidMapping):
		return &CorruptError{Path: path, What: "file", Got: err.Error(), Want: "a bbolt file"}
	}
	return err
}

// opening notes beside the file that an open began; done removes the note. Where
// it still stands at the next open, the process died in between: killed, or by a
// damage that no inspection sees. Only then is the file proved in a child process,
// so that a start after a kill costs a little more and a crash loop cannot be.
// The note is not synced: after a power cut nothing is suspected.
func (c *committer) opening() (done func(), err error) {
	note := c.path() + ".opening"
	if _, err := os.Lstat(note); err == nil && c.j.opts.Prove != nil {
		err := c.j.opts.Prove(c.path())
		if isCorrupt(err) || errors.Is(err, ErrLocked) {
			_ = os.Remove(note) // the file is set aside, or another's
			return nil, err
		}
		if err != nil {
			c.j.log.Warn().Err(err).Msg("journal: the file could not be checked in a child process")
		}
	}
	if err := os.WriteFile(note, nil, 0o600); err != nil && !noSpace(err) {
		// A disk that takes no file takes no commit either, which will tell.
		c.j.log.Warn().Err(err).Msg("journal: open not noted")
	}
	return func() { _ = os.Remove(note) }, nil
}

// inspectLocked inspects the pages under bbolt's own file lock: a file that
// another process is writing looks damaged to a reader. A read-only open walks
// no pages. In the gap before the real open another process may take the lock;
// then that open says so.
func inspectLocked(path string) error {
	opts := boltOptions()
	opts.ReadOnly = true
	var db *bolt.DB
	failed := safely("lock", func() (err error) {
		db, err = bolt.Open(path, 0o600, opts)
		return err
	})
	if errors.Is(failed, berrors.ErrTimeout) {
		return ErrLocked
	}
	err := inspectFile(path) // says more than bbolt where that could not open it
	if db != nil {
		err = errors.Join(err, safely("unlock", db.Close))
	}
	if err == nil {
		err = failed
	}
	return err
}

// closeFile closes bbolt. After a panic inside a commit bbolt's own lock may be
// held for ever; waiting for it would hang the agent, so that a stuck close is
// reported after a while and its goroutine abandoned. dbMu is held.
func (c *committer) closeFile() error {
	db := c.j.db
	c.j.db, c.room = nil, room{}
	if db == nil {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- safely("close", db.Close) }()
	timer := time.NewTimer(lockTimeout * 5)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errors.New("close file: bbolt does not let go of it: restart the agent")
	}
}

// load reads identity, marks, segments and index, and replays what stands
// behind the checkpoint, verifying checksum and chain of each record.
func (c *committer) load(deep bool) error {
	if err := c.j.opts.hooks.at("verify"); err != nil {
		return err
	}
	return c.j.db.View(func(tx *bolt.Tx) error {
		var id identity
		var cp checkpoint
		c.written = marks{}
		if err := readMetas(tx, &id, &c.written, &cp); err != nil {
			return err
		}
		c.installID = id.InstallID
		c.segs, c.size = segmentsOf(tx), tx.Size()
		c.base, c.head = tip{}, tip{}
		c.mem, c.regs, c.pos = make(map[protocol.EventID]entry), registers{}, 0
		for _, r := range cp.Registers {
			c.remember(r.Register, r.LastUS)
		}
		if err := checkRoot(tx, c.segs); err != nil {
			return err
		}
		var err error
		if c.runs, err = listRuns(tx); err != nil {
			return err
		}
		// A look-up trusts a run, so each is verified before the first: 32 bytes per
		// retained event.
		for i := range c.runs {
			run := runBytes(tx, c.runs[i])
			if err := checkRun(run); err != nil {
				return err
			}
			c.runs[i].filter = filterOfRun(run)
		}
		if len(c.segs) == 0 {
			c.setBack, err = readSetBack(0, tx.Bucket(bucketMeta).Get)
			return err
		}
		if c.base, err = tipAt(tx, c.segs, c.segs[0].first-1); err != nil {
			return err
		}
		from := cp.Seq
		if deep {
			from = c.base.seq
		}
		if err := c.replay(tx, from, cp.Seq); err != nil {
			return err
		}
		c.setBack, err = readSetBack(c.head.seq, tx.Bucket(bucketMeta).Get)
		return err
	})
}

// checkRoot refuses names that no journal has, and segments that do not end where
// they were left. Files of former versions note no end (0).
func checkRoot(tx *bolt.Tx, segs []segment) error {
	cur := tx.Cursor()
	for k, v := cur.First(); k != nil; k, v = cur.Next() {
		known := bytes.Equal(k, bucketMeta) || (k[0] == prefixSegment && len(k) == 9) || (k[0] == prefixRun && len(k) == 17)
		if v != nil || !known {
			return &CorruptError{What: "name of a bucket", Got: fmt.Sprintf("%x", k), Want: "meta, a segment or an index run"}
		}
	}
	for i, s := range segs {
		b := tx.Bucket(s.name())
		k, _ := b.Cursor().Last()
		end := b.Sequence()
		if len(k) == 8 && end == 0 {
			end = keySeq(k)
		}
		if i+1 < len(segs) && end != segs[i+1].first-1 {
			return &CorruptError{What: fmt.Sprintf("end of segment %d", s.first), Got: fmt.Sprint(end), Want: fmt.Sprint(segs[i+1].first - 1)}
		}
		if !bytes.Equal(k, key(end)) {
			return &CorruptError{What: fmt.Sprintf("last key of segment %d", s.first), Got: fmt.Sprintf("%x", k), Want: fmt.Sprint(end)}
		}
		if _, err := decodeHeader(s.first, b.Get(key(0))); err != nil {
			return err
		}
	}
	return nil
}

func readMetas(tx *bolt.Tx, id *identity, m *marks, cp *checkpoint) error {
	b := tx.Bucket(bucketMeta)
	if b == nil {
		return &CorruptError{What: "meta bucket", Got: "none", Want: "one"}
	}
	if err := decodeMeta("identity", b.Get(keyIdentity), id); err != nil {
		return err
	}
	if id.Format != formatVersion {
		return fmt.Errorf("format %d of the file is not %d: use the agent that wrote it, or a newer one", id.Format, formatVersion)
	}
	if err := decodeMeta("marks", b.Get(keyMarks), m); err != nil {
		return err
	}
	return decodeMeta("checkpoint", b.Get(keyCheckpoint), cp)
}

// replay walks the records behind from to the end, checking each, and puts
// those behind indexed into memory.
func (c *committer) replay(tx *bolt.Tx, from, indexed uint64) error {
	last := c.segs[len(c.segs)-1]
	k, _ := tx.Bucket(last.name()).Cursor().Last()
	if len(k) != 8 {
		return &CorruptError{What: fmt.Sprintf("last key of segment %d", last.first), Got: fmt.Sprintf("%x", k), Want: "8 bytes"}
	}
	end := keySeq(k)
	if end == 0 { // a header without records is never committed
		return &CorruptError{What: fmt.Sprintf("segment %d", last.first), Got: "no record", Want: "at least one"}
	}
	from = max(min(from, end-1), c.base.seq) // the last record is always checked
	at, err := tipAt(tx, c.segs, from)
	if err != nil {
		return err
	}
	err = eachRow(tx, c.segs, from+1, end, func(seq uint64, v []byte) (bool, error) {
		r, err := decodeValue(seq, v)
		if err != nil {
			return false, err
		}
		if at, err = at.follow(r); err != nil {
			return false, err
		}
		if seq > indexed {
			c.learn(seq, at.us, r.record)
		}
		return true, nil
	})
	c.head = at
	return err
}

// learn takes a record that no run holds into the index in memory. A record
// that is no event (a salvage's marker of a lost one) has no id.
func (c *committer) learn(seq uint64, us int64, record []byte) {
	var e protocol.Event
	if _, err := protocol.DecodeRecord(record, &e); err != nil {
		return
	}
	c.mem[e.ID] = entry{seq, e.ContentHash()}
	if e.Kind != protocol.KindClock {
		c.remember(e.Register, us)
	}
}

func listRuns(tx *bolt.Tx) ([]runName, error) {
	var runs []runName
	cur := tx.Cursor()
	for k, _ := cur.Seek([]byte{prefixRun}); k != nil && k[0] == prefixRun; k, _ = cur.Next() {
		if len(k) != 17 {
			return nil, &CorruptError{What: "name of an index run", Got: fmt.Sprintf("%x", k), Want: "17 bytes"}
		}
		r := runName{segment: keySeq(k[1:9]), first: keySeq(k[9:])}
		r.count = max(0, len(runBytes(tx, r))-4) / runEntry
		runs = append(runs, r)
	}
	return runs, nil
}

// reopen closes the file and opens it again, as a restart would. After a failed
// fsync the kernel may hold pages that it calls clean and that are not on disk:
// both meta pages are therefore written once more and a commit of our own must
// succeed before any record of the file counts as durable.
func (c *committer) reopen() error {
	c.j.dbMu.Lock()
	defer c.j.dbMu.Unlock()
	if err := c.closeFile(); err != nil {
		return err
	}
	if err := c.openFile(c.m.deep); err != nil {
		return err
	}
	if err := c.heal(); err != nil {
		_ = c.closeFile()
		return err
	}
	c.publish()
	return nil
}

// heal makes what the file shows durable.
func (c *committer) heal() error {
	if err := c.j.opts.hooks.at("heal"); err != nil {
		return err
	}
	if err := rewriteMetas(c.path(), c.j.db.Info().PageSize); err != nil {
		return err
	}
	return safely("heal", func() error {
		return c.j.db.Update(func(tx *bolt.Tx) error {
			m := c.written
			m.Update++
			c.written = m
			return putMeta(tx, keyMarks, m)
		})
	})
}

// rewriteMetas writes the two meta pages as they are, and syncs. The caller
// holds bbolt's file lock and no transaction is open.
func rewriteMetas(path string, pageSize int) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("rewrite meta pages: %w", err)
	}
	b := make([]byte, 2*pageSize)
	if _, err = f.ReadAt(b, 0); err == nil {
		if _, err = f.WriteAt(b, 0); err == nil {
			err = f.Sync()
		}
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("rewrite meta pages: %w", err)
	}
	return nil
}
