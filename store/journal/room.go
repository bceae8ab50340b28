package journal

import (
	"os"

	bolt "go.etcd.io/bbolt"
)

// room is the part of the file that is ready to be written without the file system
// having to find blocks for it.
//
// bbolt grows its file by a hole. The first write to a page of a hole makes the file
// system allocate a block, and the fdatasync behind it then also waits for the file
// system's own journal: every new page (one group in seventeen with single sales)
// cost as much as ten others. So zeros are written into the hole a step ahead,
// between two groups, while nobody waits. They hold what the hole reads as anyway.
//
// Crash windows: pages behind bbolt's high-water mark belong to no tree, so whatever
// becomes of the zeros, written, torn or lost, what open reads is the same. A page
// is only zeroed before bbolt has ever been given it: the mark is asked of bbolt in
// the goroutine that alone commits, and never goes back.
type room struct {
	file *os.File // bbolt's own; nil while none is open
	end  int64    // zeros reach up to here
	size int64    // of the file, when end was last moved
}

// openBolt opens the journal's file and keeps hold of it for room.
func (r *room) openBolt(path string) (*bolt.DB, error) {
	opts := boltOptions()
	var file *os.File
	opts.OpenFile = func(name string, flag int, perm os.FileMode) (*os.File, error) {
		f, err := os.OpenFile(name, flag, perm) //nolint:gosec // the journal's own path
		if file == nil {
			file = f
		}
		return f, err
	}
	db, err := bolt.Open(path, 0o600, opts)
	*r = room{}
	if err == nil {
		r.file = file
	}
	return db, err
}

// step is how much is laid ahead at once: little, since a system with many dirty
// pages makes whoever writes wait for the disk.
func (c *committer) step() int64 { return min(max(c.size/roomShare, roomMin), roomMax) }

// roomLow tells that less than half a step of zeros is left.
func (c *committer) roomLow() bool {
	r := &c.room
	if r.file == nil || c.m.phase != phaseRunning || c.size+c.step()/2 < r.end {
		return false
	}
	return r.end != r.size || c.size >= r.size // else bbolt has yet to grow the file
}

// ahead lays a step of zeros. A failure is no matter: the commit that needs the
// page will meet it, and knows what to do.
func (c *committer) ahead() {
	r := &c.room
	var mark int64
	if err := c.j.db.View(func(tx *bolt.Tx) error { mark = tx.Size(); return nil }); err != nil {
		return
	}
	info, err := r.file.Stat()
	if err != nil {
		return
	}
	from := max(mark, r.end)
	r.size = info.Size()
	r.end = max(from, min(mark+c.step(), r.size))
	for at := from; at < r.end; at += int64(len(zeros)) {
		if _, err := r.file.WriteAt(zeros[:min(int64(len(zeros)), r.end-at)], at); err != nil {
			return
		}
	}
}

var zeros [64 << 10]byte
