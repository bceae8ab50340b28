package journal

import (
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
)

// Trim removes whole segments, with their part of the idempotency index, that
// are backed up (safe), older than the retention, and not the newest. It
// returns the number of events removed. Between segments appends go on: each
// is a transaction of its own.
//
// An id is thus remembered exactly as long as its record; a POS that repeats a
// document older than the retention is told "new" here, and the aggregator's
// index recognises it.
func (j *Journal) Trim(now time.Time) (uint64, error) {
	if j.opts.Retention < 0 {
		return 0, nil
	}
	before := now.Add(-j.opts.Retention).UnixMicro()
	var n uint64
	for {
		var one uint64
		err := j.do(func() (err error) {
			one, err = j.c.trimOne(before)
			return err
		})
		n += one
		if err != nil || one == 0 {
			return n, err
		}
	}
}

// trimSegments trims all that is safe; beforeUS 0 means whatever its age.
func (c *committer) trimSegments(beforeUS int64) (n uint64, err error) {
	for {
		one, err := c.trimOne(beforeUS)
		n += one
		if err != nil || one == 0 {
			return n, err
		}
	}
}

// trimOne drops the oldest segment if it may go.
func (c *committer) trimOne(beforeUS int64) (uint64, error) {
	if c.m.phase != phaseRunning && c.m.phase != phaseFull {
		return 0, c.m.phase.err()
	}
	if len(c.segs) < 2 {
		return 0, nil
	}
	c.j.marksMu.Lock()
	m := c.j.marks
	c.j.marksMu.Unlock()
	oldest, next := c.segs[0], c.segs[1]
	if next.first-1 > min(m.Safe, m.Merged) {
		return 0, nil
	}
	var after tip
	young := false
	keep := 0
	for keep < len(c.runs) && c.runs[keep].segment < next.first {
		keep++
	}
	var size int64
	err := safely("trim", func() error {
		return c.j.db.Update(func(tx *bolt.Tx) (err error) {
			if after, err = tipAt(tx, c.segs, next.first-1); err != nil {
				return err
			}
			if young = beforeUS != 0 && after.us > beforeUS; young {
				return errNothing
			}
			// The marks that permit this go with it: a crash must not leave a
			// tail beyond safe.
			stored := m
			stored.Update = c.written.Update + 1
			if err := putMeta(tx, keyMarks, stored); err != nil {
				return err
			}
			if err := tx.DeleteBucket(oldest.name()); err != nil {
				return fmt.Errorf("delete segment: %w", err)
			}
			for _, r := range c.runs[:keep] {
				if err := tx.DeleteBucket(r.name()); err != nil {
					return fmt.Errorf("delete index run: %w", err)
				}
			}
			size = tx.Size()
			return c.j.opts.hooks.at("trim")
		})
	})
	if young {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("trim segment %d: %w", oldest.first, c.commitFailed(err))
	}
	n := next.first - oldest.first
	c.written.Update++
	c.base, c.size = after, size
	c.segs, c.runs = c.segs[1:], c.runs[keep:]
	c.j.counters.trimmed.Add(n)
	c.publish()
	return n, nil
}
