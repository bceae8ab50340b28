package outcomes

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"tillwire/protocol"
)

// ErrTooMany says that an answer would have too many rows.
var ErrTooMany = errors.New("more rows than one answer holds; ask for fewer weeks, one store, or a coarser group")

// Definitions say in words what each number is; answers carry them.
var definitions = map[string]string{
	"week":                       "Monday to Sunday in UTC, by the moment at which the aggregator learnt of it (merged it), whatever clock the store has.",
	"discrepancy.rate":           "Count lines whose number differed from the book, of all count lines. A line is one article in one count session of one location; what a full count zeroes by not naming it is a line where the book had something.",
	"discrepancy.unexplained":    "Sum of what differed, each line without its sign: counted less what the book had at the count's own cut. Movements that the count had seen and that come up to 7 days later correct it (of the newest 200,000 count lines of the chain); later ones do not.",
	"discrepancy.opened":         "First counts of a position: there was nothing to differ from, so they are in neither number of the rate.",
	"oversells.promises_at_risk": "Promises (reservation lines) that stock stopped covering where they stay.",
	"oversells.promises_moved":   "Firm promises that stock stopped covering and that were sourced again elsewhere.",
	"oversells.below_zero":       "Times that a movement took a position below zero, where it had been counted, stated, or above zero.",
	"oversells.escrow_breaches":  "Reservations put at risk where a store sold more than its escrow while nobody heard of it; they are among promises_at_risk.",
	"oversells.total":            "promises_at_risk + promises_moved + below_zero.",
	"manual_reconciliations":     "Decisions of people on drift, refused statements and residues: adopt, dismiss, write off.",
	"sync_window":                "Time from the record in the store's journal, by the agent's clock, to the ledger; of stores' agents, not of feeds. Told within a quarter, by a histogram.",
	"fulfilment.kept":            "Firm promises (confirmed or further) whose goods were collected or shipped from where they were promised, whole.",
	"fulfilment.short":           "… of which less was handed out than promised.",
	"fulfilment.rejected":        "… that their store said it could not serve, sourced again or not.",
	"fulfilment.moved":           "… that were sourced again because stock fell below them.",
	"fulfilment.cancelled":       "… that were released by channel or customer; they count neither for nor against. A hold that expires was never a firm promise.",
	"fulfilment.accuracy":        "kept / (kept + short + rejected + moved).",
	"channel":                    "Promises carry the channel that made them. What has none (counts, positions, sync windows, decisions) stands under no channel, and is left out where one is asked for.",
	"store":                      "The location: where the count was, the position is, or the promise was to be served. A location under no name holds what was beyond the bounds.",
}

// sum is what a row of the answer adds up.
type sum struct {
	n      [measures]int64
	window window
}

func (s *sum) add(r *row) {
	for m, v := range r.n {
		s.n[m] += v
	}
	if r.window != nil {
		s.window.join(r.window)
	}
}

// key is what a row of the answer is told apart by.
type key struct {
	week int64
	name
}

// Report adds up what a filter asks for.
func (b *Book) Report(f *protocol.OutcomesFilter) (protocol.Outcomes, error) {
	out := protocol.Outcomes{Group: append([]string{}, f.Group...), Rows: []protocol.Outcome{}, Definitions: definitions, WeeksKept: weeksKept, Dropped: b.dropped}
	by := func(what string) bool { return slices.Contains(f.Group, what) }
	byWeek, byStore, byChannel := by(protocol.ByWeek), by(protocol.ByStore), by(protocol.ByChannel)
	sums, total := map[key]*sum{}, sum{}
	for no, w := range b.weeks {
		if !f.From.IsZero() && no < weekOf(f.From.UnixMicro()) || !f.To.IsZero() && no*weekUS+mondayUS >= f.To.UnixMicro() {
			continue
		}
		for n, r := range w.rows {
			if f.Store != "" && n.store != f.Store || f.Channel != "" && n.channel != f.Channel {
				continue
			}
			total.add(r)
			var k key
			if byWeek {
				k.week = no
			}
			if byStore {
				k.store = n.store
			}
			if byChannel {
				k.channel = n.channel
			}
			s := sums[k]
			if s == nil {
				if len(sums) >= reportRows {
					return out, ErrTooMany
				}
				s = &sum{}
				sums[k] = s
			}
			s.add(r)
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(sums), func(x, y key) int {
		return cmp.Or(cmp.Compare(x.week, y.week), cmp.Compare(x.store, y.store), cmp.Compare(x.channel, y.channel))
	}) {
		o := sums[k].outcome()
		if o.Store, o.Channel = k.store, k.channel; byWeek {
			o.Week = monday(k.week)
		}
		out.Rows = append(out.Rows, o)
	}
	out.Total = total.outcome()
	if len(b.weeks) > 0 {
		out.Oldest = monday(slices.Min(slices.Collect(maps.Keys(b.weeks))))
	}
	return out, nil
}

func monday(week int64) string {
	return time.UnixMicro(week*weekUS + mondayUS).UTC().Format(time.DateOnly)
}

func (s *sum) outcome() protocol.Outcome {
	n := &s.n
	o := protocol.Outcome{
		Discrepancy: protocol.Discrepancy{
			Lines: n[lines], Differing: n[differing], Rate: rate(n[differing], n[lines]), Unexplained: protocol.Quantity(n[unexplained]), Opened: n[opened],
		},
		Oversells: protocol.Oversells{
			Total: n[AtRisk] + n[Moved] + n[BelowZero], AtRisk: n[AtRisk], Moved: n[Moved], BelowZero: n[BelowZero], EscrowUsed: n[EscrowBreach],
		},
		Reconciliations: n[Decision],
		SyncWindow:      protocol.SyncWindow{Documents: s.window.docs},
		Fulfilment: protocol.FulfilmentSum{
			Kept: n[Kept], Short: n[Short], Rejected: n[Rejected], Moved: n[Moved], Cancelled: n[Cancelled],
			Accuracy: rate(n[Kept], n[Kept]+n[Short]+n[Rejected]+n[Moved]),
		},
	}
	if w := &s.window; w.docs > 0 {
		p50, p95, p99, most := w.quantile(0.5), w.quantile(0.95), w.quantile(0.99), w.most()
		o.SyncWindow.P50MS, o.SyncWindow.P95MS, o.SyncWindow.P99MS, o.SyncWindow.MaxMS = &p50, &p95, &p99, &most
	}
	return o
}

func rate(of, all int64) *float64 {
	if all <= 0 {
		return nil
	}
	r := float64(of) / float64(all)
	return &r
}
