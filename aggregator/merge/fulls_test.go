package merge

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// TestFullCountsOfThen replays the log of a store to each of its moments: what an
// explanation of that moment says of an article is what the fold had then, whether a
// full count of several documents zeroed it before the article came to be, between two
// of them, or afterwards by the silence of a later one; and also when so many full
// counts came since that the engine has forgotten it.
func TestFullCountsOfThen(t *testing.T) {
	w := newWorld()
	j, other := newJournal("S1", "server"), newJournal("S1", "till-2")
	now := int64(0)
	put := func(j *journal, at int64, kind protocol.Kind, doc string, lines ...protocol.Line) *rec {
		now += 100 * sec
		r := j.add(kind, doc, now+at*sec, now+at*sec, lines...)
		r.trueUS = now
		return r
	}
	part := func(doc, session, sku string, units int64) {
		r := put(j, 0, protocol.KindCount, doc, line(sku, units))
		r.ev.Scope, r.ev.Session = protocol.ScopeFull, session
		w.apply(t, *r)
		w.commit()
	}
	moves := func(kind protocol.Kind, doc, sku string, units, at int64) {
		r := put(other, at, kind, doc, line(sku, units))
		w.apply(t, *r)
		w.commit()
	}
	moves(protocol.KindReceipt, "r1", "A", 5, 0)
	part("n1", "night", "B", 7)
	moves(protocol.KindSale, "between", "C", 2, 0)     // zeroed by n1's silence, then by n2's
	moves(protocol.KindReceipt, "early", "D", 3, -150) // happened before n1: gone with it
	moves(protocol.KindSale, "s1", "A", 1, 0)          // now C, which no count has seen, is what n2 finds untouched the longest
	moves(protocol.KindSale, "s2", "B", 1, 0)
	part("n2", "night", "A", 4)
	moves(protocol.KindSale, "after", "E", 1, 0)
	moves(protocol.KindReceipt, "late", "F", 6, -150) // happened before n2, the greatest part
	for n := range 2 * fullCountsMax {
		part(fmt.Sprint("m", n), fmt.Sprint("morning", n), "A", int64(n))
		part(fmt.Sprint("e", n), fmt.Sprint("morning", n), "B", int64(n))
		moves(protocol.KindReceipt, fmt.Sprint("x", n), fmt.Sprint("X", n), 2, 0)
		moves(protocol.KindReceipt, fmt.Sprint("y", n), fmt.Sprint("Y", n), 2, -250)
	}
	then := New(w.log)
	then.Register(w.journals)
	for i := range w.log.entries {
		if _, err := then.Replay(&w.log.entries[i], func(*protocol.Event) string { return "" }); err != nil {
			t.Fatal(err)
		}
		then.Each(func(c Cell) {
			checkExplained(t, w, c, Question{Limit: 1000, KnownUS: w.log.entries[i].MergedUS}, true)
			now, err := Explain(then.View(c.ID), w.log.Read, Question{Limit: 1000})
			if err != nil {
				t.Fatal(err)
			}
			past, err := Explain(w.eng.View(c.ID), w.log.Read, Question{Limit: 1000, KnownUS: w.log.entries[i].MergedUS})
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(now, past); d != "" {
				t.Errorf("after entry %d %s is explained otherwise than of that moment, later (-then +later):\n%s", i+1, c.SKU, d)
			}
		})
	}
}

// TestTheSearchForFullCountsIsCheap holds what the search reads: full counts lead from
// one to the next by what nobody touched between them, and the oldest articles tell
// where there is none.
func TestTheSearchForFullCountsIsCheap(t *testing.T) {
	w := newWorld()
	j := newJournal("S1", "server")
	now := int64(0)
	put := func(kind protocol.Kind, doc string, sku string) *rec {
		now += 10 * sec
		return j.add(kind, doc, now, now, line(sku, 1))
	}
	const articles = 500
	for n := range articles {
		w.apply(t, *put(protocol.KindReceipt, fmt.Sprint("r", n), fmt.Sprint("A", n)))
	}
	for n := range 5_000 { // all but one in ten are busy
		if n%10 != 0 {
			w.apply(t, *put(protocol.KindSale, fmt.Sprint("s", n), fmt.Sprint("A", n%articles)))
		}
	}
	for n := range 6 {
		r := put(protocol.KindCount, fmt.Sprint("c", n), "A0")
		r.ev.Scope = protocol.ScopeFull
		w.apply(t, *r)
	}
	w.commit()
	for n := range 200 {
		w.apply(t, *put(protocol.KindSale, fmt.Sprint("t", n), "NEW"))
	}
	put(protocol.KindCount, "last", "A1").ev.Scope = protocol.ScopeFull
	w.apply(t, j.recs[len(j.recs)-1])
	w.commit()
	for sku, most := range map[protocol.SKU]int{"NEW": 201 + 20, "A7": 120 + 20} {
		id, _ := w.eng.Lookup("S1", sku)
		reads := 0
		read := func(p ledger.Position) (ledger.Entry, error) {
			reads++
			return w.log.Read(p)
		}
		if _, err := Explain(w.eng.View(id), read, Question{Limit: 10, KnownUS: w.nowUS}); err != nil {
			t.Fatal(err)
		}
		if reads > most {
			t.Errorf("%s: %d entries were read, not %d", sku, reads, most)
		}
	}
}

// TestASearchForFullCountsEnds: where every article of a shop moved more than an
// explanation reads between two full counts, it says so.
func TestASearchForFullCountsEnds(t *testing.T) {
	s := search{loc: "S1", read: func(p ledger.Position) (ledger.Entry, error) {
		return ledger.Entry{Position: p, Ref: 1, Links: []ledger.Link{{Cell: 1, Prev: p - 1}}}, nil
	}}
	_, err := s.before(&ledger.Entry{Position: 1 << 40, Links: []ledger.Link{{Cell: 1, Prev: 1<<40 - 1}}})
	if !errors.Is(err, ledger.ErrNotFound) || s.reads != explainWalkMax+1 {
		t.Errorf("%v after %d entries", err, s.reads)
	}
}
