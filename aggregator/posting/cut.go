package posting

import (
	"cmp"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Window says what of an ERP is due now.
type Window struct {
	NowUS   int64
	Through int32 // rows of days up to this one are due
	EveryUS int64 // a store is cut no more often
	Lines   int   // most of one document
}

// Cut makes documents of what is due: each a change that the caller journals and
// applies, one after the other. It changes nothing, but counts on being applied.
func (b *Book) Cut(erp string, w Window, sku func(cell uint32) protocol.SKU) (out []*Change) {
	if b.held {
		return nil
	}
	t := b.erp(erp)
	number := b.number
	for _, a := range b.numbered {
		if a.erp != erp || len(a.rows) == 0 || a.minDay > w.Through || w.NowUS < a.lastCutUS+w.EveryUS {
			continue
		}
		if len(t.due)+len(out) >= DueMax {
			break // they go on being netted: fewer, larger documents later
		}
		for _, d := range a.cut(w, sku) {
			number++
			d.Number = number
			d.Key = keyOf(d, b.generation)
			out = append(out, &Change{Op: opCut, NowUS: w.NowUS, ERP: erp, Doc: d})
		}
		if w.NowUS > a.lastCutUS { // also where all nets to nothing
			out = append(out, &Change{Op: opCutDone, NowUS: w.NowUS, ERP: erp, Store: a.store, Through: w.Through})
		}
	}
	return out
}

// cut lists a store's documents: by day, goods in before goods out.
func (a *Account) cut(w Window, sku func(uint32) protocol.SKU) (docs []*Doc) {
	type group struct {
		day    int32
		class  Class
		inward bool
	}
	lines := map[group][]Line{}
	for k, r := range a.rows {
		cell, day, class := cutKey(k)
		if day > w.Through || r.qty == 0 {
			continue
		}
		g := group{day, class, r.qty > 0}
		lines[g] = append(lines[g], Line{Cell: cell, SKU: sku(cell), Qty: r.qty, First: r.first, Last: r.last, Sources: a.sources[k]})
	}
	groups := make([]group, 0, len(lines))
	for g := range lines {
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(x, y group) int {
		sign := func(in bool) int { return map[bool]int{false: 1}[in] }
		return cmp.Or(cmp.Compare(x.day, y.day), cmp.Compare(ranks[x.class], ranks[y.class]), cmp.Compare(x.class, y.class), cmp.Compare(sign(x.inward), sign(y.inward)))
	})
	for _, g := range groups {
		list := lines[g]
		slices.SortFunc(list, func(x, y Line) int { return strings.Compare(string(x.SKU), string(y.SKU)) })
		for part := range slices.Chunk(list, min(max(w.Lines, 1), LinesMax)) {
			d := &Doc{ERP: a.erp, Store: a.store, Day: g.day, PostDay: g.day, Class: g.class, CutUS: w.NowUS, Lines: part, State: protocol.PostingDue}
			d.total()
			docs = append(docs, d)
		}
	}
	return docs
}
