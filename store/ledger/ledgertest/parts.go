package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

func testFencing(t *testing.T, b *bench) {
	set := func(want error, m ledger.Mark) {
		t.Helper()
		m.Origin = origin(1)
		if err := b.Commit(context.Background(), &ledger.Batch{Marks: []ledger.Mark{m}}); !errors.Is(err, want) {
			t.Fatalf("set %+v: got %v, want %v", m, err, want)
		}
	}
	set(ledger.ErrFenced, ledger.Mark{Seq: 1, WasSeq: 1})
	set(nil, ledger.Mark{Epoch: 1, Lease: 2, Seq: 3})
	for _, reopen := range []bool{false, true} {
		if reopen {
			b.reopen()
		}
		set(ledger.ErrFenced, ledger.Mark{Epoch: 1, Lease: 2, Seq: 4})
		set(ledger.ErrFenced, ledger.Mark{Seq: 4, WasEpoch: 0, WasLease: 2, WasSeq: 3})
		set(ledger.ErrFenced, ledger.Mark{Seq: 4, WasEpoch: 1, WasLease: 1, WasSeq: 3})
		set(ledger.ErrFenced, ledger.Mark{Seq: 4, WasEpoch: 1, WasLease: 2, WasSeq: 2})
	}
	set(nil, ledger.Mark{Epoch: 1, Lease: 2, Seq: 9, WasEpoch: 1, WasLease: 2, WasSeq: 3})
	set(nil, ledger.Mark{Epoch: 2, Lease: 5, Seq: 4, WasEpoch: 1, WasLease: 2, WasSeq: 9}) // an epoch may go back
}

func testMarks(t *testing.T, b *bench) {
	full := ledger.Mark{
		Origin: protocol.Origin{Store: "DC1", Agent: "feed:wms"}, Epoch: 3, Lease: 1 << 60, Seq: 1 << 50, Chain: protocol.Chain{1, 2, 0xff},
		SafeSeq: 7, InstallID: "<\"i\">\x00", BootID: "b", HeadSeen: 1 << 63, Forks: []ledger.Fork{{Epoch: 2, After: 10}, {Epoch: 3, After: 4}},
		RecordUS: -1, MergedUS: 1_790_000_000_000_000,
	}
	plain := ledger.Mark{Origin: origin(1), Seq: 1}
	b.commit(&ledger.Batch{Marks: []ledger.Mark{plain, full}})
	for range 2 {
		marks, err := b.Marks()
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "marks", []ledger.Mark{full, plain}, marks)
		marks[0].Forks[0].After = 99 // what was given is the caller's
		b.reopen()
	}
}

func testNames(t *testing.T, b *bench) {
	var journals []ledger.Journal
	var cells []ledger.Cell
	next := func(nj, nc int) *ledger.Batch {
		for range nj {
			journals = append(journals, ledger.Journal{ID: ledger.OriginID(len(journals) + 1), Origin: origin(len(journals) * 7 % 100)})
		}
		for range nc {
			n := len(cells) + 1
			cells = append(cells, ledger.Cell{ID: ledger.CellID(n), Location: origin(n % 9).Store, SKU: protocol.SKU(fmt.Sprintf("SKU ü %d", n))})
		}
		return &ledger.Batch{Journals: journals[len(journals)-nj:], Cells: cells[len(cells)-nc:]}
	}
	b.commit(next(3, 2500))
	b.commit(next(300, 0))
	b.reopen()
	b.commit(next(1, 1001))
	for range 2 {
		got, err := b.Journals()
		if err != nil {
			t.Fatal(err)
		}
		diff(t, "journals", journals, got)
		var gotCells []ledger.Cell
		if err := b.Cells(func(c ledger.Cell) error { gotCells = append(gotCells, c); return nil }); err != nil {
			t.Fatal(err)
		}
		diff(t, "cells", cells, gotCells)
		b.reopen()
	}
	stop := errors.New("stop")
	if err := b.Cells(func(ledger.Cell) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("cells: got %v, want the callback's error", err)
	}
	if err := b.Commit(context.Background(), &ledger.Batch{Cells: []ledger.Cell{{ID: 1, Location: "S1", SKU: "x"}}}); err == nil {
		t.Fatal("a cell's number was given twice")
	}
}

func testFind(t *testing.T, b *bench) {
	for i := range 60 {
		b.grow(20 + i)
		if i%20 == 7 {
			b.reopen()
		}
	}
	b.verify(t)
	b.reopen()
	b.verify(t)
	for n := 1_000_000; n < 1_010_000; n++ {
		id, _, _ := record(n)
		if p, _, ok, err := b.Find(id); ok || err != nil {
			t.Fatalf("find an unknown event: got %d %t %v", p, ok, err)
		}
	}
}

func testExceptions(t *testing.T, b *bench) {
	var want []protocol.Exception
	for i := range 60 {
		want = append(want, exception(fmt.Sprintf("e%03d", i), []string{"open", "retried", "discarded"}[i%3], []string{"bad", "worse"}[i%2], 1+i%4))
	}
	b.commit(&ledger.Batch{Exceptions: want})
	list := func(f ledger.Filter, match func(e *protocol.Exception) bool) {
		t.Helper()
		got, err := b.Exceptions(f)
		if err != nil {
			t.Fatal(err)
		}
		var w []protocol.Exception
		for i := range want {
			if match(&want[i]) {
				w = append(w, want[i])
			}
		}
		if f.Store == "" && f.State == "" && len(w) == 0 {
			t.Fatalf("filter %+v tests nothing", f)
		}
		diff(t, fmt.Sprintf("filter %+v", f), w, got)
	}
	all := func() {
		t.Helper()
		for _, state := range []string{"", "open", "discarded", "none"} {
			for _, code := range []string{"", "bad", "worse"} {
				for _, store := range []protocol.StoreID{"", "S0001", "S0004"} {
					list(ledger.Filter{State: state, Code: code, Store: store}, func(e *protocol.Exception) bool {
						return (state == "" || e.State == state) && (code == "" || e.Code == code) && (store == "" || e.Origin.Store == store)
					})
				}
			}
		}
		for _, f := range []ledger.Filter{
			{Source: ledger.SourceAgents}, {Source: ledger.SourceOf(want[0].Origin), State: "open"}, {Since: want[1].At}, {Until: want[1].At.Add(time.Microsecond), Code: "bad"},
		} {
			list(f, func(e *protocol.Exception) bool { return f.Match(e) })
		}
		n, err := b.CountExceptions()
		open := slices.DeleteFunc(slices.Clone(want), func(e protocol.Exception) bool { return e.State != "open" })
		if n != len(open) || err != nil {
			t.Fatalf("count: got %d %v, want %d", n, err, len(open))
		}
	}
	all()
	want[0].State, want[0].Note = "discarded", "not ours" // replaced: leaves its old lists
	want[1].State = "open"
	want[2].Code = "worse"
	b.commit(&ledger.Batch{Exceptions: slices.Clone(want[:4])})
	all()
	b.reopen()
	all()
	got, err := b.Exception("e000")
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "exception", want[0], got)
	if _, err := b.Exception("e00"); !errors.Is(err, ledger.ErrNotFound) {
		t.Fatalf("exception: got %v, want ErrNotFound", err)
	}
}

func testPaging(t *testing.T, b *bench) {
	var ids []string
	batch := &ledger.Batch{}
	for i := range 2300 {
		e := protocol.Exception{ID: fmt.Sprintf("id-%05d", i), State: "open", Code: "c", Origin: origin(1 + i%2)}
		if i%2 == 1 {
			ids = append(ids, e.ID)
		}
		batch.Exceptions = append(batch.Exceptions, e)
	}
	b.commit(batch)
	for _, f := range []ledger.Filter{
		{Store: "S0002", Limit: 100}, {Store: "S0002", State: "open", Limit: 575}, {Store: "S0002", Code: "c", Limit: 1150}, {Store: "S0002"},
	} {
		var got []string
		for {
			page, err := b.Exceptions(f)
			if err != nil {
				t.Fatal(err)
			}
			if limit := max(f.Limit, 0); limit > 0 && len(page) > limit || len(page) > 1150 {
				t.Fatalf("page of %d with limit %d", len(page), f.Limit)
			}
			for i := range page {
				got = append(got, page[i].ID)
			}
			if len(page) == 0 {
				break
			}
			f.After = page[len(page)-1].ID
		}
		diff(t, fmt.Sprintf("pages of %+v", f), ids, got)
	}
	if page, err := b.Exceptions(ledger.Filter{}); len(page) != 1000 || err != nil {
		t.Fatalf("page without limit: got %d %v, want 1000", len(page), err)
	}
	// A row that is gone from the list is still a place to continue behind.
	if page, err := b.Exceptions(ledger.Filter{After: "id-00000x", Limit: 1}); len(page) != 1 || page[0].ID != "id-00001" || err != nil {
		t.Fatalf("page behind an id that is not there: %v %v", page, err)
	}
}

func testFacts(t *testing.T, b *bench) {
	b.commit(&ledger.Batch{Facts: []ledger.Fact{{Key: "a", Value: []byte{1}}, {Key: "empty", Value: []byte{}}, {Key: "gone", Value: []byte{2}}}})
	b.commit(&ledger.Batch{Facts: []ledger.Fact{{Key: "a", Value: []byte{3}}, {Key: "gone", Value: nil}, {Key: "never", Value: nil}}})
	for range 2 {
		for key, want := range map[string][]byte{"a": {3}, "empty": {}} {
			if v, err := b.Fact(key); err != nil || v == nil || string(v) != string(want) {
				t.Fatalf("fact %s: got %v %v, want %v", key, v, err, want)
			}
		}
		for _, key := range []string{"gone", "never"} {
			if v, err := b.Fact(key); !errors.Is(err, ledger.ErrNotFound) {
				t.Fatalf("fact %s: got %v %v, want ErrNotFound", key, v, err)
			}
		}
		b.reopen()
	}
}

func testCheckpoint(t *testing.T, b *bench) {
	read := func(wantAt ledger.Position, want ...ledger.Chunk) {
		t.Helper()
		var got []ledger.Chunk
		at, err := b.Checkpoint(func(c ledger.Chunk) error { got = append(got, c); return nil })
		if err != nil || at != wantAt {
			t.Fatalf("checkpoint: got %d %v, want %d", at, err, wantAt)
		}
		diff(t, "chunks", want, got)
	}
	large := make([]byte, 100_000)
	large[99_999] = 7
	b.commit(&ledger.Batch{Entries: entries(1, 10), Checkpoint: 10, Chunks: []ledger.Chunk{{No: 0, Data: []byte("meta")}, {No: 300, Data: []byte("c")}, {No: 2, Data: large}}})
	read(10, ledger.Chunk{No: 0, Data: []byte("meta")}, ledger.Chunk{No: 2, Data: large}, ledger.Chunk{No: 300, Data: []byte("c")})
	b.grow(5)
	b.commit(&ledger.Batch{Checkpoint: 15, Chunks: []ledger.Chunk{{No: 2, Data: []byte("new")}, {No: 0, Data: nil}}})
	for range 2 {
		read(15, ledger.Chunk{No: 0}, ledger.Chunk{No: 2, Data: []byte("new")}, ledger.Chunk{No: 300, Data: []byte("c")})
		b.reopen()
	}
	stop := errors.New("stop")
	if _, err := b.Checkpoint(func(ledger.Chunk) error { return stop }); !errors.Is(err, stop) {
		t.Fatalf("checkpoint: got %v, want the callback's error", err)
	}
	if err := b.Commit(context.Background(), &ledger.Batch{Checkpoint: 16}); err == nil {
		t.Fatal("a checkpoint beyond the log was taken")
	}
}

func testScan(t *testing.T, b *bench) {
	b.grow(2500)
	stop := errors.New("stop")
	n := 0
	err := b.Scan(1000, func(e *ledger.Entry) error {
		if e.Position != ledger.Position(1000+n) {
			t.Fatalf("got entry %d, want %d", e.Position, 1000+n)
		}
		if n++; n == 1200 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 1200 {
		t.Fatalf("scan: got %v after %d", err, n)
	}
	var kept []*ledger.Entry
	if err := b.Scan(0, func(e *ledger.Entry) error { kept = append(kept, e); return nil }); err != nil {
		t.Fatal(err)
	}
	for i, e := range kept { // the entry is fn's to keep
		diff(t, "kept", entry(ledger.Position(i+1)), *e)
	}
	for _, from := range []ledger.Position{2501, 1 << 40} {
		if err := b.Scan(from, func(*ledger.Entry) error { return stop }); err != nil {
			t.Fatalf("scan from %d: %v", from, err)
		}
	}
}

// testConcurrent reads while commits, seals and merges go on. What a reader has
// seen once it must see for ever.
func testConcurrent(t *testing.T, b *bench) {
	b.grow(10)
	var stop atomic.Bool
	var wg sync.WaitGroup
	reader := func(fn func() error) {
		wg.Go(func() {
			for !stop.Load() {
				if err := fn(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for r := range 3 {
		n := r
		reader(func() error {
			n = (n*31 + 7) & 0xffff
			p := 1 + ledger.Position(n)%b.Head()
			want := entry(p)
			if got, _, ok, err := b.Find(want.EventID); want.Ref == 0 && (err != nil || !ok || got != p) {
				return fmt.Errorf("find event of entry %d: got %d %t %w", p, got, ok, err)
			}
			e, err := b.Read(p)
			if err != nil || e.EventID != want.EventID || string(e.Record) != string(want.Record) {
				return fmt.Errorf("read %d: got %+v %w", p, e, err)
			}
			return nil
		})
	}
	reader(func() error {
		p := ledger.Position(0)
		if err := b.Scan(1, func(e *ledger.Entry) error { p = e.Position; return nil }); err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		marks, err := b.Marks()
		if err != nil || len(marks) > 0 && marks[0].Seq < uint64(p) {
			return fmt.Errorf("log was at %d, and then marks at %+v: %w", p, marks, err)
		}
		if s := b.Stats(); s.Head < p {
			return fmt.Errorf("log was at %d, and then head at %d", p, s.Head)
		}
		return nil
	})
	m := ledger.Mark{Origin: origin(1)}
	for i := range 150 {
		n := 1 + i%40
		m.WasSeq, m.Seq = m.Seq, uint64(b.Head())+uint64(n)
		b.commit(&ledger.Batch{Entries: entries(b.Head()+1, n), Marks: []ledger.Mark{m}})
	}
	stop.Store(true)
	wg.Wait()
	b.verify(t)
}
