package ingest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/posting"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
)

const (
	dayUS    = 86_400_000_000
	firstDay = 20_400 // 2025-11-08
)

// papers makes random documents of two shops over three days: what tills may say.
func papers(r *rand.Rand) (docs []*protocol.Event) {
	skus := []protocol.SKU{"A", "B", "C"}
	kinds := []protocol.Kind{
		protocol.KindSale, protocol.KindSale, protocol.KindSale, protocol.KindReturn, protocol.KindReceipt, protocol.KindAdjustment, protocol.KindTransfer,
		protocol.KindCount, protocol.KindStatusChange, protocol.KindVoid, protocol.KindKit,
	}
	for n := range 20 + r.IntN(30) {
		ev := &protocol.Event{Kind: kinds[r.IntN(len(kinds))], Store: []protocol.StoreID{"S1", "S2"}[r.IntN(2)], DocumentID: fmt.Sprint("d", n)}
		day := firstDay + r.IntN(3)
		ev.EventTime.US = int64(day)*dayUS + r.Int64N(dayUS)
		if r.IntN(3) == 0 {
			ev.BusinessDate = protocol.DayText(int32(day - r.IntN(2)))
		}
		for l := range 1 + r.IntN(3) {
			ev.Lines = append(ev.Lines, protocol.Line{Line: l + 1, SKU: skus[r.IntN(3)], Quantity: protocol.Quantity(1 + r.IntN(5000))})
		}
		switch ev.Kind { //nolint:exhaustive // the rest need nothing more
		case protocol.KindReturn:
			ev.Lines[0].Disposition = protocol.Disposition(r.IntN(5))
		case protocol.KindAdjustment:
			ev.Reason = protocol.Reasons[r.IntN(len(protocol.Reasons))]
			ev.Lines[0].Quantity *= -1
		case protocol.KindTransfer:
			ev.Direction, ev.TransferID, ev.Counterparty = protocol.Direction(1+r.IntN(2)), fmt.Sprint("t", r.IntN(5)), map[protocol.StoreID]protocol.StoreID{"S1": "S2", "S2": "S1"}[ev.Store]
		case protocol.KindCount:
			ev.Scope, ev.Session = protocol.ScopeSKU, fmt.Sprint("c", r.IntN(4))
			if r.IntN(4) == 0 {
				ev.Scope = protocol.ScopeFull
			}
		case protocol.KindStatusChange:
			ev.Lines = ev.Lines[:1]
			ev.Lines[0].From, ev.Lines[0].To = protocol.DispositionSellable, protocol.DispositionDamaged
		case protocol.KindVoid:
			if n == 0 {
				continue
			}
			of := docs[r.IntN(len(docs))]
			if !slices.Contains(merge.Voidable, of.Kind) {
				continue
			}
			ev.Store, ev.Voids, ev.VoidsKind, ev.Lines = of.Store, of.DocumentID, of.Kind, nil
		case protocol.KindKit:
			ev.Action = protocol.KitBuild
		}
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
		if len(docs) == 0 || ev.Kind != protocol.KindVoid || !slices.ContainsFunc(docs, func(d *protocol.Event) bool { return d.Voids == ev.Voids && d.Store == ev.Store && d.Voids != "" }) {
			docs = append(docs, ev)
		}
	}
	return docs
}

// booked is what documents say, by store, article, day and class.
type booked map[string]protocol.Quantity

// run merges documents in an order, some of them twice, while documents are cut and
// settled, and returns all that was cut.
func (r *rig) run(docs []*protocol.Event, rnd *rand.Rand) booked {
	r.t.Helper()
	ctx := context.Background()
	if err := r.in.OpenPostings(ctx, map[protocol.StoreID]string{"S1": "erp", "S2": "erp"}, nil); err != nil {
		r.t.Fatal(err)
	}
	out := booked{}
	seen := map[string]bool{}
	cut := func(through int32) {
		due, err := r.in.CutPostings(ctx, "erp", posting.Window{Through: through, Lines: 1 + rnd.IntN(3)}, 10_000)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, d := range due {
			if !seen[d.Key] {
				seen[d.Key] = true
				for _, l := range d.Lines {
					out[fmt.Sprint(d.Store, " ", l.SKU, " ", protocol.DayText(d.Day), " ", d.Class)] += l.Qty
				}
			}
			if rnd.IntN(2) == 0 {
				if err := r.in.PostingDone(ctx, posting.Posted(d.Key, "x", "", 0)); err != nil {
					r.t.Fatal(err)
				}
			}
		}
	}
	for _, ev := range docs {
		for range 1 + rnd.IntN(5)/4 {
			x := *ev
			if _, err := r.in.Accept(ctx, protocol.Origin{Store: ev.Store, Agent: "feed:till"}, []*protocol.Event{&x}); err != nil {
				r.t.Fatal(err)
			}
		}
		if rnd.IntN(6) == 0 {
			cut(int32(firstDay - 1 + rnd.IntN(5)))
		}
		if rnd.IntN(25) == 0 {
			r.stop()
			r.open()
		}
	}
	cut(1<<16 - 1)
	return out
}

// TestPostingsAreTheMovements holds postings to what the documents say and to the
// stock, whatever the order of arrival, repeats, cuts and restarts.
func TestPostingsAreTheMovements(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		docs := papers(rnd)
		var first booked
		for order := range 2 {
			r := newRig(t)
			got := r.run(docs, rnd)
			r.holdStock(seed, got)
			moved := booked{}
			for k, q := range got {
				if q != 0 && !slices.Contains([]string{"count"}, k[len(k)-5:]) {
					moved[k] = q
				}
			}
			if order == 0 {
				first = moved
				if d := cmp.Diff(said(docs), moved); d != "" {
					t.Errorf("seed %d: documents and postings differ: %s", seed, d)
				}
			} else if d := cmp.Diff(first, moved); d != "" {
				t.Errorf("seed %d: another order, other postings: %s", seed, d)
			}
			r.holdReplay(seed)
			r.stop()
			rnd.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
		}
		if t.Failed() {
			return
		}
	}
}

// said adds documents up, as a plain reader would.
func said(docs []*protocol.Event) booked {
	out := booked{}
	add := func(of, at *protocol.Event, sign protocol.Quantity) {
		day := protocol.DayText(merge.BusinessDay(at))
		for i := range of.Lines {
			l := &of.Lines[i]
			q := l.Quantity * sign
			class := posting.ClassOf(of.Kind, of.Direction, of.Reason)
			if of.Kind == protocol.KindStatusChange {
				out[fmt.Sprint(of.Store, " ", l.SKU, " ", day, " status_damaged")] += q
				continue
			}
			if of.Kind == protocol.KindSale || of.Direction == protocol.DirectionOut {
				q = -q
			}
			out[fmt.Sprint(of.Store, " ", l.SKU, " ", day, " ", class)] += q
			d := l.Disposition
			if of.Kind == protocol.KindReturn && d == protocol.DispositionNone {
				d = protocol.DispositionUnknown
			}
			if d >= protocol.DispositionDamaged {
				out[fmt.Sprint(of.Store, " ", l.SKU, " ", day, " status_", d)] += q
			}
		}
	}
	for _, ev := range docs {
		switch ev.Kind { //nolint:exhaustive // the others move
		case protocol.KindCount:
		case protocol.KindVoid:
			for _, of := range docs {
				if of.Store == ev.Store && of.Kind == ev.VoidsKind && of.DocumentID == ev.Voids {
					add(of, ev, -1)
				}
			}
		default:
			add(ev, ev, 1)
		}
	}
	for k, q := range out {
		if q == 0 {
			delete(out, k)
		}
	}
	return out
}

// holdStock compares what was booked with what is there.
func (r *rig) holdStock(seed uint64, got booked) {
	r.t.Helper()
	sums := map[string]protocol.Quantity{}
	for k, q := range got {
		var store, sku, day, class string
		_, _ = fmt.Sscan(k, &store, &sku, &day, &class)
		if len(class) > 7 && class[:7] == "status_" {
			sums[store+" "+sku+" unavailable"] += q
		} else {
			sums[store+" "+sku] += q
		}
	}
	err := r.in.call(context.Background(), func(i *Ingest, _ int64) error {
		i.eng.Each(func(c merge.Cell) {
			k := string(c.Location) + " " + string(c.SKU)
			if sums[k] != c.OnHand || sums[k+" unavailable"] != c.Unavailable {
				r.t.Errorf("seed %d: %s: %s booked, %s of it unavailable; there are %s and %s", seed, k, sums[k], sums[k+" unavailable"], c.OnHand, c.Unavailable)
			}
		})
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// holdReplay folds the log anew: the same documents must come of it.
func (r *rig) holdReplay(seed uint64) {
	r.t.Helper()
	all := posting.Filter{Limit: 10_000}
	live, err := r.in.Postings(context.Background(), all)
	if err != nil {
		r.t.Fatal(err)
	}
	r.stop()
	r.open()
	again, err := r.in.Postings(context.Background(), all)
	if err != nil {
		r.t.Fatal(err)
	}
	f, err := Rebuild(r.ledger, reconcile.DefaultRules())
	if err != nil {
		r.t.Fatal(err)
	}
	var whole []protocol.Posting
	for _, d := range f.Postings.List(all) {
		whole = append(whole, d.View())
	}
	if d := cmp.Diff(live, again); d != "" {
		r.t.Errorf("seed %d: after a restart: %s", seed, d)
	}
	if d := cmp.Diff(live, whole); d != "" {
		r.t.Errorf("seed %d: of the whole log: %s", seed, d)
	}
}
