package simulator

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// Verdict is what a run proved: what tills were promised beside what the chain
// shows.
type Verdict struct {
	Journaled  uint64 `json:"journaled"`  // documents acknowledged by agents, each once
	Merged     uint64 `json:"merged"`     // tills' events that the aggregator says it merged
	Own        uint64 `json:"own"`        // events that agents wrote of themselves, merged
	Lost       uint64 `json:"lost"`       // acknowledged, but not in the ledger
	Duplicated uint64 `json:"duplicated"` // in the ledger more often than acknowledged
	Diverged   int    `json:"diverged"`   // (store, SKU) pairs with a stock other than the truth's
	Cells      int    `json:"cells"`      // (store, SKU) pairs compared
	// Explained cells were asked for their movements; Unexplained are those
	// whose movements do not add up to the truth, or name a document twice.
	Explained   int `json:"explained"`
	Unexplained int `json:"unexplained"`
	// Orders are those of the web shop. Wrong ones ended in a state that nobody
	// brought about; leaked are cells that hold stock back for nobody, or too little.
	Orders       int    `json:"orders,omitempty"`
	OrdersWrong  int    `json:"orders_wrong,omitempty"`
	OrdersLeaked int    `json:"orders_leaked,omitempty"`
	Repeats      uint64 `json:"repeats"` // documents that tills sent again on purpose
	Diffs        []Diff `json:"diffs,omitempty"`
	Faults       string `json:"faults,omitempty"` // the first broken promise seen on the way
	Drained      bool   `json:"drained"`

	off protocol.Quantity // Σ (got − want) over all cells
}

// Diff is one wrong stock, or one store's wrong marks.
type Diff struct {
	Store protocol.StoreID  `json:"store"`
	SKU   protocol.SKU      `json:"sku,omitempty"`
	Want  protocol.Quantity `json:"want"`
	Got   protocol.Quantity `json:"got"`
	What  string            `json:"what"`

	Explanation *protocol.Explanation `json:"explanation,omitempty"` // of a wrong number, by the chain itself; of the first few
}

// OK is the only way to exit code 0.
func (v *Verdict) OK() bool {
	return v.Drained && v.Lost == 0 && v.Duplicated == 0 && v.Diverged == 0 && v.Unexplained == 0 &&
		v.OrdersWrong == 0 && v.OrdersLeaked == 0 && v.Faults == ""
}

// settle waits until the ledger's marks reach what the oracle was told, for at
// most d. tell hears how many events are still out, each time it changes.
func settle(ctx context.Context, o *oracle, c *chain, d time.Duration, tell func(left uint64, stores int)) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	last := uint64(1) << 63
	for {
		marks, err := c.stores(ctx)
		if err != nil && ctx.Err() == nil {
			return false, err
		}
		if err == nil {
			left, stores := outstanding(o, marks)
			if left == 0 {
				return true, nil
			}
			if left != last {
				tell(left, stores)
				last = left
			}
		}
		if !pause(ctx, 250*time.Millisecond) {
			return false, nil
		}
	}
}

func outstanding(o *oracle, marks map[protocol.StoreID]protocol.StoreStatus) (left uint64, stores int) {
	for _, s := range o.names() {
		if head := o.tally(s).Head; head > marks[s].MergedSeq {
			left += head - marks[s].MergedSeq
			stores++
		}
	}
	return left, stores
}

// judge compares everything that was acknowledged with everything the chain
// shows. truth is what each shelf must be; where it is nil the oracle's own.
func judge(ctx context.Context, o *oracle, c *chain, truth []shelf) (*Verdict, error) {
	v := &Verdict{Drained: true, Repeats: o.total().Repeats}
	marks, err := c.stores(ctx)
	if err != nil {
		return nil, err
	}
	v.judgeMarks(o, marks)
	if truth == nil {
		truth = o.shelves()
	}
	skus := make([]protocol.SKU, 0, 1024)
	for _, s := range truth {
		skus = append(skus, s.SKU)
	}
	slices.Sort(skus)
	got, err := c.onHand(ctx, slices.Compact(skus))
	if err != nil {
		return nil, err
	}
	v.judgeShelves(truth, got)
	if v.Diverged == 0 {
		return v, v.judgeExplanations(ctx, c, truth)
	}
	v.explainDiffs(ctx, c)
	return v, nil
}

// judgeMarks compares seqs: every acknowledged one must be merged, and nothing
// may be merged that nobody was told of.
func (v *Verdict) judgeMarks(o *oracle, marks map[protocol.StoreID]protocol.StoreStatus) {
	for _, s := range o.names() {
		t, m := o.tally(s), marks[s]
		v.Journaled += t.Documents
		// An agent's own events (clock readings) take seqs that no till was told
		// of, and every seq that no till was told of must be one of them.
		merged := m.MergedEvents - min(m.MergedEvents, m.OwnEvents)
		v.Merged += merged
		v.Own += m.OwnEvents
		if t.Missing > m.OwnEvents || t.Reused > 0 {
			skipped := t.Missing - min(t.Missing, m.OwnEvents)
			v.diff(Diff{Store: s, What: fmt.Sprintf("agent gave %d seqs twice and skipped %d", t.Reused, skipped)})
			v.Lost += skipped
			v.Duplicated += uint64(t.Reused)
		}
		if behind := max(t.Head, m.MergedSeq) - m.MergedSeq; behind > 0 {
			v.Lost += behind
			v.diff(Diff{Store: s, What: fmt.Sprintf("merged seq is %d, %d was acknowledged", m.MergedSeq, t.Head)})
		} else if merged < t.Documents {
			v.Lost += t.Documents - merged
			v.diff(Diff{Store: s, What: fmt.Sprintf("%d events merged, %d acknowledged", merged, t.Documents)})
		}
		if merged > t.Documents {
			v.Duplicated += merged - t.Documents
			v.diff(Diff{Store: s, What: fmt.Sprintf("%d events merged, only %d acknowledged", merged, t.Documents)})
		}
	}
}

// judgeShelves compares stock, cell by cell, both ways: a cell that only the
// chain has must be zero.
func (v *Verdict) judgeShelves(truth []shelf, got map[protocol.StoreID]map[protocol.SKU]protocol.Quantity) {
	for i, s := range truth {
		v.Cells++
		have, known := got[s.Store][s.SKU]
		truth[i].known = known
		v.off += have - s.OnHand
		delete(got[s.Store], s.SKU)
		switch {
		case !known && s.OnHand != 0:
			v.Diverged++
			v.diff(Diff{Store: s.Store, SKU: s.SKU, Want: s.OnHand, What: "the chain does not know it"})
		case have != s.OnHand:
			v.Diverged++
			v.diff(Diff{Store: s.Store, SKU: s.SKU, Want: s.OnHand, Got: have, What: "stock differs"})
		}
	}
	for store, cells := range got {
		for sku, q := range cells {
			if q != 0 {
				v.off += q
				v.Diverged++
				v.diff(Diff{Store: store, SKU: sku, Got: q, What: "nobody ever told of it"})
			}
		}
	}
	slices.SortStableFunc(v.Diffs, func(a, b Diff) int { return cmp.Compare(a.Store, b.Store) })
}

func (v *Verdict) diff(d Diff) {
	if len(v.Diffs) < diffsShown {
		v.Diffs = append(v.Diffs, d)
	}
}

// print writes the verdict for people.
func (v *Verdict) print(w io.Writer) {
	p := func(name, value, note string) { _, _ = fmt.Fprintf(w, "  %-22s %14s  %s\n", name, value, note) }
	p("journaled", grouped(v.Journaled), "documents acknowledged by agents")
	p("merged", grouped(v.Merged), "of them in the aggregator's ledger, beside "+plural(int(v.Own), "event")+" of the agents' own")
	p("lost", grouped(v.Lost), "")
	p("duplicated", grouped(v.Duplicated), "though tills sent "+plural(int(v.Repeats), "document")+" again on purpose")
	p("diverged", grouped(v.Diverged), "of "+grouped(v.Cells)+" SKU-stores compared with the simulator's truth")
	p("unexplained", grouped(v.Unexplained), "of "+plural(v.Explained, "number")+" asked for their movements")
	if v.Orders > 0 {
		p("orders wrong", grouped(v.OrdersWrong), "of "+plural(v.Orders, "web order")+" at its end; "+plural(v.OrdersLeaked, "cell")+" held back for nobody")
	}
	for _, d := range v.Diffs {
		if d.SKU == "" {
			_, _ = fmt.Fprintf(w, "    %s: %s\n", d.Store, d.What)
			continue
		}
		_, _ = fmt.Fprintf(w, "    %s %s: want %s, got %s: %s\n", d.Store, d.SKU, d.Want, d.Got, d.What)
	}
	if v.Faults != "" {
		_, _ = fmt.Fprintf(w, "  broken promise: %s\n", v.Faults)
	}
	if !v.Drained {
		_, _ = fmt.Fprintln(w, "  the journals were not drained in time: what is still on the way counts as lost")
	}
	word := "PASS: nothing lost, nothing doubled, every stock right"
	if !v.OK() {
		word = "FAIL"
	}
	_, _ = fmt.Fprintln(w, strings.Repeat("-", 40)+"\n  "+word)
}
