// Package ledgertest holds backends of the ledger to the contract's text. It
// promises that a backend which passes may stand under the aggregator; it stops
// at what can be seen through the interface: torn files and power cuts are each
// backend's own tests.
package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Open opens the ledger that lives in a folder, making one in an empty folder.
// Backends should be opened with small bounds, so that a few thousand events
// reach every state of theirs.
type Open func(dir string) ledger.Ledger

// Conformance runs the suite.
func Conformance(t *testing.T, open func(dir string) ledger.Ledger) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, *bench)
	}{
		{"empty", testEmpty},
		{"round trip", testRoundTrip},
		{"contiguity", testContiguity},
		{"all or nothing", testAllOrNothing},
		{"fencing", testFencing},
		{"marks", testMarks},
		{"names", testNames},
		{"find", testFind},
		{"exceptions", testExceptions},
		{"exceptions paging", testPaging},
		{"facts", testFacts},
		{"checkpoint", testCheckpoint},
		{"large batches", testLarge},
		{"context", testContext},
		{"scan", testScan},
		{"concurrent readers", testConcurrent},
		{"model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := &bench{t: t, dir: filepath.Join(t.TempDir(), "ledger"), open: open}
			b.Ledger = open(b.dir)
			defer b.close()
			c.run(t, b)
		})
	}
}

// bench is one ledger under test.
type bench struct {
	ledger.Ledger
	t    testing.TB
	dir  string
	open Open
}

func (b *bench) close() {
	if err := b.Close(); err != nil {
		b.t.Errorf("close: %v", err)
	}
}

func (b *bench) reopen() {
	b.t.Helper()
	b.close()
	b.Ledger = b.open(b.dir)
}

func (b *bench) commit(batch *ledger.Batch) {
	b.t.Helper()
	if err := b.Commit(context.Background(), batch); err != nil {
		b.t.Fatalf("commit: %v", err)
	}
}

// grow commits n entries behind the head.
func (b *bench) grow(n int) {
	b.t.Helper()
	b.commit(&ledger.Batch{Entries: entries(b.Head()+1, n)})
}

// verify reads every entry back in three ways.
func (b *bench) verify(t *testing.T) {
	t.Helper()
	p := ledger.Position(1)
	if err := b.Scan(1, func(e *ledger.Entry) error {
		if want := entry(p); !same(&want, e) {
			diff(t, fmt.Sprintf("scan %d", p), want, *e)
		}
		p++
		return nil
	}); err != nil {
		t.Fatalf("scan: %v", err)
	}
	if p != b.Head()+1 {
		t.Fatalf("scan ended at %d, head is %d", p-1, b.Head())
	}
	for p := ledger.Position(1); p <= b.Head(); p++ {
		want := entry(p)
		if want.Ref != 0 {
			continue
		}
		got, content, ok, err := b.Find(want.EventID)
		if err != nil || !ok || got != p || content != want.Content {
			t.Fatalf("find event of entry %d: got %d %x %t %v, want content %x", p, got, content, ok, err, want.Content)
		}
		if p%13 == 0 {
			e, err := b.Read(p)
			if err != nil {
				t.Fatalf("read %d: %v", p, err)
			}
			diff(t, "read", want, e)
		}
	}
}

func testEmpty(t *testing.T, b *bench) {
	for range 2 {
		if b.Head() != 0 {
			t.Fatalf("head of an empty ledger is %d", b.Head())
		}
		if _, err := b.Read(1); !errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("read 1: got %v, want ErrNotFound", err)
		}
		if _, err := b.Read(0); !errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("read 0: got %v, want ErrNotFound", err)
		}
		if _, _, ok, err := b.Find(protocol.EventID{1}); ok || err != nil {
			t.Fatalf("find: got %t %v", ok, err)
		}
		at, err := b.Checkpoint(func(ledger.Chunk) error { return errors.New("there is a chunk") })
		if at != 0 || err != nil {
			t.Fatalf("checkpoint: got %d %v", at, err)
		}
		marks, err := b.Marks()
		if len(marks) != 0 || err != nil {
			t.Fatalf("marks: got %v %v", marks, err)
		}
		if n, err := b.CountExceptions(); n != 0 || err != nil {
			t.Fatalf("exceptions: got %d %v", n, err)
		}
		b.commit(&ledger.Batch{}) // nothing is a batch too
		b.reopen()
	}
}

func testRoundTrip(t *testing.T, b *bench) {
	for _, n := range []int{1, 1, 2, 30, 61} {
		b.grow(n)
	}
	b.verify(t)
	b.reopen()
	if b.Head() != 95 {
		t.Fatalf("head after reopen is %d, want 95", b.Head())
	}
	b.verify(t)
	if s := b.Stats(); s.Head != 95 || s.Bytes == 0 {
		t.Fatalf("stats: %+v", s)
	}
}

func testContiguity(t *testing.T, b *bench) {
	b.grow(5)
	for _, bad := range [][]ledger.Entry{
		{entry(7)}, {entry(5)}, {entry(0)}, {entry(6), entry(8)}, {entry(6), entry(6)},
	} {
		if err := b.Commit(context.Background(), &ledger.Batch{Entries: bad}); err == nil {
			t.Fatalf("a batch that starts at %d was taken behind head 5", bad[0].Position)
		}
		// The caller's memory is wrong: nothing more may be written by it.
		if err := b.Commit(context.Background(), &ledger.Batch{Entries: entries(6, 1)}); !errors.Is(err, ledger.ErrFailed) {
			t.Fatalf("commit after a failure: got %v, want ErrFailed", err)
		}
		b.reopen()
	}
	b.grow(1)
	b.verify(t)
}

func testAllOrNothing(t *testing.T, b *bench) {
	b.commit(&ledger.Batch{
		Entries: entries(1, 3), Marks: []ledger.Mark{{Origin: origin(1), Seq: 3}}, Facts: []ledger.Fact{{Key: "k", Value: []byte("v")}},
	})
	err := b.Commit(context.Background(), &ledger.Batch{
		Entries: entries(4, 2), Journals: []ledger.Journal{{ID: 1, Origin: origin(1)}},
		Marks:      []ledger.Mark{{Origin: origin(2), Seq: 9}, {Origin: origin(1), Seq: 5, WasSeq: 2}},
		Exceptions: []protocol.Exception{exception("x", "open", "c", 1)},
		Facts:      []ledger.Fact{{Key: "k", Value: []byte("w")}, {Key: "n", Value: []byte("w")}},
		Chunks:     []ledger.Chunk{{No: 1, Data: []byte("d")}}, Checkpoint: 5,
	})
	if !errors.Is(err, ledger.ErrFenced) {
		t.Fatalf("commit: got %v, want ErrFenced", err)
	}
	for range 2 {
		if b.Head() != 3 {
			t.Fatalf("head is %d, want 3", b.Head())
		}
		marks, err := b.Marks()
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "marks", []ledger.Mark{{Origin: origin(1), Seq: 3}}, marks)
		if js, err := b.Journals(); len(js) != 0 || err != nil {
			t.Fatalf("journals: got %v %v", js, err)
		}
		if v, err := b.Fact("k"); string(v) != "v" || err != nil {
			t.Fatalf("fact k: got %q %v", v, err)
		}
		if _, err := b.Fact("n"); !errors.Is(err, ledger.ErrNotFound) {
			t.Fatalf("fact n: got %v, want ErrNotFound", err)
		}
		if n, err := b.CountExceptions(); n != 0 || err != nil {
			t.Fatalf("exceptions: got %d %v", n, err)
		}
		if at, err := b.Checkpoint(func(ledger.Chunk) error { return nil }); at != 0 || err != nil {
			t.Fatalf("checkpoint: got %d %v", at, err)
		}
		if _, _, ok, err := b.Find(entry(4).EventID); ok || err != nil {
			t.Fatalf("find: got %t %v", ok, err)
		}
		b.reopen()
	}
	b.grow(10) // ErrFenced does not fail the ledger; a reopen forgets nothing
	b.verify(t)
}

func testContext(t *testing.T, b *bench) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.Commit(ctx, &ledger.Batch{Entries: entries(1, 1)}); !errors.Is(err, context.Canceled) {
		t.Fatalf("commit: got %v, want context.Canceled", err)
	}
	b.grow(1) // nothing was begun: the ledger goes on
	b.verify(t)
}

func testLarge(t *testing.T, b *bench) {
	b.grow(30_000)
	b.grow(1)
	for _, p := range []ledger.Position{1, 999, 15_000, 30_000, 30_001} {
		e, err := b.Read(p)
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "read", entry(p), e)
	}
	big := entry(30_002)
	big.Ref, big.Record = 0, make([]byte, protocol.RecordBytesMax)
	big.EventID = protocol.EventID{9, 9}
	for i := range 20_000 {
		big.Links = append(big.Links, ledger.Link{Cell: ledger.CellID(1<<32 - 1 - i), Prev: ledger.Position(1 + i)})
	}
	b.commit(&ledger.Batch{Entries: []ledger.Entry{big}})
	b.reopen()
	e, err := b.Read(30_002)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "big entry", big, e)
	big.Position++
	big.Record = append(big.Record, 1)
	if err := b.Commit(context.Background(), &ledger.Batch{Entries: []ledger.Entry{big}}); err == nil {
		t.Fatal("a record beyond the protocol's bound was taken")
	}
}
