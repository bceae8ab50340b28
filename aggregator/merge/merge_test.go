package merge

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// memLog is a log in memory: what the ledger does, without the disk.
type memLog struct {
	entries []ledger.Entry
	ids     map[protocol.EventID]int
}

func (m *memLog) Read(p ledger.Position) (ledger.Entry, error) {
	if p == 0 || int(p) > len(m.entries) {
		return ledger.Entry{}, ledger.ErrNotFound
	}
	return m.entries[p-1], nil
}

func (m *memLog) Find(id protocol.EventID) (ledger.Position, [8]byte, bool, error) {
	i, ok := m.ids[id]
	if !ok {
		return 0, [8]byte{}, false, nil
	}
	return m.entries[i].Position, m.entries[i].Content, true, nil
}

// world is an engine with its log, journals and cells as a ledger keeps them.
type world struct {
	log      *memLog
	eng      *Engine
	journals []ledger.Journal
	cells    []ledger.Cell
	nowUS    int64
}

func newWorld() *world {
	log := &memLog{ids: map[protocol.EventID]int{}}
	return &world{log: log, eng: New(log)}
}

func (w *world) commit() {
	b := &ledger.Batch{}
	w.eng.TakeStaged(b)
	for _, en := range b.Entries {
		if en.Ref == 0 {
			w.log.ids[en.EventID] = len(w.log.entries)
		}
		w.log.entries = append(w.log.entries, en)
	}
	w.journals = append(w.journals, b.Journals...)
	w.cells = append(w.cells, b.Cells...)
	w.eng.Committed()
}

func (w *world) each(fn func(ledger.Cell) error) error {
	for _, c := range w.cells {
		if err := fn(c); err != nil {
			return err
		}
	}
	return nil
}

// rec is one record of a journal, as the tests write them.
type rec struct {
	origin   protocol.Origin
	epoch    uint64
	seq      uint64
	recordUS int64
	ev       protocol.Event
	trueUS   int64 // the aggregator's clock when it was recorded; 0 = recordUS
}

func (w *world) apply(t tester, r rec) Outcome {
	t.Helper()
	ev := r.ev
	w.nowUS = max(w.nowUS, r.trueUS, 1)
	out, err := w.eng.Apply(Input{
		Origin: w.eng.Origin(r.origin), Epoch: max(r.epoch, 1), Seq: r.seq, MergedUS: w.nowUS,
		Record: protocol.AppendRecord(nil, r.recordUS, &ev),
	})
	if err != nil {
		t.Fatalf("apply %+v: %v", r, err)
	}
	return out
}

func (w *world) positions() map[string]pos {
	m := map[string]pos{}
	w.eng.Each(func(c Cell) {
		u := c.UnavailableBy
		m[fmt.Sprintf("%s/%s", c.Location, c.SKU)] = pos{c.OnHand, u[0], u[1], u[2], c.InTransit, c.Incoming}
	})
	return m
}

const sec = int64(1_000_000)

// journal writes records as an agent does: contiguous seqs, rising record
// times, cuts over its own journal.
type journal struct {
	origin protocol.Origin
	offset int64 // aggregator − agent, microseconds
	recs   []rec
}

func newJournal(store, agent string) *journal {
	return &journal{origin: protocol.Origin{Store: protocol.StoreID(store), Agent: protocol.AgentID(agent)}}
}

func (j *journal) cutAt(us int64) uint64 {
	return uint64(sort.Search(len(j.recs), func(i int) bool { return j.recs[i].recordUS > us }))
}

func (j *journal) add(kind protocol.Kind, doc string, eventUS, recordUS int64, lines ...protocol.Line) *rec {
	trueUS, back := recordUS+j.offset, false
	if n := len(j.recs); n > 0 {
		back = j.recs[n-1].recordUS-recordUS > protocol.ClockSetBackUS
		recordUS = max(recordUS, j.recs[n-1].recordUS+1)
	}
	ev := protocol.Event{Kind: kind, Store: j.origin.Store, DocumentID: doc, EventTime: protocol.Stamp{US: eventUS}, Lines: lines}
	ev.ID = protocol.MakeEventID(ev.Store, kind, doc)
	if back {
		ev.Flags = protocol.FlagClockSetBack
	}
	for i := range ev.Lines {
		l := &ev.Lines[i]
		l.Line = i + 1
		switch {
		case kind == protocol.KindCount && back:
			l.Cut = uint64(len(j.recs))
		case kind == protocol.KindCount:
			at := l.CountedAt.US
			if at == 0 {
				at = eventUS
			}
			l.Cut = j.cutAt(min(at, recordUS))
		}
	}
	j.recs = append(j.recs, rec{origin: j.origin, epoch: 1, seq: uint64(len(j.recs) + 1), recordUS: recordUS, ev: ev, trueUS: trueUS})
	return &j.recs[len(j.recs)-1]
}

func line(sku string, units int64) protocol.Line {
	return protocol.Line{SKU: protocol.SKU(sku), Quantity: protocol.Units(units), UOM: "EA"}
}

func TestRules(t *testing.T) {
	cases := []struct {
		name  string
		build func() []rec
		want  map[string]pos
		codes []string
	}{
		{"a sale takes from the shelf and may go below zero", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "a", sec, sec, line("X", 2), line("X", 2))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: -4000}}, nil},
		{"a count of what was sold before it, arriving after it, changes nothing", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindReceipt, "r", sec, sec, line("X", 10))
			j.add(protocol.KindCount, "c", 100*sec, 100*sec, line("X", 7))
			j.add(protocol.KindSale, "late", 50*sec, 200*sec, line("X", 2)) // cut off from its agent for 150 s
			j.add(protocol.KindSale, "after", 201*sec, 201*sec, line("X", 1))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 6000}}, nil},
		{"a count is cut where it was counted, not where it was posted", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindReceipt, "r", sec, sec, line("X", 10))
			j.add(protocol.KindSale, "s", 60*sec, 60*sec, line("X", 1))
			l := line("X", 10)
			l.CountedAt = protocol.Stamp{US: 30 * sec}
			j.add(protocol.KindCount, "c", 100*sec, 100*sec, l)
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 9000}}, nil},
		{"a full count zeroes what it does not name, also what shows up later", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindReceipt, "r", sec, sec, line("X", 10), line("Y", 4))
			j.add(protocol.KindCount, "c", 100*sec, 100*sec, line("X", 7)).ev.Scope = protocol.ScopeFull
			j.add(protocol.KindSale, "late", 50*sec, 200*sec, line("Z", 1))
			j.add(protocol.KindSale, "new", 300*sec, 300*sec, line("Z", 1))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 7000}, "S1/Y": {}, "S1/Z": {OnHand: -1000}}, nil},
		{"lines of one count session add up", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindCount, "c1", 100*sec, 100*sec, line("X", 3)).ev.Session = "n1"
			j.add(protocol.KindCount, "c2", 110*sec, 110*sec, line("X", 4)).ev.Session = "n1"
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 7000}}, nil},
		{"a transfer debits, is in transit, and leaves what came short", func() []rec {
			a, b := newJournal("S1", "server"), newJournal("S2", "server")
			o := a.add(protocol.KindTransfer, "t-out", sec, sec, line("X", 5))
			o.ev.Direction, o.ev.Counterparty, o.ev.TransferID = protocol.DirectionOut, "S2", "T1"
			i := b.add(protocol.KindTransfer, "t-in", 2*sec, 2*sec, line("X", 4))
			i.ev.Direction, i.ev.Counterparty, i.ev.TransferID = protocol.DirectionIn, "S1", "T1"
			return append(b.recs, a.recs...) // receipt before its dispatch
		}, map[string]pos{"S1/X": {OnHand: -5000}, "S2/X": {OnHand: 4000, InTransit: 1000}}, nil},
		{"a void may come before its original", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "a", sec, sec, line("X", 2))
			j.add(protocol.KindVoid, "v", 2*sec, 2*sec).ev.Voids = "a"
			return []rec{j.recs[1], j.recs[0]}
		}, map[string]pos{"S1/X": {}}, nil},
		{"a second void of one document is parked", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "a", sec, sec, line("X", 2))
			j.add(protocol.KindVoid, "v", 2*sec, 2*sec).ev.Voids = "a"
			j.add(protocol.KindVoid, "w", 3*sec, 3*sec).ev.Voids = "a"
			return j.recs
		}, map[string]pos{"S1/X": {}}, []string{"already_voided"}},
		{"a return without receipt is on hand but unavailable", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindReturn, "a", sec, sec, line("X", 1))
			j.add(protocol.KindReturn, "b", sec, sec, line("Y", 1)).ev.OriginalDocument = "s"
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 1000, Unknown: 1000}, "S1/Y": {OnHand: 1000}}, nil},
		{"a document of another store is parked", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "a", sec, sec, line("X", 1)).ev.Store = "S2"
			return j.recs
		}, map[string]pos{}, []string{"store_mismatch"}},
		{"what a till could never have posted is parked", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, strings.Repeat("x", 4000), sec, sec, line("X", 1))
			j.add(protocol.KindSale, "bad\xff", sec, sec, line("X", 1))
			r := j.add(protocol.KindTransfer, "t", sec, sec, line("X", 1))
			r.ev.Direction, r.ev.Counterparty = protocol.DirectionOut, "no/such place"
			return j.recs
		}, map[string]pos{}, []string{"document_id_impossible", "document_id_impossible", "counterparty_impossible"}},
		{"an id with other content is parked, with the same content it is a duplicate", func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "a", sec, sec, line("X", 1))
			j.add(protocol.KindSale, "a", sec, sec, line("X", 1))
			j.add(protocol.KindSale, "a", sec, sec, line("X", 9))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: -1000}}, []string{"id_reused"}},
		{"a statement of a store by an outer system does not move its stock", func() []rec {
			j, f := newJournal("S1", "server"), newJournal("S1", "feed:erp")
			j.add(protocol.KindReceipt, "a", sec, sec, line("X", 5))
			f.add(protocol.KindSnapshot, "snap", 2*sec, 2*sec, line("X", 50)).ev.Lines[0].Stance = protocol.StanceDrift
			return append(j.recs, f.recs...)
		}, map[string]pos{"S1/X": {OnHand: 5000}}, nil},
		{"a warehouse's statement is an anchor for what it names", func() []rec {
			f := newJournal("DC1", "feed:wms")
			f.add(protocol.KindReceipt, "a", sec, sec, line("X", 5))
			f.add(protocol.KindSnapshot, "snap", 2*sec, 2*sec, line("X", 50))
			f.add(protocol.KindSale, "s", 3*sec, 3*sec, line("X", 1))
			return f.recs
		}, map[string]pos{"DC1/X": {OnHand: 49000}}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			var codes []string
			for _, r := range c.build() {
				if out := w.apply(t, r); out.Verdict == Parked {
					codes = append(codes, out.Code)
				}
				w.commit()
			}
			if d := cmp.Diff(c.want, w.positions()); d != "" {
				t.Errorf("positions (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.codes, codes); d != "" {
				t.Errorf("parked (-want +got):\n%s", d)
			}
			checkDerived(t, w)
		})
	}
}

// checkDerived holds an engine to what must be true of every state: a replay, a
// checkpoint and every explanation agree with it.
func checkDerived(t tester, w *world) {
	t.Helper()
	checkDerivedWith(t, w, nil)
}

func checkDerivedWith(t tester, w *world, items Items) {
	t.Helper()
	re := New(w.log)
	re.UseItems(items)
	re.Register(w.journals)
	for i := range w.log.entries {
		if _, err := re.Replay(&w.log.entries[i], func(*protocol.Event) string { return "" }); err != nil {
			t.Fatalf("replay: %v", err)
		}
	}
	if d := cmp.Diff(w.positions(), (&world{eng: re}).positions()); d != "" {
		t.Fatalf("replay differs (-live +replay):\n%s", d)
	}
	b := &ledger.Batch{}
	w.eng.chunks.put(0)
	w.eng.Checkpoint(b)
	back := New(w.log)
	back.Register(w.journals)
	err := back.Restore(b.Checkpoint, b.Chunks, w.each)
	if err != nil {
		t.Fatalf("restore: %v", err)
	}
	if d := cmp.Diff(w.positions(), (&world{eng: back}).positions()); d != "" {
		t.Fatalf("checkpoint differs (-live +restored):\n%s", d)
	}
	if x, y := w.eng.Certificate(), back.Certificate(); x != y {
		t.Fatalf("certificate %s, restored %s", x, y)
	}
	w.eng.Each(func(c Cell) { checkExplained(t, w, c, Question{Limit: 1000}, true) })
}

// checkExplained holds an explanation to its arithmetic: its lines sum to every
// number that it states, and without a moment asked for these are the cell's.
func checkExplained(t tester, w *world, c Cell, q Question, now bool) {
	t.Helper()
	x, err := Explain(w.eng.View(c.ID), w.log.Read, q)
	if err != nil {
		t.Fatalf("explain %s %s: %v", c.Location, c.SKU, err)
	}
	sum, bad := x.Rest, x.RestUnavailable
	if x.Rest != 0 && len(x.Lines) < q.Limit {
		t.Fatalf("explain %s %s: %s is left unexplained", c.Location, c.SKU, x.Rest)
	}
	if x.Anchor != nil {
		sum += x.Anchor.Effect
	}
	for _, l := range x.Lines {
		sum += l.Effect
		bad.Damaged, bad.Quarantine, bad.Unknown = bad.Damaged+l.UnavailableBy.Damaged, bad.Quarantine+l.UnavailableBy.Quarantine, bad.Unknown+l.UnavailableBy.Unknown
	}
	var transit, incoming protocol.Quantity
	for _, f := range x.Flows {
		if f.Kind == "transfer" {
			transit += max(0, f.Open)
		} else {
			incoming += max(0, f.Open)
		}
	}
	if sum != x.OnHand || bad != x.UnavailableBy || bad.Sum() != x.Unavailable || transit != x.InTransit || incoming != x.Incoming {
		t.Fatalf("explain %s %s: lines sum to %s, %+v, %s, %s; stated are %s, %+v, %s, %s", c.Location, c.SKU, sum, bad, transit, incoming, x.OnHand, x.UnavailableBy, x.InTransit, x.Incoming)
	}
	if now && (x.OnHand != c.OnHand || x.Unavailable != c.Unavailable || x.InTransit != c.InTransit || x.Incoming != c.Incoming) {
		t.Fatalf("explain %s %s says %+v, the cell is %+v", c.Location, c.SKU, x, c)
	}
	if x.Variance != nil && x.Variance.Counted-x.Variance.Book != x.Variance.Unexplained {
		t.Fatalf("variance %+v", x.Variance)
	}
}

// deliver merges the journals in a drawn interleaving: each journal in order,
// some records twice, in batches of drawn size.
func deliver(t *rapid.T, js []*journal) *world {
	w := newWorld()
	next := make([]int, len(js))
	for {
		var open []int
		for i, j := range js {
			if next[i] < len(j.recs) {
				open = append(open, i)
			}
		}
		if len(open) == 0 {
			break
		}
		i := rapid.SampledFrom(open).Draw(t, "journal")
		r := js[i].recs[next[i]]
		if out := w.apply(t, r); out.Verdict != Merged {
			t.Fatalf("%s %d is %d (%s %s)", r.origin, r.seq, out.Verdict, out.Code, out.Reason)
		}
		if rapid.IntRange(0, 4).Draw(t, "again") == 0 {
			if out := w.apply(t, r); out.Verdict != Duplicate {
				t.Fatalf("again: %s %d is %d", r.origin, r.seq, out.Verdict)
			}
		}
		next[i]++
		if rapid.Bool().Draw(t, "commit") {
			w.commit()
		}
	}
	w.commit()
	return w
}

// TestOrderDoesNotMatter is promise P3: the same journals in any interleaving,
// with duplicates and in any batches, fold to the same positions, which are
// those of a plain reading of the model.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		js := drawHistory(t)
		a, b := deliver(t, js), deliver(t, js)
		if d := cmp.Diff(a.positions(), b.positions()); d != "" {
			t.Fatalf("two orders differ:\n%s", d)
		}
		if d := cmp.Diff(plain(js, a), a.positions()); d != "" {
			t.Fatalf("the plain model differs (-plain +merge):\n%s", d)
		}
		if x, y := a.eng.Certificate(), b.eng.Certificate(); x != y {
			t.Fatalf("equal marks, but certificates %s and %s", x, y)
		}
		checkDerived(t, a)
		checkDerived(t, b)
	})
}

// tester is what testing.T and rapid.T share.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
