package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// committer is what writes, one group at a time. Whoever holds the journal's baton
// owns everything here; others see what publish makes of it.
//
// The baton lies with nobody between two groups. An Append that finds it there
// commits by itself, with whatever has queued, and is told at once: for a till alone
// two hand-overs between goroutines, each of which may have to wake a thread, cost
// as much as the work. All others queue, and the committer's goroutine takes them
// when it gets the baton; failures, deadlines and orders are its alone.
type committer struct {
	j *Journal

	m       machine
	boot    string
	lastErr string

	books
	free  uint64
	total uint64

	marksAt time.Time // when dirty marks are to be written; zero = none are
	diskAt  time.Time
	retryAt time.Time

	recordAt time.Time // by the clock, when the newest record was written; zero = before this start

	group []*request // scratch
	items []*pending // scratch

	expect   int           // requests that may come again, see next
	linger   time.Duration // for them
	patience *time.Timer
	room     room
}

// books are what is known of the file. They stay as they were where a file cannot
// be loaded: a journal in trouble must not look like an empty one.
type books struct {
	installID string

	head    tip
	base    tip // in front of the tail
	segs    []segment
	runs    []runName // oldest first
	mem     map[protocol.EventID]entry
	regs    registers
	pos     int64 // last POS write
	written marks // as on disk
	size    int64
	setBack setBack
}

func (c *committer) init(j *Journal) {
	c.j = j
	c.mem = make(map[protocol.EventID]entry)
	c.regs = registers{}
	c.patience = time.NewTimer(time.Hour)
	c.patience.Stop()
	c.publish()
}

// run serves until Close. Requests found in the queue together share a commit. It
// is begun with the baton, and ends with it.
func (c *committer) run() {
	j := c.j
	defer close(j.stopped)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(c.pause())
		j.baton <- struct{}{}
		select {
		case r := <-j.queue:
			<-j.baton
			c.serve(r)
		case op := <-j.ops:
			<-j.baton
			op.err = op.run()
			close(op.done)
		case <-j.wake:
			<-j.baton
			c.woken()
		case <-timer.C:
			<-j.baton
		case <-j.closing:
			<-j.baton
			c.shutdown()
			return
		}
		c.due(time.Now())
		if c.roomLow() {
			c.ahead()
		}
	}
}

// lead commits r in its caller's goroutine; false where the baton is out, or the
// journal is not well: then r has to queue.
func (c *committer) lead(r *request) bool {
	select {
	case <-c.j.baton:
	default:
		return false
	}
	defer func() {
		if p := recover(); p != nil {
			// A bug. An HTTP server would recover from it and serve on, without a
			// baton and so without a journal: the process has to end.
			go panic(p) //nolint:forbidigo // what safely let through is a bug
			select {}
		}
		c.j.baton <- struct{}{}
	}()
	alone := c.m.phase == phaseRunning && c.expect <= 1 // others who are about to come would meet a commit of one
	if alone {
		c.serve(r)
		if c.m.phase != phaseRunning || c.roomLow() {
			c.j.wakeCommitter() // it knows no new deadlines, and its caller waits for no zeros
		}
	}
	return alone
}

// pause is the time to the next deadline.
func (c *committer) pause() time.Duration {
	next := c.diskAt
	for _, at := range []time.Time{c.marksAt, c.retryAt} {
		if !at.IsZero() && at.Before(next) {
			next = at
		}
	}
	return max(0, time.Until(next))
}

// woken notes dirty marks and damage met by readers.
func (c *committer) woken() {
	c.j.marksMu.Lock()
	dirty := c.j.dirty
	c.j.marksMu.Unlock()
	if dirty && c.marksAt.IsZero() {
		c.marksAt = time.Now().Add(marksLinger)
	}
	if cause := c.j.suspect.Swap(nil); cause != nil && c.m.phase != phaseRecovering {
		c.note("read journal", cause)
		c.apply(input{kind: inSuspect, corrupt: true})
	}
}

// due does what a deadline asks for.
func (c *committer) due(now time.Time) {
	if !c.retryAt.IsZero() && !now.Before(c.retryAt) {
		c.retryAt = time.Time{}
		c.perform([]effect{effReopen})
	}
	if !now.Before(c.diskAt) {
		c.measureDisk(now)
	}
	if !c.marksAt.IsZero() && !now.Before(c.marksAt) {
		c.marksAt = time.Time{}
		if c.m.phase == phaseRunning || c.m.phase == phaseFull {
			_ = c.commit(nil) // a failure has already turned the journal to recovering
		}
	}
}

// serve commits r and what waits behind it, up to the group's bounds.
func (c *committer) serve(r *request) {
	c.gather(r)
	if c.m.phase == phaseFull {
		c.measureDisk(time.Now()) // an append is what a recovered disk waits for
	}
	err := c.m.phase.err()
	if err == nil {
		began := time.Now()
		err = c.commit(c.items)
		c.linger = min(time.Since(began)/lingerShare, lingerMax)
	}
	c.expect = len(c.group) + len(c.j.queue)
	c.answer(err)
}

// gather takes r and what else is there into the group.
func (c *committer) gather(r *request) {
	c.group, c.items = c.group[:0], c.items[:0]
	waited := false
	for size := int64(0); r != nil; r = c.next(&waited) {
		c.group = append(c.group, r)
		c.items = append(c.items, r.items...)
		if size += r.bytes; size >= groupBytesMax || len(c.items) >= groupEventsMax {
			return
		}
	}
}

// next takes a request off the queue; nil when the group shall go. Those who were
// answered a moment ago, and those who queued meanwhile, are about to come again:
// who is missing of them is waited for, by half of what a commit takes. Else callers
// fall into two halves, each of which waits for the other's commit.
func (c *committer) next(waited *bool) *request {
	select {
	case r := <-c.j.queue:
		return r
	default:
	}
	if len(c.group) >= c.expect {
		return nil
	}
	if !*waited {
		*waited = true
		c.patience.Reset(c.linger)
	}
	// Blocking, not spinning: the thread that waits here is the one that should
	// bring those who are missing.
	select {
	case r := <-c.j.queue:
		return r
	case <-c.patience.C:
		return nil
	}
}

// answer releases the waiters of the group.
func (c *committer) answer(err error) {
	for _, r := range c.group {
		c.j.queueBytes.Add(-r.bytes)
		r.err = err
		if r.done != nil {
			close(r.done)
		}
	}
	clear(c.group)
	clear(c.items)
}

// commit writes items and dirty marks in one transaction and returns when it is
// on disk. On any error the outcome is unknown (bbolt can show a commit that it
// reported failed), so the file is closed, reopened and checked before anything
// else; nobody is told success.
func (c *committer) commit(items []*pending) error {
	c.j.marksMu.Lock()
	m, dirty := c.j.marks, c.j.dirty
	c.j.marksMu.Unlock()
	t := transaction{c: c, items: items, dirty: dirty, marks: m}
	start := time.Now()
	err := safely("commit", func() error { return c.j.db.Update(t.fill) })
	if err == nil {
		err = c.j.opts.hooks.at("committed")
	}
	if errors.Is(err, errNothing) {
		c.countGroup(items, 0)
		return nil
	}
	if err != nil {
		return c.commitFailed(err)
	}
	if len(t.rows) > 0 {
		c.j.latency.add(time.Since(start))
	}
	c.committed(&t)
	return nil
}

// committed takes over what is now durable and tells the world.
func (c *committer) committed(t *transaction) {
	if c.m.strikes > 0 {
		c.m, _ = c.m.step(input{kind: inCommitted})
	}
	c.takeOver(t)
	if t.dirty {
		c.j.marksMu.Lock()
		c.written = t.stored
		if c.j.marks == t.marks {
			c.j.dirty = false
			c.marksAt = time.Time{}
		}
		c.j.marksMu.Unlock()
	}
	c.countGroup(t.items, len(t.rows))
	c.publish()
	if len(t.rows) > 0 {
		select {
		case c.j.appended <- struct{}{}:
		default:
		}
	}
}

// takeOver moves the bookkeeping behind a committed transaction.
func (c *committer) takeOver(t *transaction) {
	c.segs, c.runs, c.size = t.segs, t.runs, t.size
	if t.setBack != nil {
		c.setBack = *t.setBack
		c.j.twice.Store(&t.setBack.spans)
	}
	for i := range t.rows {
		c.remember(t.rows[i].item.register, t.rows[i].after.us)
	}
	if n := len(t.rows); n > 0 {
		if c.head.seq == 0 {
			c.base = t.rows[0].before
		}
		c.head, c.recordAt = t.rows[n-1].after, t.at
	}
	if t.flushed {
		clear(c.mem)
	}
	for i := range t.rows {
		if r := &t.rows[i]; r.after.seq > t.indexed && r.item.id != (protocol.EventID{}) {
			c.mem[r.item.id] = entry{r.after.seq, r.item.content}
		}
	}
}

func (c *committer) countGroup(items []*pending, rows int) {
	duplicates := 0
	for _, p := range items {
		if p.receipt.Duplicate {
			duplicates++
		}
	}
	c.j.counters.appended.Add(uint64(rows))
	c.j.counters.duplicates.Add(uint64(duplicates))
	if rows > 0 {
		c.j.counters.groups.Add(1)
	}
}

// remember notes a register's write.
func (c *committer) remember(register string, us int64) {
	if register == noRegister {
		return
	}
	c.pos = max(c.pos, us)
	c.regs.seen(register, us)
}

// commitFailed stops, and recovers before it returns, so that what was queued
// behind finds either a sound journal or a clear answer.
func (c *committer) commitFailed(err error) error {
	c.j.counters.commitErrors.Add(1)
	c.note("commit", err)
	full := noSpace(err)
	c.apply(input{kind: inCommitFailed, noSpace: full, corrupt: isCorrupt(err)})
	return answer(full)
}

func (c *committer) note(what string, err error) {
	c.lastErr = what + ": " + err.Error()
	c.j.log.Error().Err(err).Msg("journal: " + what + " failed, the file is reopened and checked")
}

// apply feeds the machine and performs what it asks for.
func (c *committer) apply(in input) {
	before := c.m.phase
	var effects []effect
	c.m, effects = c.m.step(in)
	if c.m.phase != before {
		c.j.log.Info().Str("from", before.String()).Str("to", c.m.phase.String()).Msg("journal: phase changed")
		c.diskAt = time.Now().Add(diskEvery)
	}
	c.publish()
	c.perform(effects)
}

func (c *committer) perform(effects []effect) {
	for _, e := range effects {
		switch e {
		case effReopen:
			if err := c.reopen(); err != nil {
				c.note("reopen", err)
				c.apply(input{kind: inReopenFailed, err: err, corrupt: isCorrupt(err)})
			} else {
				c.j.counters.recoveries.Add(1)
				c.apply(input{kind: inReopened})
			}
		case effQuarantine:
			c.setAside()
		case effRetry:
			c.retryAt = time.Now().Add(c.m.retry)
		case effFreeBallast:
			c.freeBallast()
		case effLayBallast:
			c.layBallast()
		case effTrim:
			if _, err := c.trimSegments(0); err != nil {
				c.j.log.Warn().Err(err).Msg("journal: trim under disk pressure failed")
			}
		}
	}
}

// setAside quarantines the file under the lock that keeps readers away.
func (c *committer) setAside() {
	c.j.dbMu.Lock()
	err := c.closeFile()
	if err == nil {
		err = c.quarantine()
	}
	c.j.dbMu.Unlock()
	if err != nil {
		c.note("set the corrupt file aside", err)
		c.m.aside = false
		c.apply(input{kind: inReopenFailed, err: err})
		return
	}
	c.perform([]effect{effReopen})
}

// publish makes the snapshot that everyone else sees.
func (c *committer) publish() {
	st := &State{
		InstallID: c.installID, BootReason: c.boot, LastError: c.lastErr,
		Tail: c.base.seq + 1, Head: c.head.seq, HeadUS: c.head.us,
		ChainTail: c.base.chain, ChainHead: c.head.chain,
		FileBytes: c.size, DiskFree: c.free, DiskTotal: c.total,
		LastPOS: c.pos, Registers: make([]protocol.RegisterSeen, 0, len(c.regs)),
		phase: c.m.phase, Phase: c.m.phase.String(),
	}
	for name, us := range c.regs {
		st.Registers = append(st.Registers, protocol.RegisterSeen{Register: name, LastUS: us})
	}
	slices.SortFunc(st.Registers, func(a, b protocol.RegisterSeen) int { return strings.Compare(a.Register, b.Register) })
	c.j.snapshot.Store(st)
}

// shutdown answers what is queued, writes the marks and closes.
func (c *committer) shutdown() {
	for {
		select {
		case r := <-c.j.queue:
			c.serve(r)
			continue
		default:
		}
		break
	}
	if c.m.phase == phaseRunning || c.m.phase == phaseFull {
		c.j.marksMu.Lock()
		dirty := c.j.dirty
		c.j.marksMu.Unlock()
		if dirty {
			_ = c.commit(nil) // a failure has already turned the journal to recovering
		}
	}
	c.m, _ = c.m.step(input{kind: inClose})
	c.publish()
	// Appends that saw the phase before it changed may have queued since.
	for {
		select {
		case r := <-c.j.queue:
			c.group = append(c.group[:0], r)
			c.answer(ErrClosed)
			continue
		default:
		}
		break
	}
	c.j.dbMu.Lock()
	defer c.j.dbMu.Unlock()
	if err := c.closeFile(); err != nil {
		c.j.closeErr = fmt.Errorf("close journal: %w", err)
	}
}

var errNothing = errors.New("nothing to write")

// transaction fills one bbolt transaction. It changes nothing of the committer:
// what becomes of it is taken over by committed.
type transaction struct {
	c     *committer
	items []*pending
	dirty bool
	marks marks // as asked for

	at        time.Time
	now       int64    // at in µs
	setBackUS int64    // since the last record, as the monotonic clock has it
	stored    marks    // as put
	setBack   *setBack // nil: no record time was ahead of the clock
	rows      []planned
	segs      []segment
	runs      []runName
	size      int64
	flushed   bool   // the map in memory went into runs
	indexed   uint64 // highest seq in runs, if flushed
}

func (t *transaction) fill(tx *bolt.Tx) error {
	hooks := t.c.j.opts.hooks
	if err := hooks.at("begin"); err != nil {
		return err
	}
	t.segs, t.runs = t.c.segs, t.c.runs
	at := t.c.j.opts.Now()
	t.at, t.now, t.setBackUS = at, max(at.UnixMicro(), 1), max(0, -protocol.ClockSet(t.c.recordAt, at).Microseconds())
	find := t.c.finder(tx)
	t.rows = plan(t.now, t.c.head, t.items, world{
		find: find,
		cutAt: func(us int64) uint64 {
			return t.c.setBack.cut(us, t.now, t.setBackUS, t.c.head, func(us int64) uint64 { return cutIn(tx, t.segs, t.c.head, us) })
		},
		usOf: func(seq uint64) int64 { return timeOf(tx, t.segs, seq) },
	})
	if len(t.rows) == 0 && !t.dirty {
		return errNothing
	}
	if err := t.put(tx); err != nil {
		return err
	}
	if t.dirty {
		if err := hooks.at("marks"); err != nil {
			return err
		}
		stored := t.marks
		stored.Update = t.c.written.Update + 1
		if err := putMeta(tx, keyMarks, stored); err != nil {
			return err
		}
		t.stored = stored
	}
	if err := t.noteSetBack(tx); err != nil {
		return err
	}
	t.size = tx.Size()
	return hooks.at("commit")
}

// noteSetBack writes what the clock says where record times are ahead of it.
func (t *transaction) noteSetBack(tx *bolt.Tx) error {
	next, ok := t.c.setBack.took(t.now, t.setBackUS, t.rows)
	if !ok {
		return nil
	}
	if err := t.c.j.opts.hooks.at("setback"); err != nil {
		return err
	}
	kept := next // on the heap, which the commits of a clock that is right do without
	t.setBack = &kept
	return kept.write(&t.c.setBack, func(k []byte, v any) error { return putMeta(tx, k, v) })
}
