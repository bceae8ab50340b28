package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// FactLast is where the last copy that counted is remembered in the ledger.
const FactLast = "backup/last"

// Options of a Keeper.
type Options struct {
	To           string
	Every        time.Duration
	Keep         int
	After        []string // command that carries a copy away; only its exit 0 makes the copy count
	AfterTimeout time.Duration
	Rehearse     time.Duration // how often a copy is restored for a trial; 0: never
	// Trial restores a copy beside everything and folds it, best in another process.
	Trial func(ctx context.Context, manifest string) error
	// Covered is told of the marks in a copy that counts; facts are kept with them.
	Covered func(ctx context.Context, marks []ledger.Mark, facts ...ledger.Fact) error
	// Changed is told whenever Status would tell something new. nil: nobody asks.
	Changed func(Status)
}

// Status is what is known of the copies.
type Status struct {
	protocol.BackupStatus
	Attempts, Failures uint64 // of this process
}

// last is FactLast.
type last struct {
	protocol.BackupCopy
	Folder    string    `json:"folder"`
	Rehearsed time.Time `json:"rehearsed"`
}

// Keeper makes copies by the clock, and when it is asked.
type Keeper struct {
	s *Source
	o Options

	run sync.Mutex // one copy at a time

	mu     sync.Mutex // guards all below
	status Status
	last   last
	wake   chan struct{}
}

// NewKeeper reads what the ledger remembers. To may be "": then nothing is
// scheduled, and copies are made to where they are asked for.
func NewKeeper(s *Source, o Options) (*Keeper, error) {
	k := &Keeper{s: s, o: o, wake: make(chan struct{}, 1)}
	b, err := s.Ledger.Fact(FactLast)
	if err == nil {
		err = json.Unmarshal(b, &k.last)
	} else if errors.Is(err, ledger.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("read last backup: %w", err)
	}
	k.status.CoveredBy, k.status.To, k.status.EveryS, k.status.Keep = "none", o.To, o.Every.Seconds(), o.Keep
	k.status.StartedAt = s.Now().UTC()
	if o.To != "" {
		k.status.CoveredBy = "backup"
	}
	if k.last.ID != "" && o.To != "" {
		c := k.last.BackupCopy
		k.status.Last = &c
	}
	return k, nil
}

// Run makes copies until ctx ends. A failed one is tried again sooner than the
// period says, ever later while it goes on failing.
func (k *Keeper) Run(ctx context.Context) error {
	if k.o.To == "" {
		<-ctx.Done()
		return nil
	}
	failures := 0
	for {
		wait := k.due(failures)
		k.change(func(s *Status) { at := k.s.Now().Add(wait).UTC(); s.NextAt = &at })
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-k.wake: // one was made meanwhile
			t.Stop()
			failures = 0
			continue
		case <-t.C:
		}
		if _, err := k.Make(ctx, "", false); err != nil && ctx.Err() == nil {
			failures++
			continue
		}
		failures = 0
	}
}

// due is how long to wait for the next copy.
func (k *Keeper) due(failures int) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	if failures > 0 {
		return min(retryMin<<min(failures-1, 10), retryMax, max(k.o.Every, firstAfter))
	}
	if k.status.Last == nil {
		return firstAfter
	}
	return max(k.last.At.Add(k.o.Every).Sub(k.s.Now()), firstAfter)
}

// Make makes a copy now: to the configured folder, where to is "" or names it, and
// then it counts; else it is a copy and no more.
func (k *Keeper) Make(ctx context.Context, to string, anew bool) (*Manifest, error) {
	k.run.Lock()
	defer k.run.Unlock()
	counts := k.o.To != "" && (to == "" || filepath.Clean(to) == filepath.Clean(k.o.To))
	if counts {
		to = k.o.To
	}
	if to == "" {
		return nil, errors.New("make backup: no folder is named, and backup.to is not set")
	}
	if !counts {
		m, f, err := Make(ctx, k.s, to, "", anew)
		if err == nil {
			err = f.prune(copiesMax, k.s.Now())
		}
		return m, err
	}
	began := k.s.Now()
	k.change(func(s *Status) {
		at := began.UTC()
		s.Attempts, s.LastAttemptAt, s.Warning = s.Attempts+1, &at, ""
		if len(k.o.After) == 0 && sameVolume(k.o.To, filepath.Dir(k.s.Spool)) {
			s.Warning = "the copies lie on the ledger's own volume and nothing carries them away: they do not outlive its disk"
		}
	})
	m, err := k.counting(ctx, anew, began)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err // stopped, not failed
		}
		k.s.Log.Error().Err(err).Str("to", k.o.To).Msg("backup failed")
		k.change(func(s *Status) { s.Failures++; s.LastError = err.Error() })
		return nil, err
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
	return m, nil
}

// counting makes a copy that moves safe: written, read back, restored for a trial
// where one is due, carried away, and only then told.
func (k *Keeper) counting(ctx context.Context, anew bool, began time.Time) (*Manifest, error) {
	k.mu.Lock()
	was := k.last
	k.mu.Unlock()
	m, f, err := Make(ctx, k.s, k.o.To, was.Folder, anew)
	if err != nil {
		return nil, err
	}
	now := last{Folder: f.marker.Folder, Rehearsed: was.Rehearsed}
	path := f.path(copiesDir + "/" + m.ID + listExt)
	if k.o.Rehearse > 0 && k.s.Now().Sub(was.Rehearsed) >= k.o.Rehearse {
		if err := k.o.Trial(ctx, path); err != nil {
			if ctx.Err() == nil { // what cannot be restored is no copy; older ones are left alone
				err = errors.Join(err, os.Remove(path), f.prune(copiesMax, k.s.Now()))
			}
			return nil, err
		}
		now.Rehearsed = k.s.Now().UTC()
	}
	if err := f.prune(k.o.Keep, k.s.Now()); err != nil {
		k.s.Log.Warn().Err(err).Msg("old backups not pruned")
	}
	if err := k.carry(ctx, f, m); err != nil {
		return nil, err
	}
	now.BackupCopy = protocol.BackupCopy{
		ID: m.ID, At: m.At, Head: m.Head, Generation: m.Generation, StateHash: m.StateHash, Bytes: m.Bytes(), Agents: len(m.Marks),
		DurationS: k.s.Now().Sub(began).Seconds(), CarriedAway: len(k.o.After) > 0, RehearsedAt: now.Rehearsed,
	}
	b, err := json.Marshal(now)
	if err != nil {
		return nil, fmt.Errorf("remember backup: %w", err)
	}
	if err := k.o.Covered(ctx, m.LedgerMarks(), ledger.Fact{Key: FactLast, Value: b}); err != nil {
		return nil, fmt.Errorf("remember backup %s: %w", m.ID, err)
	}
	k.mu.Lock()
	k.last = now
	k.mu.Unlock()
	k.change(func(s *Status) { c := now.BackupCopy; s.Last, s.LastError = &c, "" })
	k.s.Log.Info().Str("copy", m.ID).Uint64("head", m.Head).Int64("bytes", m.Bytes()).Int64("dur_ms", k.s.Now().Sub(began).Milliseconds()).Msg("backup made and verified")
	return m, nil
}

// change edits the status and tells of it.
func (k *Keeper) change(fn func(*Status)) {
	k.mu.Lock()
	fn(&k.status)
	k.mu.Unlock()
	if k.o.Changed != nil {
		k.o.Changed(k.Status())
	}
}

// Status tells how the copies stand now.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.status
	s.Generation = k.s.Generation()
	if k.o.To == "" {
		return s
	}
	since := s.StartedAt
	if s.Last != nil {
		since = s.Last.At
	}
	s.Overdue = k.s.Now().Sub(since) > 2*k.o.Every
	return s
}

// SpoolLeft removes what a crash has left of spools and trials.
func SpoolLeft(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove old spool: %w", err)
	}
	return nil
}
