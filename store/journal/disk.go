package journal

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// The disk floor. A volume that is full cannot even delete: bbolt needs pages
// for that too. So a ballast file stands beside the journal, whose room is
// given back at 95 % or on ENOSPC, to write marks and to trim with.

// DiskFree tells free and total bytes of the volume that holds dir.
func DiskFree(dir string) (free, total uint64, err error) { return diskFree(dir) }

func (c *committer) ballastPath() string { return c.path() + ".ballast" }

func (c *committer) ballastStands() bool {
	info, err := os.Stat(c.ballastPath())
	return err == nil && info.Size() >= c.j.opts.BallastBytes
}

// measureDisk asks for the free space and judges it. On a disk with room the
// ballast is laid (again).
func (c *committer) measureDisk(now time.Time) {
	c.diskAt = now.Add(diskEvery)
	if c.m.phase == phaseRunning {
		c.diskAt = now.Add(diskIdle)
	}
	free, total, err := c.j.opts.DiskFree()
	if err != nil {
		c.j.counters.diskErrors.Add(1)
		return
	}
	changed := free != c.free || total != c.total
	c.free, c.total = free, total
	before := c.m.phase
	if c.m.phase != phaseRecovering {
		c.apply(input{kind: inDisk, free: free, total: total})
	}
	if changed && before == c.m.phase {
		c.publish()
	}
}

func (c *committer) freeBallast() {
	if err := os.Remove(c.ballastPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		c.j.log.Warn().Err(err).Msg("journal: ballast not freed")
		return
	}
	c.j.counters.ballastFreed.Add(1)
	c.j.log.Warn().Int64("bytes", c.j.opts.BallastBytes).Msg("journal: ballast freed, the disk is full")
	c.apply(input{kind: inNoBallast})
}

func (c *committer) layBallast() {
	if c.j.opts.BallastBytes < 0 || uint64(c.j.opts.BallastBytes) > c.free/2 {
		return
	}
	if err := writeBallast(c.ballastPath(), c.j.opts.BallastBytes); err != nil {
		_ = os.Remove(c.ballastPath())
		c.j.log.Warn().Err(err).Msg("journal: ballast not laid")
		return
	}
	c.apply(input{kind: inBallast})
}

func writeBallast(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lay ballast: %w", err)
	}
	err = allocate(f, size)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("lay ballast: %w", err)
	}
	return nil
}

// writeZeros fills f up to size: the portable way to own the room.
func writeZeros(f *os.File, size int64) error {
	zeros := make([]byte, 256<<10)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return err
		}
	}
	return f.Sync()
}

// noSpace recognises a full volume. bbolt keeps only the text of some errors.
func noSpace(err error) bool {
	if err == nil {
		return false
	}
	for _, full := range errnoFull {
		if errors.Is(err, full) || strings.Contains(err.Error(), full.Error()) {
			return true
		}
	}
	return false
}
