package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// model is what a ledger should hold, in maps.
type model struct {
	head       ledger.Position
	marks      map[protocol.Origin]ledger.Mark
	facts      map[string]string
	exceptions map[string]protocol.Exception
	chunks     map[uint32]string
	at         ledger.Position
}

// testModel does what chance says to a ledger and to the model, reopening now
// and then, and compares.
func testModel(t *testing.T, outer *bench) {
	base := filepath.Join(filepath.Dir(outer.dir), "model")
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		b := &bench{t: t, dir: filepath.Join(base, fmt.Sprint(n)), open: outer.open}
		b.Ledger = b.open(b.dir)
		defer func() {
			b.close()
			_ = os.RemoveAll(b.dir)
		}()
		m := &model{
			marks: map[protocol.Origin]ledger.Mark{}, facts: map[string]string{},
			exceptions: map[string]protocol.Exception{}, chunks: map[uint32]string{},
		}
		for range rapid.IntRange(1, 25).Draw(rt, "steps") {
			switch rapid.IntRange(0, 9).Draw(rt, "what") {
			case 0:
				b.reopen()
			case 1:
				m.fenced(rt, b)
			default:
				m.commit(rt, b)
			}
		}
		m.compare(rt, b)
		b.reopen()
		m.compare(rt, b)
	})
}

func (m *model) commit(rt *rapid.T, b *bench) {
	batch := &ledger.Batch{Entries: entries(m.head+1, rapid.IntRange(0, 60).Draw(rt, "entries"))}
	m.head += ledger.Position(len(batch.Entries))
	for _, o := range rapid.SliceOfNDistinct(rapid.IntRange(1, 4), 0, 3, rapid.ID).Draw(rt, "marks") {
		was := m.marks[origin(o)]
		mark := ledger.Mark{
			Origin: origin(o), Epoch: rapid.Uint64Range(0, 3).Draw(rt, "epoch"), Lease: rapid.Uint64().Draw(rt, "lease"),
			Seq: rapid.Uint64().Draw(rt, "seq"), BootID: rapid.String().Draw(rt, "boot"),
		}
		m.marks[mark.Origin] = mark
		mark.WasEpoch, mark.WasLease, mark.WasSeq = was.Epoch, was.Lease, was.Seq
		batch.Marks = append(batch.Marks, mark)
	}
	for range rapid.IntRange(0, 2).Draw(rt, "facts") {
		f := ledger.Fact{Key: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(rt, "fact")}
		if delete(m.facts, f.Key); rapid.Bool().Draw(rt, "keep") {
			f.Value = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(rt, "value")
			m.facts[f.Key] = string(f.Value)
		}
		batch.Facts = append(batch.Facts, f)
	}
	for range rapid.IntRange(0, 3).Draw(rt, "exceptions") {
		e := exception(rapid.StringMatching(`[a-c]{1,2}`).Draw(rt, "id"), rapid.SampledFrom([]string{"open", "discarded"}).Draw(rt, "state"),
			rapid.SampledFrom([]string{"x", "xy"}).Draw(rt, "code"), rapid.IntRange(1, 2).Draw(rt, "store"))
		m.exceptions[e.ID] = e
		batch.Exceptions = append(batch.Exceptions, e)
	}
	if rapid.IntRange(0, 3).Draw(rt, "checkpoint") == 0 && m.head > 0 {
		m.at, batch.Checkpoint = m.head, m.head
		for _, no := range rapid.SliceOfN(rapid.Uint32Range(0, 5), 0, 3).Draw(rt, "chunks") {
			data := rapid.StringN(0, 50, -1).Draw(rt, "data")
			m.chunks[no] = data
			batch.Chunks = append(batch.Chunks, ledger.Chunk{No: no, Data: []byte(data)})
		}
	}
	if err := b.Commit(context.Background(), batch); err != nil {
		rt.Fatalf("commit: %v", err)
	}
}

// fenced commits what must be refused without a trace.
func (m *model) fenced(rt *rapid.T, b *bench) {
	o := origin(rapid.IntRange(1, 5).Draw(rt, "fenced"))
	was := m.marks[o]
	err := b.Commit(context.Background(), &ledger.Batch{
		Entries: entries(m.head+1, 3), Facts: []ledger.Fact{{Key: "a", Value: []byte("fenced")}},
		Marks: []ledger.Mark{{Origin: o, Seq: 1, WasEpoch: was.Epoch, WasLease: was.Lease + 1, WasSeq: was.Seq}},
	})
	if !errors.Is(err, ledger.ErrFenced) {
		rt.Fatalf("commit: got %v, want ErrFenced", err)
	}
}

func (m *model) compare(rt *rapid.T, b *bench) {
	t, _ := b.t.(*testing.T)
	if b.Head() != m.head {
		rt.Fatalf("head is %d, want %d", b.Head(), m.head)
	}
	b.verify(t)
	marks, err := b.Marks()
	if err != nil {
		rt.Fatalf("marks: %v", err)
	}
	got := map[protocol.Origin]ledger.Mark{}
	for _, mark := range marks {
		got[mark.Origin] = mark
	}
	diff(t, "marks", m.marks, got)
	for _, key := range []string{"a", "b", "c"} {
		v, err := b.Fact(key)
		if want, ok := m.facts[key]; ok != (err == nil) || string(v) != want {
			rt.Fatalf("fact %s: got %q %v, want %q %t", key, v, err, want, ok)
		}
	}
	chunks := map[uint32]string{}
	at, err := b.Checkpoint(func(c ledger.Chunk) error { chunks[c.No] = string(c.Data); return nil })
	if err != nil || at != m.at {
		rt.Fatalf("checkpoint: got %d %v, want %d", at, err, m.at)
	}
	diff(t, "chunks", m.chunks, chunks)
	m.compareExceptions(rt, t, b)
}

func (m *model) compareExceptions(rt *rapid.T, t *testing.T, b *bench) {
	open := 0
	for _, f := range []ledger.Filter{{}, {State: "open"}, {Code: "x"}, {Store: "S0002", State: "open"}, {State: "discarded", Code: "xy"}} {
		got, err := b.Exceptions(f)
		if err != nil {
			rt.Fatalf("exceptions: %v", err)
		}
		var want []protocol.Exception
		for _, id := range slices.Sorted(maps.Keys(m.exceptions)) {
			e := m.exceptions[id]
			if (f.State == "" || e.State == f.State) && (f.Code == "" || e.Code == f.Code) && (f.Store == "" || e.Origin.Store == f.Store) {
				want = append(want, e)
			}
		}
		if f == (ledger.Filter{State: "open"}) {
			open = len(want)
		}
		diff(t, fmt.Sprintf("exceptions %+v", f), want, got)
	}
	if n, err := b.CountExceptions(); n != open || err != nil {
		rt.Fatalf("count: got %d %v, want %d", n, err, open)
	}
}
