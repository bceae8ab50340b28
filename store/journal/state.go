package journal

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tillwire/protocol"
)

// State is an immutable snapshot. Times are microseconds of the agent's clock.
type State struct {
	InstallID  string // of the file; a salvage makes a new one
	Epoch      uint64 // 0: never met an aggregator
	Lease      uint64
	Generation uint64 // cloud generation last seen

	Tail        uint64         // first retained seq; Head+1 when there is none
	Head        uint64         // last journaled seq; 0 when none ever was
	ChainTail   protocol.Chain // chain before the tail record
	ChainHead   protocol.Chain
	HeadUS      int64  // record time of the head
	Merged      uint64 // merged by the aggregator in Epoch
	ChainMerged protocol.Chain
	Safe        uint64 // contained in a backup of the aggregator; ≤ Merged

	OldestUnackedUS int64 // record time of Merged+1; 0 = no backlog
	BacklogEvents   uint64
	BacklogBytes    uint64 // of records
	FileBytes       int64
	FsyncP99US      int64 // of the last commits
	DiskFree        uint64
	DiskTotal       uint64

	LastPOS   int64 // record time of the last write of any register; 0 = none
	Registers []protocol.RegisterSeen

	Phase      string // running, full, recovering, closed
	LastError  string // of the last failed commit, in words
	BootReason string // "fresh", "reopened", "salvaged: …"
	Counters   Counters

	phase phase
}

// Counters count since Open.
type Counters struct {
	Appended, Duplicates, IDReused   uint64
	RefusedFull, RefusedRecovering   uint64
	RefusedQueueFull                 uint64
	Groups, CommitErrors, Recoveries uint64
	CorruptRecords                   uint64 // met by readers
	SalvagedRecords, LostRecords     uint64 // by salvages
	TrimmedEvents, BallastFreed      uint64
	DiskErrors                       uint64 // DiskFree failed
}

type counters struct {
	appended, duplicates, idReused                    atomic.Uint64
	refusedFull, refusedRecovering, refusedQueueFull  atomic.Uint64
	groups, commitErrors, recoveries, corruptRecords  atomic.Uint64
	salvaged, lost, trimmed, ballastFreed, diskErrors atomic.Uint64
}

func (c *counters) read() Counters {
	return Counters{
		Appended: c.appended.Load(), Duplicates: c.duplicates.Load(), IDReused: c.idReused.Load(),
		RefusedFull: c.refusedFull.Load(), RefusedRecovering: c.refusedRecovering.Load(),
		RefusedQueueFull: c.refusedQueueFull.Load(),
		Groups:           c.groups.Load(), CommitErrors: c.commitErrors.Load(), Recoveries: c.recoveries.Load(),
		CorruptRecords:  c.corruptRecords.Load(),
		SalvagedRecords: c.salvaged.Load(), LostRecords: c.lost.Load(),
		TrimmedEvents: c.trimmed.Load(), BallastFreed: c.ballastFreed.Load(), DiskErrors: c.diskErrors.Load(),
	}
}

func (j *Journal) refused(err error) {
	switch {
	case errors.Is(err, ErrFull):
		j.counters.refusedFull.Add(1)
	case errors.Is(err, ErrRecovering):
		j.counters.refusedRecovering.Add(1)
	case errors.Is(err, ErrQueueFull):
		j.counters.refusedQueueFull.Add(1)
	}
}

// HeadUS is the record time of the newest record; 0 where there never was one.
func (j *Journal) HeadUS() int64 { return j.snapshot.Load().HeadUS }

// Twice tells that the clock has gone through a moment more than once, as far as records
// tell: it was set back over it, one of the last 16 times that it was.
func (j *Journal) Twice(us int64) bool {
	spans := j.twice.Load()
	if spans == nil {
		return false
	}
	return slices.ContainsFunc(*spans, func(s span) bool { return s.FromUS <= us && us <= s.ToUS })
}

// State tells how the journal stands.
func (j *Journal) State() State {
	st := *j.snapshot.Load()
	j.marksMu.Lock()
	m := j.marks
	j.marksMu.Unlock()
	st.setMarks(m)
	if st.BacklogEvents > 0 || st.Merged > 0 {
		j.fillBacklog(&st)
	}
	st.FsyncP99US = j.latency.p99()
	st.Counters = j.counters.read()
	return st
}

func (s *State) setMarks(m marks) {
	s.Epoch, s.Lease, s.Generation = m.Epoch, m.Lease, m.Generation
	s.Merged, s.Safe = min(m.Merged, s.Head), min(m.Safe, s.Head)
	s.BacklogEvents = s.Head - s.Merged
}

// latency is a small ring of commit durations.
type latency struct {
	mu sync.Mutex
	us [latencySamples]int32
	n  int // samples written, ever
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	l.us[l.n%latencySamples] = int32(min(d.Microseconds(), 1<<31-1))
	l.n++
	l.mu.Unlock()
}

func (l *latency) p99() int64 {
	l.mu.Lock()
	us := l.us
	n := min(l.n, latencySamples)
	l.mu.Unlock()
	if n == 0 {
		return 0
	}
	slices.Sort(us[:n])
	return int64(us[(n*99-1)/100])
}
