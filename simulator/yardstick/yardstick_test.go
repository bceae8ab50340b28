package yardstick

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
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

// Every message that was answered arrived at the hook, as it was packed.
func TestMochiCountsWhatArrives(t *testing.T) {
	m, err := StartMochi()
	if err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	stop, err := Count(m.Addr, "up/#", &seen)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Dial(m.Addr, "S0042")
	if err != nil {
		t.Fatal(err)
	}
	packed := 0
	messages := make([][]byte, 50)
	if err := p.Send("up/S0042", messages, 4, func([]byte) ([]byte, error) { packed++; return []byte("frame"), nil }); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); seen.Load() < 50 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	if m.Arrived.Load() != 50 || seen.Load() != 50 || packed != 50 {
		t.Errorf("%d arrived, %d were delivered, %d packed", m.Arrived.Load(), seen.Load(), packed)
	}
	p.Close()
	stop()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

func TestZstdUnpacksWhatItPacked(t *testing.T) {
	z, err := NewZstd()
	if err != nil {
		t.Fatal(err)
	}
	raw := bytes.Repeat([]byte("a sale "), 100)
	packed := z.Pack(nil, raw)
	got, err := z.Unpack(nil, packed)
	if err != nil || !bytes.Equal(got, raw) || len(packed) > len(raw)/4 {
		t.Errorf("%d of %d bytes, %v", len(packed), len(got), err)
	}
}
