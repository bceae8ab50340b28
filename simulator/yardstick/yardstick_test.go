package yardstick

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// A yardstick that cheats measures nothing: every record must be in the file,
// whole, once, when Append has returned.
func TestGroupFileHoldsEveryRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "g")
	g, err := CreateGroupFile(path, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for range 20 {
				if err := g.Append(bytes.Repeat([]byte{byte('a' + w)}, 50)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for w := range 16 {
		if n := bytes.Count(b, bytes.Repeat([]byte{byte('a' + w)}, 50)); n != 20 {
			t.Errorf("writer %d: %d records", w, n)
		}
	}
}

func TestGroupFileSaysFull(t *testing.T) {
	g, err := CreateGroupFile(filepath.Join(t.TempDir(), "g"), 100)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	if err := g.Append(make([]byte, 90)); err != nil {
		t.Fatal(err)
	}
	if err := g.Append(make([]byte, 90)); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
}

func TestBoltBatches(t *testing.T) {
	b, err := OpenBolt(filepath.Join(t.TempDir(), "b"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Batch([][]byte{{1}, {2}}); err != nil {
			t.Fatal(err)
		}
	}
	if b.seq != 6 {
		t.Errorf("%d records", b.seq)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}
