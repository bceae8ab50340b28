package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// TestDumpsMakeTheLedgerAgain copies a ledger of two segments while it goes on
// committing, and compares everything that the contract can tell of the copy with
// what stood there at the snapshot.
func TestDumpsMakeTheLedgerAgain(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	l := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "l.db"), IDsHot: 20_000})
	s := newBenchSource()
	commit := func(b *ledger.Batch) {
		t.Helper()
		if err := l.Commit(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	commit(&ledger.Batch{Journals: s.journals(), Cells: []ledger.Cell{{ID: 1, Location: "S1", SKU: "A"}, {ID: 2, Location: "S2", SKU: "B"}}})
	for range 11 {
		commit(s.batch(10_000, 400))
	}
	commit(&ledger.Batch{
		Exceptions: []protocol.Exception{{ID: "x1", State: "open", Code: "c"}, {ID: "x2", State: "discarded", Code: "c"}},
		Facts:      []ledger.Fact{{Key: "f", Value: []byte("v")}, {Key: "gone", Value: []byte("v")}},
		Chunks:     []ledger.Chunk{{No: 1, Data: []byte("one")}, {No: 7, Data: bytes.Repeat([]byte{7}, 100_000)}}, Checkpoint: 105_000,
	})
	commit(&ledger.Batch{Facts: []ledger.Fact{{Key: "gone"}}})
	snap, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	commit(&ledger.Batch{Facts: []ledger.Fact{{Key: "f", Value: []byte("later")}, {Key: "later", Value: []byte("v")}}})
	commit(s.batch(5000, 400))
	var seg, state bytes.Buffer
	if err := snap.WriteState(&state); err != nil {
		t.Fatal(err)
	}
	snap.Close()
	if snap.Head != 110_000 || snap.Full() != 1 {
		t.Fatalf("snapshot of %d entries, %d segments", snap.Head, snap.Full())
	}
	if err := l.WriteSegment(0, &seg); err != nil {
		t.Fatal(err)
	}
	if err := l.WriteSegment(1, &bytes.Buffer{}); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a segment that is not full: %v", err)
	}
	info, err := CheckDump(bytes.NewReader(state.Bytes()))
	if err != nil || info.Head != 110_000 || info.First != 100_001 || info.Last != 110_000 || info.Checkpoint != 105_000 ||
		info.Cells != 2 || info.Exceptions != 2 || info.Chunks != 2 || string(info.Facts["f"]) != "v" || len(info.Facts) != 1 {
		t.Fatalf("state of %d entries to %d: %v", info.Head, info.Last, err)
	}
	if d := cmp.Diff(snap.Marks, info.Marks); d != "" {
		t.Errorf("marks: %s", d)
	}
	if tip, err := l.TipAt(110_000); err != nil || tip != info.Tip {
		t.Errorf("tip %+v, want %+v (%v)", info.Tip, tip, err)
	}
	for id, h := range info.Highest {
		if o := info.Origin(id); o.Store == "" || h.Seq == 0 && o.Store == "S0400" {
			t.Errorf("journal %d is %s, highest %+v", id, o, h)
		}
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	load(t, path, seg.Bytes(), state.Bytes())
	c := mustOpen(t, Options{Path: path, IDsHot: 20_000})
	compare(t, l, c, snap)
	if err := c.Commit(ctx, &ledger.Batch{Entries: []ledger.Entry{{Position: 110_001, Origin: 1}}}); err != nil {
		t.Errorf("the copy goes on: %v", err)
	}
}

func load(t *testing.T, path string, seg, state []byte) {
	t.Helper()
	loader, err := NewLoader(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loader.Add(bytes.NewReader(seg), false); err != nil {
		t.Fatal(err)
	}
	if _, err := loader.Add(bytes.NewReader(state), true); err != nil {
		t.Fatal(err)
	}
	if err := loader.Finish(); err != nil {
		t.Fatal(err)
	}
	if _, err := NewLoader(path); err == nil {
		t.Error("a file that exists is written over")
	}
}

func compare(t *testing.T, l, c *Ledger, snap *Snapshot) {
	t.Helper()
	if c.Head() != snap.Head {
		t.Fatalf("head %d, want %d", c.Head(), snap.Head)
	}
	next := ledger.Position(0)
	err := c.Scan(1, func(e *ledger.Entry) error {
		next++
		if e.Position != next {
			return fmt.Errorf("entry %d, want %d", e.Position, next)
		}
		if next%1000 != 1 {
			return nil
		}
		want, err := l.Read(e.Position)
		if err != nil {
			return err
		}
		if d := cmp.Diff(want, *e); d != "" {
			return fmt.Errorf("entry %d: %s", next, d)
		}
		p, content, ok, err := c.Find(e.EventID)
		if err != nil || !ok || p != next || content != e.Content {
			return fmt.Errorf("find entry %d: %d %t %w", next, p, ok, err)
		}
		return nil
	})
	if err != nil || next != snap.Head {
		t.Fatalf("scan ends at %d: %v", next, err)
	}
	marks, err := c.Marks()
	if d := cmp.Diff(snap.Marks, marks); d != "" || err != nil {
		t.Errorf("marks: %v %s", err, d)
	}
	js1, _ := l.Journals()
	js2, err := c.Journals()
	if d := cmp.Diff(js1, js2); d != "" || err != nil {
		t.Errorf("journals: %v %s", err, d)
	}
	var sizes []int
	at, err := c.Checkpoint(func(x ledger.Chunk) error { sizes = append(sizes, int(x.No), len(x.Data)); return nil })
	if d := cmp.Diff([]int{1, 3, 7, 100_000}, sizes); at != 105_000 || err != nil || d != "" {
		t.Errorf("checkpoint at %d: %v %s", at, err, d)
	}
	if list, err := c.Exceptions(ledger.Filter{State: "open"}); err != nil || len(list) != 1 || list[0].ID != "x1" {
		t.Errorf("exceptions: %v %v", list, err)
	}
	if v, err := c.Fact("f"); err != nil || string(v) != "v" {
		t.Errorf("fact: %q %v", v, err)
	}
	if _, err := c.Fact("gone"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a fact that was deleted: %v", err)
	}
}

// TestDamagedDumpsAreTold flips and cuts every part of a dump.
func TestDamagedDumpsAreTold(t *testing.T) {
	t.Parallel()
	l := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "l.db")})
	s := newBenchSource()
	if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals(), Facts: []ledger.Fact{{Key: "f", Value: []byte("v")}}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(context.Background(), s.batch(200, 5)); err != nil {
		t.Fatal(err)
	}
	snap, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	var state bytes.Buffer
	if err := snap.WriteState(&state); err != nil {
		t.Fatal(err)
	}
	whole := state.Bytes()
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		b := bytes.Clone(whole)
		at := rng.IntN(len(b))
		b[at] ^= byte(1 + rng.IntN(255))
		if _, err := CheckDump(bytes.NewReader(b)); !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatalf("byte %d of %d flipped: %v", at, len(b), err)
		}
		if cut := rng.IntN(len(whole)); true {
			if _, err := CheckDump(bytes.NewReader(whole[:cut])); !errors.Is(err, ledger.ErrCorrupt) {
				t.Fatalf("cut at %d of %d: %v", cut, len(whole), err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "copy.db")
	loader, err := NewLoader(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loader.Add(bytes.NewReader(whole[:len(whole)-1]), true); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("a cut dump is loaded: %v", err)
	}
	if err := loader.Finish(); !errors.Is(err, ledger.ErrCorrupt) {
		t.Errorf("a ledger without state is finished: %v", err)
	}
}

// TestSnapshotDoesNotStopCommits: while a copy is being taken the ledger grows to
// many times its size.
func TestSnapshotDoesNotStopCommits(t *testing.T) {
	if mapBytes(0) == 0 {
		t.Skip("this system has no room to map ahead")
	}
	l := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "l.db")})
	s := newBenchSource()
	if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals()}); err != nil {
		t.Fatal(err)
	}
	snap, err := l.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		for range 20 {
			if err := l.Commit(context.Background(), s.batch(1000, 100)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("commits wait for the snapshot")
	}
	snap.Close()
	if t.Failed() {
		<-done
	}
	if l.Head() != 20_000 || snap.Head != 0 {
		t.Errorf("head %d, snapshot's %d", l.Head(), snap.Head)
	}
}
