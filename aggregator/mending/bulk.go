package mending

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// each calls fn with the exceptions that a filter matches, at most so many as a
// preview looks at. more: there are others.
func (d *Desk) each(f ledger.Filter, fn func(*protocol.Exception)) (more bool, err error) {
	f.Limit = stepMax
	for n := 0; ; {
		list, err := d.o.List(f)
		if err != nil {
			return false, err
		}
		for i := range list {
			if n++; n > previewMax {
				return true, nil
			}
			fn(&list[i])
		}
		if len(list) < f.Limit {
			return false, nil
		}
		f.After = list[len(list)-1].ID
	}
}

// Preview counts the open exceptions that a filter matches.
func (d *Desk) Preview(f ledger.Filter, action string) (protocol.ExceptionBulk, error) {
	b := protocol.ExceptionBulk{Action: action, Preview: true, Causes: map[string]int{}, ByStore: map[string]int{}, BySource: map[string]int{}}
	f.State = "open"
	more, err := d.each(f, func(x *protocol.Exception) {
		b.Matched++
		b.Causes[x.Code]++
		b.ByStore[string(x.Origin.Store)]++
		b.BySource[ledger.SourceOf(x.Origin)]++
		if len(b.Examples) < examplesMax {
			b.Examples = append(b.Examples, *x)
		}
	})
	b.More = more
	return b, err
}

// Step decides the first open exceptions behind f.After that match, in one commit.
// Whoever wants all of them calls again with Next, until there is none.
func (d *Desk) Step(ctx context.Context, f ledger.Filter, action, who, note string) (protocol.ExceptionBulk, error) {
	b := protocol.ExceptionBulk{Action: action}
	f.State = "open"
	if f.Limit <= 0 || f.Limit > stepMax {
		f.Limit = stepMax
	}
	list, err := d.o.List(f)
	if err != nil || len(list) == 0 {
		return b, err
	}
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	decided, refused, err := d.o.Decide(ctx, ids, action, who, note, nil)
	if err != nil {
		return b, err
	}
	b.Matched, b.Refused = len(list), refused
	for i := range decided {
		if decided[i].State == "open" {
			b.Open++
		} else {
			b.Done++
		}
	}
	if len(list) == f.Limit {
		b.More, b.Next = true, ids[len(ids)-1]
	}
	return b, nil
}

// Causes tells what is open, by cause, the most first. more: only so many were
// looked at.
func (d *Desk) Causes(f ledger.Filter) (list []protocol.ExceptionCause, more bool, err error) {
	f.State = "open"
	by, stores := map[string]*protocol.ExceptionCause{}, map[string]map[protocol.StoreID]bool{}
	more, err = d.each(f, func(x *protocol.Exception) {
		c := by[x.Code]
		if c == nil {
			c = &protocol.ExceptionCause{Code: x.Code, Oldest: x.At, Newest: x.At, Sources: map[string]int{}, Counted: x.Counted, Actions: actionsOf(x)}
			by[x.Code], stores[x.Code] = c, map[protocol.StoreID]bool{}
		}
		c.Open++
		c.Sources[ledger.SourceOf(x.Origin)]++
		stores[x.Code][x.Origin.Store] = true
		if x.At.Before(c.Oldest) {
			c.Oldest = x.At
		}
		if x.At.After(c.Newest) {
			c.Newest = x.At
		}
	})
	for code, c := range by {
		c.Stores = len(stores[code])
	}
	list = []protocol.ExceptionCause{}
	for _, c := range slices.SortedFunc(maps.Values(by), func(x, y *protocol.ExceptionCause) int {
		return cmp.Or(cmp.Compare(y.Open, x.Open), cmp.Compare(x.Code, y.Code))
	}) {
		list = append(list, *c)
	}
	return list, more, err
}
