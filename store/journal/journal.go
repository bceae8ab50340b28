package journal

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// Options configure a journal. Path is required; the zero value of every other
// field is a sensible default.
type Options struct {
	Path string           // of the file; its directory is made with mode 0700
	Now  func() time.Time // clock of record times; nil = time.Now
	Log  zerolog.Logger

	SegmentEvents int           // events per segment; 0 = 100,000
	QueueMax      int           // waiting Append calls; 0 = 1,024
	Retention     time.Duration // age from which safe segments are trimmed; 0 = 35 days, < 0 = none

	// BallastBytes is the size of the file kept beside the journal, to be freed
	// when the volume is full; 0 = 64 MiB, < 0 = none.
	BallastBytes int64
	// DiskFree tells free and total bytes of the volume; nil asks the system.
	DiskFree func() (free, total uint64, err error)

	// VerifyAll checks every record at Open, instead of those behind the last
	// checkpoint. Each record is checked in any case when it is read.
	VerifyAll bool

	// Prove checks a file in a child process, with CheckFile: bbolt panics in
	// goroutines of its own, which nobody can recover. It is asked where a former
	// open did not come to its end. A *CorruptError sets the file aside; any other
	// error is logged and the file opened. nil = the inspection of the pages alone.
	Prove func(path string) error

	hooks hooks
}

// hooks let tests break each step; all nil in production.
type hooks struct {
	// fail is asked at named steps: begin, put, index, marks, commit (before),
	// committed (after the real commit: the row is visible but reported failed),
	// open, verify, heal; setback where a commit is behind
	// a clock that was set back.
	fail func(step string) error
}

func (h hooks) at(step string) error {
	if h.fail == nil {
		return nil
	}
	return h.fail(step)
}

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SegmentEvents <= 0 {
		o.SegmentEvents = segmentEventsDefault
	}
	if o.QueueMax <= 0 {
		o.QueueMax = queueMaxDefault
	}
	if o.Retention == 0 {
		o.Retention = retentionDefault
	}
	if o.BallastBytes == 0 {
		o.BallastBytes = ballastDefault
	}
	if o.DiskFree == nil {
		dir := filepath.Dir(o.Path)
		o.DiskFree = func() (uint64, uint64, error) { return diskFree(dir) }
	}
}

// Journal is an open journal. Close it.
type Journal struct {
	opts Options
	log  zerolog.Logger

	baton      chan struct{} // one, see committer
	queue      chan *request
	queueBytes atomic.Int64
	ops        chan *operation
	wake       chan struct{} // marks became dirty
	appended   chan struct{}
	closing    chan struct{}
	closeOnce  sync.Once
	stopped    chan struct{} // the committer has ended
	closeErr   error         // set before stopped is closed

	snapshot atomic.Pointer[State]
	twice    atomic.Pointer[[]span] // what the clock went through twice; nil: nothing is open
	counters counters
	latency  latency
	suspect  atomic.Pointer[CorruptError] // damage met by a reader

	// dbMu is held for reading during each View and for writing while the file
	// is closed, set aside or reopened.
	dbMu sync.RWMutex
	db   *bolt.DB // nil while there is no file open

	// marksMu guards what SetMerged and SetLease changed and the committer has
	// yet to write.
	marksMu sync.Mutex
	marks   marks
	dirty   bool

	c committer
}

// request is one Append or AppendAll on its way through the committer.
type request struct {
	items []*pending
	bytes int64
	err   error         // for all items: the group failed
	done  chan struct{} // nil: its caller commits
}

// operation is work that only the committer may do.
type operation struct {
	run  func() error
	err  error
	done chan struct{}
}

// Open opens or makes the journal at opts.Path and checks its tail. A damaged
// file is set aside as *.corrupt-<unix time> and whatever it holds intact is
// carried into a fresh file with a new InstallID; State().BootReason and the
// log say so. A *CorruptError is returned only where even that fails. ErrLocked
// means that another process has it.
func Open(opts Options) (*Journal, error) {
	opts.setDefaults()
	j := &Journal{
		opts:     opts,
		log:      opts.Log,
		baton:    make(chan struct{}, 1),
		queue:    make(chan *request, opts.QueueMax),
		ops:      make(chan *operation),
		wake:     make(chan struct{}, 1),
		appended: make(chan struct{}, 1),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	j.c.init(j)
	if err := j.c.openFirst(); err != nil {
		return nil, fmt.Errorf("open journal %s: %w", opts.Path, err)
	}
	go j.c.run()
	return j, nil
}

// Append journals e and returns when it is on disk.
//
// The same id with the same content is answered with the first one's receipt
// and Duplicate set; with another content by an *IDReusedError. ErrFull and
// ErrQueueFull mean that nothing was journaled; after ErrRecovering, and where
// ctx ends first, it is open whether it was: retry with the same id. A call that
// finds the journal idle commits by itself and looks at ctx no more. Lines of a
// count get their Cut in the journal; e itself is not changed nor kept.
func (j *Journal) Append(ctx context.Context, e *protocol.Event) (Receipt, error) {
	p, err := newPending(e)
	if err != nil {
		return Receipt{}, fmt.Errorf("append event %s: %w", e.ID, err)
	}
	if err := j.submit(ctx, []*pending{p}); err != nil {
		return Receipt{}, fmt.Errorf("append event %s: %w", e.ID, err)
	}
	if p.err != nil {
		j.counters.idReused.Add(1)
		return Receipt{}, fmt.Errorf("append event %s: %w", e.ID, p.err)
	}
	return p.receipt, nil
}

// AppendAll journals events in their order, in as few groups as the limits
// allow; each stands or falls by itself. Both results have one element per
// event.
func (j *Journal) AppendAll(ctx context.Context, events []*protocol.Event) ([]Receipt, []error) {
	receipts, errs := make([]Receipt, len(events)), make([]error, len(events))
	for start := 0; start < len(events); {
		var items []*pending
		var index []int
		size := 0
		for start < len(events) && len(items) < protocol.BulkEventsMax && size < groupBytesMax {
			p, err := newPending(events[start])
			if err != nil {
				errs[start] = fmt.Errorf("append event %s: %w", events[start].ID, err)
			} else {
				items, index = append(items, p), append(index, start)
				size += len(p.buf)
			}
			start++
		}
		err := j.submit(ctx, items)
		for i, p := range items {
			switch {
			case err != nil:
				errs[index[i]] = fmt.Errorf("append event %s: %w", p.id, err)
			case p.err != nil:
				j.counters.idReused.Add(1)
				errs[index[i]] = fmt.Errorf("append event %s: %w", p.id, p.err)
			default:
				receipts[index[i]] = p.receipt
			}
		}
	}
	return receipts, errs
}

// submit queues items as one request and waits for its commit.
func (j *Journal) submit(ctx context.Context, items []*pending) error {
	if len(items) == 0 {
		return nil
	}
	r := &request{items: items}
	for _, p := range items {
		r.bytes += int64(len(p.buf))
	}
	if err := j.snapshot.Load().phase.err(); err != nil {
		j.refused(err)
		return err
	}
	if j.queueBytes.Add(r.bytes) > queueBytesMax {
		j.queueBytes.Add(-r.bytes)
		j.refused(ErrQueueFull)
		return ErrQueueFull
	}
	if j.c.lead(r) {
		if r.err != nil {
			j.refused(r.err)
		}
		return r.err
	}
	r.done = make(chan struct{})
	select {
	case j.queue <- r:
	default:
		j.queueBytes.Add(-r.bytes)
		j.refused(ErrQueueFull)
		return ErrQueueFull
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		return ctx.Err()
	case <-j.stopped:
		// The committer has answered all that it will; r may be among it.
		select {
		case <-r.done:
		default:
			return ErrClosed
		}
	}
	if r.err != nil {
		j.refused(r.err)
	}
	return r.err
}

// Appended is signalled after appends; its capacity is 1, so one signal may
// stand for many.
func (j *Journal) Appended() <-chan struct{} { return j.appended }

// SetMerged notes how far the aggregator has merged (merged) and backed up
// (safe). State shows it at once; it is on disk with the next group, at most
// half a second later, and a crash in between only makes the agent offer a few
// records again. merged never passes the head and never goes back within one
// epoch and generation; safe is held to merged.
func (j *Journal) SetMerged(epoch, merged, safe, generation uint64) error {
	st := j.snapshot.Load()
	j.marksMu.Lock()
	next, err := j.marks.move(epoch, merged, safe, generation, st.Head)
	if err == nil && next != j.marks {
		j.marks, j.dirty = next, true
	}
	dirty := j.dirty
	j.marksMu.Unlock()
	if err != nil {
		return err
	}
	if dirty {
		j.wakeCommitter()
	}
	return nil
}

// SetLease notes the lease of the current session, with SetMerged's durability.
func (j *Journal) SetLease(lease uint64) {
	j.marksMu.Lock()
	changed := j.marks.Lease != lease
	if changed {
		j.marks.Lease, j.dirty = lease, true
	}
	j.marksMu.Unlock()
	if changed {
		j.wakeCommitter()
	}
}

func (j *Journal) wakeCommitter() {
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// do runs fn in the committer.
func (j *Journal) do(fn func() error) error {
	op := &operation{run: fn, done: make(chan struct{})}
	select {
	case j.ops <- op:
		<-op.done
		return op.err
	case <-j.stopped:
		return ErrClosed
	}
}

// Close answers what is queued, writes the marks and closes the file. It may
// be called more than once.
func (j *Journal) Close() error {
	j.closeOnce.Do(func() { close(j.closing) })
	<-j.stopped
	return j.closeErr
}
