package merge

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

var errDisk = errors.New("the disk does not answer")

// failing is a log that fails, or answers with a torn record, at one call.
type failing struct {
	*memLog

	left int // calls until then; below zero: never
	torn bool
}

func (f *failing) due() bool {
	f.left--
	return f.left == 0
}

func (f *failing) Read(p ledger.Position) (ledger.Entry, error) {
	en, err := f.memLog.Read(p)
	switch {
	case err != nil || f.torn && len(en.Record) == 0 || !f.due(): // a second entry of a record has none of its own
	case f.torn:
		en.Record = en.Record[:1] // a record time, and then nothing
	default:
		return en, errDisk
	}
	return en, err
}

func (f *failing) Find(id protocol.EventID) (ledger.Position, [8]byte, bool, error) {
	if f.torn || !f.due() { // what an index answers has no record to tear
		return f.memLog.Find(id)
	}
	return 0, [8]byte{}, false, errDisk
}

// merged plays journals one after the other through an engine over a failing log,
// committing each record. It returns the error of the first Apply that had one.
func merged(js []*journal, f *failing) (w *world, err error) {
	w = &world{log: f.memLog, eng: New(f)}
	for _, j := range js {
		for _, r := range j.recs {
			ev := r.ev
			w.nowUS = max(w.nowUS, r.trueUS, 1)
			_, err := w.eng.Apply(Input{
				Origin: w.eng.Origin(r.origin), Epoch: max(r.epoch, 1), Seq: r.seq, MergedUS: w.nowUS, Record: protocol.AppendRecord(nil, r.recordUS, &ev),
			})
			if err != nil {
				return w, err
			}
			w.commit()
		}
	}
	return w, nil
}

func newFailing(at int, torn bool) *failing {
	return &failing{memLog: &memLog{ids: map[protocol.EventID]int{}}, left: at, torn: torn}
}

// Whichever of its calls a log fails, the Apply that made it says so: nothing is
// folded from half of what it asked for.
func TestAFailingLogIsNeverFoldedOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		js := drawHistory(t)
		torn := rapid.Bool().Draw(t, "torn")
		count := newFailing(-1, torn)
		clean, err := merged(js, count)
		if err != nil {
			t.Fatalf("without a failure: %v", err)
		}
		calls := -1 - count.left
		if calls < 1 {
			return
		}
		f := newFailing(rapid.IntRange(1, calls).Draw(t, "call"), torn)
		w, err := merged(js, f)
		switch {
		case err == nil && torn && cmp.Equal(clean.positions(), w.positions()): // nobody read what was torn off
		case err == nil:
			t.Fatalf("call %d of %d failed, and nobody said so", calls-f.left, calls)
		case !torn && !errors.Is(err, errDisk):
			t.Fatalf("the cause is lost: %v", err)
		}
	})
}

// An explanation says that it cannot be given, and gives nothing.
func TestAFailingLogIsNotExplainedOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, err := merged(drawHistory(t), newFailing(-1, false))
		if err != nil {
			t.Fatal(err)
		}
		torn := rapid.Bool().Draw(t, "torn")
		q := Question{Limit: 100}
		if rapid.Bool().Draw(t, "past") {
			q.AtUS = w.nowUS - rapid.Int64Range(0, 100*sec).Draw(t, "at")
			q.KnownUS = w.nowUS - rapid.Int64Range(0, 100*sec).Draw(t, "known")
		}
		w.eng.Each(func(c Cell) {
			count := &failing{memLog: w.log, left: -1, torn: torn}
			clean, err := Explain(w.eng.View(c.ID), count.Read, q)
			if err != nil {
				t.Fatalf("without a failure: %v", err)
			}
			for at := 1; at <= -1-count.left; at++ {
				f := &failing{memLog: w.log, left: at, torn: torn}
				x, err := Explain(w.eng.View(c.ID), f.Read, q)
				if torn && err == nil && cmp.Equal(clean, x) {
					continue // nobody read what was torn off
				}
				if err == nil || x != nil {
					t.Fatalf("read %d of %d failed: %+v, %v", at, -1-count.left, x, err)
				}
			}
		})
	})
}

// A checkpoint that was cut short or altered is refused, or is one; it never
// panics, and never asks for more room than it has bytes.
func TestDamagedCheckpointsAreRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, err := merged(drawHistory(t), newFailing(-1, false))
		if err != nil {
			t.Fatal(err)
		}
		b := &ledger.Batch{}
		w.eng.Checkpoint(b)
		restore := func(chunks []ledger.Chunk) error {
			back := New(w.log)
			back.Register(w.journals)
			return back.Restore(b.Checkpoint, chunks, w.each)
		}
		if err := restore(b.Chunks); err != nil {
			t.Fatalf("undamaged: %v", err)
		}
		n := rapid.IntRange(0, len(b.Chunks)-1).Draw(t, "chunk")
		whole := b.Chunks[n].Data
		for cut := range whole {
			damaged := slices.Clone(b.Chunks)
			damaged[n].Data = whole[:cut]
			if err := restore(damaged); !errors.Is(err, ledger.ErrCorrupt) {
				t.Fatalf("chunk %d cut to %d of %d bytes: %v", n, cut, len(whole), err)
			}
		}
		damaged := slices.Clone(b.Chunks)
		damaged[n].Data = append(slices.Clone(whole), 0)
		if err := restore(damaged); !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatalf("a byte too many: %v", err)
		}
		flipped := slices.Clone(whole)
		flipped[rapid.IntRange(0, len(whole)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		damaged[n].Data = flipped
		_ = restore(damaged) // the ledger's own checksums find it; here it only must not panic
	})
}
