package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	"go.etcd.io/bbolt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Options of Open. Path is required, the rest has defaults.
type Options struct {
	Path     string
	Now      func() time.Time // for durations in Stats and logs
	Log      zerolog.Logger
	ReadOnly bool // for fsck and export: shared lock, Commit refused
	IDsHot   int  // event ids kept in memory before they are sealed; 0 = 131,072

	// RebuildIDs makes the index of event ids again from the log, as after Find
	// told of damage in it.
	RebuildIDs bool

	fail func(step string) error // tests: asked before each step of a commit
}

// The buckets.
var (
	bucketMeta       = []byte("meta")
	bucketLog        = []byte("log")
	bucketMarks      = []byte("marks")
	bucketJournals   = []byte("journals")
	bucketCells      = []byte("cells")
	bucketExceptions = []byte("exceptions")
	bucketExIndex    = []byte("exceptions_index")
	bucketFacts      = []byte("facts")
	bucketChunks     = []byte("checkpoint")
	bucketRuns       = []byte("runs") // the manifest: which runs of ids count
	bucketIDs        = []byte("ids")  // their chunks, a bucket for each run

	allBuckets = [][]byte{
		bucketMeta, bucketLog, bucketMarks, bucketJournals, bucketCells, bucketExceptions,
		bucketExIndex, bucketFacts, bucketChunks, bucketRuns, bucketIDs,
	}
)

// Keys of bucketMeta; their values are numbers of 8 bytes.
var (
	metaFormat     = []byte("format")
	metaHead       = []byte("head")       // newest position
	metaSealed     = []byte("sealed")     // ids up to here are in runs
	metaCheckpoint = []byte("checkpoint") // position of the stored fold
	metaNextRun    = []byte("next_run")
)

// Ledger implements ledger.Ledger over one bbolt file.
type Ledger struct {
	opts Options
	db   *bbolt.DB
	// pageSize is asked once: DB.Info reads the mapped file without a lock and
	// faults where a commit is just mapping it anew.
	pageSize int64

	head       atomic.Uint64
	checkpoint atomic.Uint64
	commitUS   atomic.Int64
	failure    atomic.Pointer[error]

	// commitMu makes the one writer one.
	commitMu sync.Mutex
	serial   uint64       // of the batch in hand
	arena    []byte       // its values
	states   []*markState // of its marks
	journals uint32       // how many there are
	cells    uint32
	keep     upkeep

	// mu guards what readers and the writer share. The writer takes it after
	// a transaction, never within one; a reader that needs a transaction begins
	// it while holding mu, so that it sees the runs that it knows.
	mu     sync.RWMutex
	marks  map[protocol.Origin]*markState
	hot    hotIDs
	runs   []*run // newest first; the slice is replaced, never changed
	openEx int    // exceptions in state open
}

var _ ledger.Ledger = (*Ledger)(nil)

// Open opens or makes the file at opts.Path. Errors: ledger.ErrCorrupt with
// what was got and wanted; a message naming the remedy where another process
// holds the file. Nothing is ever deleted or overwritten on a failure.
func Open(opts Options) (*Ledger, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.IDsHot == 0 {
		opts.IDsHot = defaultIDsHot
	}
	opts.IDsHot = max(opts.IDsHot, idsHotMin)
	start := opts.Now()
	if !opts.ReadOnly {
		if err := createFile(opts.Path); err != nil {
			return nil, fmt.Errorf("create ledger: %w", err)
		}
	}
	db, err := openFile(opts.Path, opts.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", opts.Path, err)
	}
	l := &Ledger{
		opts: opts, db: db, pageSize: int64(db.Info().PageSize),
		marks: map[protocol.Origin]*markState{}, hot: newHotIDs(opts.IDsHot),
	}
	if err := l.load(); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("open ledger %s: %w", opts.Path, err)
	}
	opts.Log.Info().Uint64("head", l.head.Load()).Int("ids_hot", l.hot.len()).Int("runs", len(l.runs)).
		Int("exceptions_open", l.openEx).Int64("dur_ms", opts.Now().Sub(start).Milliseconds()).Msg("ledger opened")
	return l, nil
}

// view runs a short read transaction; damage that bbolt trips over is an error.
func (l *Ledger) view(fn func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	return l.db.View(fn)
}

// update runs a write transaction. Any error of it other than ErrFenced must
// end in fail: bbolt may show what it could not make durable.
func (l *Ledger) update(fn func(*bbolt.Tx) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer guard(&err)
	return l.db.Update(func(tx *bbolt.Tx) error {
		// Each growth costs a sync: by half of what there is, as a map that doubles
		// would have it, a small file stays small and a large one grows seldom.
		l.db.AllocSize = int(min(max(tx.Size()/2, growBytesMin), growBytesMax))
		return fn(tx)
	})
}

// load reads what is kept in memory.
func (l *Ledger) load() error {
	err := l.view(func(tx *bbolt.Tx) error {
		for _, name := range allBuckets {
			if tx.Bucket(name) == nil {
				return fmt.Errorf("%w: bucket %s is missing", ledger.ErrCorrupt, name)
			}
		}
		for _, step := range []func(*bbolt.Tx) error{
			l.loadHead, l.loadCounts, l.loadMarks, l.loadOpenExceptions,
		} {
			if err := step(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.loadIndex(); err != nil {
		return err
	}
	return l.loadHot()
}

// loadIndex reads the index of event ids. It is derived: where it is damaged
// and the file may be written, it is made again.
func (l *Ledger) loadIndex() error {
	err := l.view(l.loadRuns)
	if l.opts.ReadOnly || !l.opts.RebuildIDs && !errors.Is(err, errIndex) {
		return err
	}
	l.opts.Log.Warn().AnErr("err", err).Uint64("head", l.head.Load()).Msg("index of event ids is made again from the log")
	return l.dropIndex()
}

func (l *Ledger) loadHead(tx *bbolt.Tx) error {
	format, err := getMeta(tx, metaFormat)
	if err != nil {
		return err
	}
	if format != formatVersion {
		return fmt.Errorf("%w: format is %d, want %d; was it written by another version?", ledger.ErrCorrupt, format, formatVersion)
	}
	head, err := getMeta(tx, metaHead)
	if err != nil {
		return err
	}
	last, err := lastPosition(tx)
	if err != nil {
		return err
	}
	if last != head {
		return fmt.Errorf("%w: log ends at %d, want %d", ledger.ErrCorrupt, last, head)
	}
	at, err := getMeta(tx, metaCheckpoint)
	if err != nil {
		return err
	}
	if at > head {
		return fmt.Errorf("%w: checkpoint is at %d, log ends at %d", ledger.ErrCorrupt, at, head)
	}
	l.head.Store(head)
	l.checkpoint.Store(at)
	return nil
}

func lastPosition(tx *bbolt.Tx) (uint64, error) {
	log := tx.Bucket(bucketLog)
	k, _ := log.Cursor().Last()
	if k == nil {
		return 0, nil
	}
	seg := log.Bucket(k)
	if seg == nil {
		return 0, fmt.Errorf("%w: segment %x is not a bucket", ledger.ErrCorrupt, k)
	}
	k, block := seg.Cursor().Last()
	n, ok := countFrames(block)
	if len(k) != 8 || !ok {
		return 0, fmt.Errorf("%w: last key of the log is %x with a block of %d bytes, %d whole entries", ledger.ErrCorrupt, k, len(block), n)
	}
	return binary.BigEndian.Uint64(k) + uint64(n) - 1, nil
}

func putMeta(tx *bbolt.Tx, key []byte, v uint64) error {
	n := key64(v)
	if err := tx.Bucket(bucketMeta).Put(key, sealed(key, n[:])); err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	return nil
}

// getMeta reads a number; one never set is 0.
func getMeta(tx *bbolt.Tx, key []byte) (uint64, error) {
	v := tx.Bucket(bucketMeta).Get(key)
	if v == nil {
		return 0, nil
	}
	payload, err := unseal("meta", key, v)
	if err != nil {
		return 0, err
	}
	if len(payload) != 8 {
		return 0, fmt.Errorf("read meta %s: %w: %d bytes, want 8", key, ledger.ErrCorrupt, len(payload))
	}
	return binary.BigEndian.Uint64(payload), nil
}

// Close writes the free list, so that the next Open needs no walk over the
// file, and closes it. A failed ledger is closed as it is.
func (l *Ledger) Close() error {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	if l.keep.closed {
		return nil
	}
	l.keep.closed = true
	var err error
	if !l.opts.ReadOnly && l.failed() == nil {
		l.db.NoFreelistSync = false
		err = l.update(func(*bbolt.Tx) error { return nil })
	}
	if err := errors.Join(err, l.db.Close()); err != nil {
		return fmt.Errorf("close ledger: %w", err)
	}
	return nil
}
