package merge

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// shelfMaster is an item master that a test states: SET is a kit, CS a case.
type shelfMaster struct{ from ledger.Position }

func (shelfMaster) Plain() bool { return false }

func (m shelfMaster) Resolve(sku protocol.SKU, qty protocol.Quantity, uom string, at ledger.Position, explode bool, into []protocol.HoldLine) ([]protocol.HoldLine, Reading) {
	switch {
	case at < m.from:
	case sku == "SET" && explode:
		return append(into, protocol.HoldLine{SKU: "X", Quantity: qty}, protocol.HoldLine{SKU: "Y", Quantity: 2 * qty}), Reading{Version: 1, Kit: true}
	case uom == "CS":
		return append(into, protocol.HoldLine{SKU: sku, Quantity: 12 * qty}), Reading{Version: 1, Converted: true}
	case uom == "PAL":
		return append(into, protocol.HoldLine{SKU: sku + "#PAL", Quantity: qty}), Reading{Version: 1, UnknownUnit: true}
	case sku == "NEW":
		return append(into, protocol.HoldLine{SKU: sku, Quantity: qty}), Reading{UnknownSKU: true}
	}
	return append(into, protocol.HoldLine{SKU: sku, Quantity: qty}), Reading{}
}

func in(uom string, l protocol.Line) protocol.Line { l.UOM = uom; return l }

// modelRule is one rule of the inventory model; its name is the rule's reason.
type modelRule struct {
	name  string
	items Items
	build func() []rec
	want  map[string]pos
	codes []string
	notes []string
}

func movementRules() []modelRule {
	return []modelRule{
		{"a backdated sale before the count changes its variance only", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindCount, "c", 5000*sec, 5000*sec, line("X", 7))
			j.add(protocol.KindSale, "old", 100*sec, 6000*sec, line("X", 2))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 7000}}, nil, nil},
		{"a physical sale is never refused: the ledger goes below zero", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindCount, "c", sec, sec, line("X", 1))
			j.add(protocol.KindSale, "s", 2*sec, 2*sec, line("X", 3))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: -2000}}, nil, nil},
		{"a return lands where the goods are, whoever sold them", nil, func() []rec {
			a, b := newJournal("S1", "server"), newJournal("S2", "server")
			a.add(protocol.KindSale, "s", sec, sec, line("X", 1))
			r := b.add(protocol.KindReturn, "r", 2*sec, 2*sec, line("X", 1))
			r.ev.OriginalDocument, r.ev.OriginalStore = "s", "S1"
			return append(a.recs, b.recs...)
		}, map[string]pos{"S1/X": {OnHand: -1000}, "S2/X": {OnHand: 1000}}, nil, nil},
		{"returned more than was sold is counted, since the goods are there, and shown", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "s", sec, sec, line("X", 2))
			for i := range 3 {
				j.add(protocol.KindReturn, fmt.Sprint("r", i), 2*sec, 2*sec, line("X", 1)).ev.OriginalDocument = "s"
			}
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 1000}}, nil, []string{"returned_more_than_sold"}},
		{"a post-void puts goods back at its own time", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "s", sec, sec, line("X", 2))
			j.add(protocol.KindCount, "c", 2*sec, 2*sec, line("X", 5))
			j.add(protocol.KindVoid, "v", 3*sec, 3*sec).ev.Voids = "s"
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 7000}}, nil, nil},
		{"a void of a void is refused: sell again instead", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "s", sec, sec, line("X", 2))
			j.add(protocol.KindVoid, "v", 2*sec, 2*sec).ev.Voids = "s"
			v := j.add(protocol.KindVoid, "w", 3*sec, 3*sec)
			v.ev.Voids, v.ev.VoidsKind = "v", protocol.KindVoid
			return j.recs
		}, map[string]pos{"S1/X": {}}, []string{"void_unsupported"}, nil},
		{"goods change disposition without leaving the shelf", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindReceipt, "r", sec, sec, line("X", 9))
			s := j.add(protocol.KindStatusChange, "d", 2*sec, 2*sec, line("X", 3))
			s.ev.Lines[0].From, s.ev.Lines[0].To = protocol.DispositionSellable, protocol.DispositionDamaged
			s = j.add(protocol.KindStatusChange, "q", 3*sec, 3*sec, line("X", 2))
			s.ev.Lines[0].From, s.ev.Lines[0].To = protocol.DispositionDamaged, protocol.DispositionQuarantine
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 9000, Damaged: 1000, Quarantine: 2000}}, nil, nil},
		{"one transfer's excess takes nothing from another's residue", nil, func() []rec {
			a, b := newJournal("S1", "server"), newJournal("S2", "server")
			move := func(j *journal, doc, id string, d protocol.Direction, to protocol.StoreID, n int64) {
				r := j.add(protocol.KindTransfer, doc, sec, sec, line("X", n))
				r.ev.Direction, r.ev.TransferID, r.ev.Counterparty = d, id, to
			}
			move(a, "o1", "T1", protocol.DirectionOut, "S2", 5)
			move(a, "o2", "T2", protocol.DirectionOut, "S2", 5)
			move(b, "i1", "T1", protocol.DirectionIn, "S1", 3)
			move(b, "i2", "T2", protocol.DirectionIn, "S1", 6)
			return append(b.recs, a.recs...)
		}, map[string]pos{"S1/X": {OnHand: -10000}, "S2/X": {OnHand: 9000, InTransit: 2000}}, nil, nil},
		{"a residue that is written off is gone, and no goods with it", nil, func() []rec {
			a, f := newJournal("S1", "server"), newJournal("S2", "feed:decisions")
			r := a.add(protocol.KindTransfer, "o", sec, sec, line("X", 5))
			r.ev.Direction, r.ev.TransferID, r.ev.Counterparty = protocol.DirectionOut, "T1", "S2"
			r = f.add(protocol.KindTransfer, "w", 2*sec, 2*sec, line("X", 5))
			r.ev.Direction, r.ev.TransferID, r.ev.Counterparty, r.ev.Action = protocol.DirectionIn, "T1", "S1", "write_off"
			return append(a.recs, f.recs...)
		}, map[string]pos{"S1/X": {OnHand: -5000}, "S2/X": {}}, nil, nil},
	}
}

func masterDataRules() []modelRule {
	return []modelRule{
		{"an advice never moves on hand; its receipt settles it, early or late", nil, func() []rec {
			f := newJournal("DC1", "feed:wms")
			f.add(protocol.KindReceipt, "r", sec, sec, line("X", 4)).ev.AdviceID = "A1"
			f.add(protocol.KindAdvice, "A1", 2*sec, 2*sec, line("X", 10))
			return f.recs
		}, map[string]pos{"DC1/X": {OnHand: 4000, Incoming: 6000}}, nil, nil},
		{"a kit has no stock: its parts move, also when it comes back", shelfMaster{}, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "s", sec, sec, line("SET", 3))
			j.add(protocol.KindReturn, "r", 2*sec, 2*sec, line("SET", 1)).ev.OriginalDocument = "s"
			j.add(protocol.KindVoid, "v", 3*sec, 3*sec).ev.Voids = "s"
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 1000}, "S1/Y": {OnHand: 2000}}, nil, []string{}},
		{"a bill of materials holds from its own place in the log on", shelfMaster{from: 2}, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "before", sec, sec, line("SET", 1))
			j.add(protocol.KindSale, "after", 2*sec, 2*sec, line("SET", 1))
			return j.recs
		}, map[string]pos{"S1/SET": {OnHand: -1000}, "S1/X": {OnHand: -1000}, "S1/Y": {OnHand: -2000}}, nil, nil},
		{"a counted kit is goods of its own, not its parts", shelfMaster{}, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindCount, "c", sec, sec, line("SET", 2))
			return j.recs
		}, map[string]pos{"S1/SET": {OnHand: 2000}}, nil, nil},
		{"sets are built from parts and broken into them", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindKit, "b", sec, sec, line("BOX", 2), line("X", -4)).ev.Action = "build"
			j.add(protocol.KindKit, "k", 2*sec, 2*sec, line("BOX", 1), line("X", -2)).ev.Action = "break"
			return j.recs
		}, map[string]pos{"S1/BOX": {OnHand: 1000}, "S1/X": {OnHand: -2000}}, nil, nil},
		{"units are converted; one without conversion counts under the raw code", shelfMaster{}, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindReceipt, "r", sec, sec, in("CS", line("X", 2)), in("PAL", line("X", 1)))
			j.add(protocol.KindCount, "c", 2*sec, 2*sec, in("CS", line("X", 3)))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 36000}, "S1/X#PAL": {OnHand: 1000}}, nil, []string{"unit_unknown"}},
		{"an unknown article is sold all the same", shelfMaster{}, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "s", sec, sec, line("NEW", 2))
			return j.recs
		}, map[string]pos{"S1/NEW": {OnHand: -2000}}, nil, []string{"sku_unknown"}},
		{"a bad barcode verifier is shown and the sale counted", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSale, "s", sec, sec, line("28", 1)).ev.Flags = protocol.FlagBadVerifier
			return j.recs
		}, map[string]pos{"S1/28": {OnHand: -1000}}, nil, []string{"barcode_verifier"}},
	}
}

func cutRules() []modelRule {
	return []modelRule{
		{"the collecting sale consumes stock once, before or after the store's own answer", nil, func() []rec {
			j := newJournal("S1", "server")
			hold := func(id string) {
				r := j.add(protocol.KindHold, protocol.HoldDocumentID(id, protocol.HoldCollected), sec, sec, line("X", 2))
				r.ev.HoldID, r.ev.Action = id, protocol.HoldCollected
			}
			hold("r1")
			j.add(protocol.KindSale, "s1", 2*sec, 2*sec, line("X", 2)).ev.HoldID = "r1"
			j.add(protocol.KindSale, "s2", 3*sec, 3*sec, line("X", 2)).ev.HoldID = "r2"
			hold("r2")
			hold("r3")
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: -6000}}, nil, nil},
		{"a sale after the clock was set back is no late one", nil, func() []rec {
			const fast = 365 * 24 * 3600 * sec
			j := newJournal("S1", "server")
			j.add(protocol.KindCount, "c", fast, fast, line("X", 10)) // counted while the clock was a year fast
			j.add(protocol.KindSale, "s", 5*sec, 5*sec, line("X", 2))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 8000}}, nil, nil},
		{"a count after the clock was set back is later than one of the fast time", nil, func() []rec {
			const fast = 365 * 24 * 3600 * sec
			j := newJournal("S1", "server")
			j.add(protocol.KindCount, "c", fast, fast, line("X", 10))
			j.add(protocol.KindSale, "s", fast+sec, fast+sec, line("X", 1))
			j.add(protocol.KindCount, "d", 5*sec, 5*sec, line("X", 7))
			j.add(protocol.KindSale, "t", 6*sec, 6*sec, line("X", 2))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 5000}}, nil, nil},
		{"what is learnt of a clock after a count moves nothing that its journal tells", nil, func() []rec {
			j := newJournal("S1", "server")
			told := j.add(protocol.KindClock, "old", sec, sec)
			told.ev.ClockOffsetUS, told.ev.ClockErrorUS = 0, 1000
			j.add(protocol.KindCount, "c", 9000*sec, 9000*sec, line("X", 10))
			told = j.add(protocol.KindClock, "new", 9001*sec, 9001*sec)
			told.ev.ClockOffsetUS, told.ev.ClockErrorUS = -7200*sec, 1000
			j.add(protocol.KindSale, "late", 9010*sec, 9100*sec, line("X", 2)) // after the count by the till and by the journal
			j.add(protocol.KindCount, "d", 9200*sec, 9200*sec, line("X", 7))
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 7000}}, nil, nil},
		{"what a till may not say is parked", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindSnapshot, "a", sec, sec, line("X", 2))
			j.add(protocol.KindAdvice, "b", sec, sec, line("X", 2))
			j.add(protocol.KindPolicy, "c", sec, sec)
			r := j.add(protocol.KindTransfer, "d", sec, sec, line("X", 2))
			r.ev.Direction, r.ev.Counterparty, r.ev.Action = protocol.DirectionIn, "S2", "write_off"
			r = j.add(protocol.KindTransfer, "e", sec, sec, line("X", 2))
			r.ev.Direction, r.ev.Counterparty = protocol.DirectionOut, "S1"
			return j.recs
		}, map[string]pos{}, []string{"kind_not_allowed", "kind_not_allowed", "kind_not_allowed", "kind_not_allowed", "transfer_with_itself"}, nil},
		{"a sibling till that the counter saw is cut by its seq, whatever its clock", nil, func() []rec {
			a, b := newJournal("S1", "till-1"), newJournal("S1", "till-2")
			b.add(protocol.KindSale, "before", 90_000*sec, 90_000*sec, line("X", 1)) // its clock is a day ahead
			c := a.add(protocol.KindCount, "c", 100*sec, 100*sec, line("X", 7))
			c.ev.Lines[0].Cuts = []protocol.SiblingCut{{Agent: "till-2", Epoch: 1, Seq: 1}}
			b.add(protocol.KindSale, "after", 90_100*sec, 90_100*sec, line("X", 1))
			return append(a.recs, b.recs...)
		}, map[string]pos{"S1/X": {OnHand: 6000}}, nil, nil},
		{"a sibling that nobody saw is judged by the clocks that both journaled", nil, func() []rec {
			a, b := newJournal("S1", "till-1"), newJournal("S1", "till-2")
			r := a.add(protocol.KindClock, "ca", sec, sec)
			r.ev.ClockOffsetUS, r.ev.ClockErrorUS = 0, 1000
			r = b.add(protocol.KindClock, "cb", 90_001*sec, 90_001*sec)
			r.ev.ClockOffsetUS, r.ev.ClockErrorUS = -90_000*sec, 1000
			b.add(protocol.KindSale, "before", 90_050*sec, 90_050*sec, line("X", 1))
			a.add(protocol.KindCount, "c", 100*sec, 100*sec, line("X", 7))
			b.add(protocol.KindSale, "after", 90_150*sec, 90_150*sec, line("X", 1))
			return append(a.recs, b.recs...)
		}, map[string]pos{"S1/X": {OnHand: 6000}}, nil, nil},
		{"a register's clock that the agent learnt corrects what it posted late", nil, func() []rec {
			j := newJournal("S1", "server")
			j.add(protocol.KindCount, "c", 1000*sec, 1000*sec, line("X", 7))
			r := j.add(protocol.KindSale, "late", 1060*sec, 5000*sec, line("X", 1)) // the register is 120 s ahead
			r.ev.ClockOffsetUS, r.ev.ClockErrorUS = -120*sec, sec
			return j.recs
		}, map[string]pos{"S1/X": {OnHand: 7000}}, nil, nil},
		{"what a system acknowledged is inside its statement, whenever it happened", nil, func() []rec {
			j, f := newJournal("S1", "server"), newJournal("S1", "feed:erp")
			j.add(protocol.KindSale, "a", 10*sec, 10*sec, line("X", 1))
			j.add(protocol.KindSale, "b", 20*sec, 20*sec, line("X", 1))
			f.add(protocol.KindSnapshot, "snap", 100*sec, 100*sec, line("X", 50)).ev.Acks = []protocol.JournalAck{{Origin: j.origin, Seq: 1}}
			return append(j.recs, f.recs...)
		}, map[string]pos{"S1/X": {OnHand: 49000}}, nil, nil},
	}
}

func TestModelRules(t *testing.T) {
	for _, c := range slices.Concat(movementRules(), masterDataRules(), cutRules()) {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.eng.UseItems(c.items)
			var codes []string
			notes := map[string]bool{}
			for _, r := range c.build() {
				out := w.apply(t, r)
				if out.Verdict == Parked {
					codes = append(codes, out.Code)
				}
				for _, n := range out.Notes {
					notes[n.Code] = true
				}
				w.commit()
			}
			if d := cmp.Diff(c.want, w.positions()); d != "" {
				t.Errorf("positions (-want +got):\n%s", d)
			}
			if d := cmp.Diff(c.codes, codes); d != "" {
				t.Errorf("parked (-want +got):\n%s", d)
			}
			for _, n := range c.notes {
				if !notes[n] {
					t.Errorf("noted %v, want %s", notes, n)
				}
				delete(notes, n)
			}
			if len(notes) > 0 && c.notes != nil {
				t.Errorf("noted besides: %v", notes)
			}
			checkDerivedWith(t, w, c.items)
		})
	}
}

func TestVarianceInWords(t *testing.T) {
	w := newWorld()
	j := newJournal("S1", "server")
	j.add(protocol.KindCount, "first", sec, sec, line("X", 10))
	j.add(protocol.KindCount, "c", 5000*sec, 5000*sec, line("X", 7))
	j.add(protocol.KindSale, "late-1", 4000*sec, 5100*sec, line("X", 1))
	j.add(protocol.KindSale, "late-2", 4500*sec, 5200*sec, line("X", 1))
	for _, r := range j.recs {
		w.apply(t, r)
		w.commit()
	}
	id, _ := w.eng.Lookup("S1", "X")
	x, err := Explain(w.eng.View(id), w.log.Read, Question{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if x.Variance == nil || x.Variance.Sum != "2 late movements (−2), −1 unexplained" || x.OnHand != 7000 {
		t.Errorf("%+v, on hand %s", x.Variance, x.OnHand)
	}
	if l := x.Lines[0]; !l.InsideCut || strings.Join(l.Flags, " ") != "by_event_time" {
		t.Errorf("%+v", l)
	}
}

func TestZonesOfOneSession(t *testing.T) {
	w := newWorld()
	j := newJournal("S1", "server")
	j.add(protocol.KindCount, "zone-a", 100*sec, 100*sec, line("X", 3)).ev.Session = "n"
	j.add(protocol.KindSale, "between", 150*sec, 150*sec, line("X", 1))
	j.add(protocol.KindCount, "zone-b", 200*sec, 200*sec, line("X", 4)).ev.Session = "n"
	for _, r := range j.recs {
		w.apply(t, r)
		w.commit()
	}
	id, _ := w.eng.Lookup("S1", "X")
	x, err := Explain(w.eng.View(id), w.log.Read, Question{Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	if x.OnHand != 7000 || len(x.Lines) != 1 || strings.Join(x.Lines[0].Flags, " ") != "between_zone_cuts" {
		t.Errorf("on hand %s, lines %+v", x.OnHand, x.Lines)
	}
}

// TestKnownThen: an explanation as of a moment of knowledge is the position that
// a fold of the log up to then has, and business time only leaves things out.
func TestKnownThen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := deliver(t, drawHistory(t))
		n := len(w.log.entries)
		if n == 0 {
			return
		}
		known := w.log.entries[rapid.IntRange(0, n-1).Draw(t, "entry")].MergedUS
		then := New(w.log)
		then.Register(w.journals)
		for i := range w.log.entries {
			if w.log.entries[i].MergedUS > known {
				break
			}
			if _, err := then.Replay(&w.log.entries[i], func(*protocol.Event) string { return "" }); err != nil {
				t.Fatal(err)
			}
		}
		then.Each(func(c Cell) { checkExplained(t, w, c, Question{Limit: 1000, KnownUS: known}, true) })
		at := rapid.Int64Range(999_000, 1_100_000).Draw(t, "at") * sec
		w.eng.Each(func(c Cell) {
			checkExplained(t, w, c, Question{Limit: 1000, AtUS: 10_000_000 * sec}, true) // nothing is left out
			checkExplained(t, w, c, Question{Limit: rapid.IntRange(1, 5).Draw(t, "limit"), AtUS: at}, false)
		})
	})
}

// TestRefoldCostsWhatCameAfterTheCut: a late count's refold reads the entries
// after its cut, not the position's history.
func TestRefoldCostsWhatCameAfterTheCut(t *testing.T) {
	for _, tills := range []int{1, 2} {
		for _, before := range []int{100, 10_000} {
			w := newWorld()
			js := []*journal{newJournal("S1", "till-1"), newJournal("S1", "till-2")}[:tills]
			now := int64(0)
			put := func(j *journal, kind protocol.Kind, doc string, lines ...protocol.Line) *rec {
				now += 10 * sec
				r := j.add(kind, doc, now, now, lines...)
				return r
			}
			for _, j := range js {
				r := put(j, protocol.KindClock, "clock-"+string(j.origin.Agent))
				r.ev.ClockErrorUS = 1000
				w.apply(t, *r)
			}
			sell := func(n int, what string) {
				for i := range n {
					w.apply(t, *put(js[i%tills], protocol.KindSale, fmt.Sprint(what, i), line("X", 1)))
				}
				w.commit()
			}
			sell(before, "before")
			counted := now
			sell(200, "after")
			c := put(js[0], protocol.KindCount, "c", line("X", 5))
			c.ev.EventTime.US = counted
			c.ev.Lines[0].Cut = js[0].cutAt(counted)
			w.eng.walked = 0
			w.apply(t, *c)
			w.commit()
			if got := w.positions()["S1/X"].OnHand; got != protocol.Units(5-200) {
				t.Errorf("%d tills, %d before: on hand %s", tills, before, got)
			}
			if w.eng.walked > 300 {
				t.Errorf("%d tills, %d sales before the count: the refold read %d entries for 200 after it", tills, before, w.eng.walked)
			}
		}
	}
}
