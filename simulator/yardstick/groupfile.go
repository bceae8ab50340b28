package yardstick

import (
	"errors"
	"fmt"
	"os"
	"sync"
)

// GroupFile appends records to a file whose blocks were written beforehand, so
// that a sync need not touch the file system's own journal. Waiting writers
// share one sync: the first becomes the leader and takes everybody's bytes.
type GroupFile struct {
	f    *os.File
	size int64

	mu      sync.Mutex
	pending []byte
	waiters []chan error
	leading bool
	at      int64
}

// ErrFull says that the preallocated space is used up.
var ErrFull = errors.New("preallocated file is full")

// CreateGroupFile writes size bytes of zeros and syncs them.
func CreateGroupFile(path string, size int64) (*GroupFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create group file: %w", err)
	}
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < size; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at); err != nil {
			return nil, errors.Join(fmt.Errorf("preallocate: %w", err), f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(fmt.Errorf("preallocate: %w", err), f.Close())
	}
	return &GroupFile{f: f, size: size}, nil
}

// Append returns when rec is on disk.
func (g *GroupFile) Append(rec []byte) error {
	done := make(chan error, 1)
	g.mu.Lock()
	g.pending = append(g.pending, rec...)
	g.waiters = append(g.waiters, done)
	if g.leading {
		g.mu.Unlock()
		return <-done
	}
	g.leading = true
	for len(g.waiters) > 0 {
		buf, ws, at := g.pending, g.waiters, g.at
		g.pending, g.waiters = nil, nil
		g.at += int64(len(buf))
		g.mu.Unlock()
		err := g.write(buf, at)
		for _, w := range ws {
			w <- err
		}
		g.mu.Lock()
	}
	g.leading = false
	g.mu.Unlock()
	return <-done
}

func (g *GroupFile) write(buf []byte, at int64) error {
	if at+int64(len(buf)) > g.size {
		return ErrFull
	}
	if _, err := g.f.WriteAt(buf, at); err != nil {
		return fmt.Errorf("write group: %w", err)
	}
	return datasync(g.f)
}

// Close closes the file.
func (g *GroupFile) Close() error { return g.f.Close() }
