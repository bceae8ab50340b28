package ingest

import (
	"context"
	"encoding/json"
	"fmt"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

const mergedDayUS = 86_400_000_000

// owe nets what an entry moved for the store's ERP. Where no store has one, it
// costs a look at an empty list.
func (f *Fold) owe(ev *protocol.Event, from ledger.OriginID, at ledger.Position, mergedUS int64) {
	deltas := f.Deltas()
	if len(deltas) == 0 {
		return
	}
	a := f.Postings.Account(ev.Store)
	if a == nil {
		return
	}
	told := f.OriginOf(from).Agent == protocol.AgentID(protocol.FeedAgentPrefix+a.ERP())
	today := int32(mergedUS / mergedDayUS)
	for n := range deltas {
		d := &deltas[n]
		if d.Moved == 0 && d.Changed == 0 && d.Unavailable == [protocol.DispositionsUnsellable]protocol.Quantity{} {
			continue
		}
		m := posting.Movement{
			Cell: uint32(d.Cell), Class: posting.ClassOf(d.Kind, d.Direction, d.Reason), Day: d.Day, CountDay: d.CountDay,
			Moved: d.Moved, Changed: d.Changed, Unavailable: d.Unavailable,
		}
		a.Add(uint64(at), today, told, d.Kind == protocol.KindSnapshot, &m)
	}
}

// applyPosting puts a change of the postings' book into effect.
func (f *Fold) applyPosting(c *posting.Change, at ledger.Position) {
	f.Postings.Apply(c, uint64(at))
	if store := c.Opens(); store != "" {
		day := int32(c.NowUS / mergedDayUS)
		a := f.Postings.Account(store)
		f.At(store, func(x merge.Cell) { a.Open(uint64(at), day, uint32(x.ID), x.OnHand, x.UnavailableBy) })
	}
	f.Watch(f.Postings.Active())
}

// postingChange journals a change of the postings' book and applies it.
func (i *Ingest) postingChange(c *posting.Change, nowUS int64) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode posting: %w", err)
	}
	if err := i.journal(protocol.PostingsOrigin, protocol.KindPosting, "", c.Op, body, nowUS); err != nil {
		return err
	}
	i.eng.applyPosting(c, i.eng.Head())
	return nil
}

// OpenPostings brings the stores whose movements are netted to what is configured.
func (i *Ingest) OpenPostings(ctx context.Context, want map[protocol.StoreID]string, opening map[string]bool) error {
	return i.call(ctx, func(i *Ingest, nowUS int64) error {
		if len(want) > 0 {
			if err := i.postingsRestored(nowUS); err != nil {
				return err
			}
		}
		for _, c := range i.eng.Postings.Opened(want, opening, nowUS) {
			if err := i.postingChange(c, nowUS); err != nil {
				return err
			}
		}
		return nil
	})
}

// postingsRestored holds postings back once the cloud's generation has risen: this
// ledger is older than what ERPs may have heard.
func (i *Ingest) postingsRestored(nowUS int64) error {
	if c := i.eng.Postings.Generation(i.generation.Load(), nowUS); c != nil {
		return i.postingChange(c, nowUS)
	}
	return nil
}

// CutPostings makes documents of what is due, and returns those of the ERP that
// wait to be sent, the oldest first; posting.ErrHeld while none may be sent.
func (i *Ingest) CutPostings(ctx context.Context, erp string, w posting.Window, limit int) (due []posting.Doc, err error) {
	held := false
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		w.NowUS = nowUS
		if err := i.postingsRestored(nowUS); err != nil {
			return err
		}
		if held = i.eng.Postings.Held(); held {
			return nil
		}
		for _, c := range i.eng.Postings.Cut(erp, w, i.skuOf) {
			if err := i.postingChange(c, nowUS); err != nil {
				return err
			}
		}
		for _, d := range i.eng.Postings.Due(erp, limit) {
			due = append(due, *d) // its lines are replaced, never changed
		}
		return nil
	})
	if err == nil && held {
		err = posting.ErrHeld
	}
	return due, err
}

func (i *Ingest) skuOf(cell uint32) protocol.SKU { return i.eng.SKUOf(ledger.CellID(cell)) }

// PostingDone journals what became of a document.
func (i *Ingest) PostingDone(ctx context.Context, c *posting.Change) error {
	return i.call(ctx, func(i *Ingest, nowUS int64) error {
		c.NowUS = nowUS
		return i.postingChange(c, nowUS)
	})
}

// SplitPosting parks the lines of some articles alone and returns the document as
// it is then.
func (i *Ingest) SplitPosting(ctx context.Context, key string, skus []protocol.SKU, code, reason string) (d posting.Doc, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		if c := i.eng.Postings.Split(key, skus, code, reason, nowUS); c != nil {
			if err := i.postingChange(c, nowUS); err != nil {
				return err
			}
		}
		if x, ok := i.eng.Postings.Get(key); ok {
			d = *x
		}
		return nil
	})
	return d, err
}

// RetryPosting makes a parked document due again.
func (i *Ingest) RetryPosting(ctx context.Context, key, who string) (protocol.Posting, error) {
	return i.decidePosting(ctx, key, func(nowUS int64) (*posting.Change, *protocol.Problem) {
		return i.eng.Postings.Retry(key, who, nowUS)
	})
}

// DiscardPosting settles a parked document without its ERP, for a stated reason.
func (i *Ingest) DiscardPosting(ctx context.Context, key, who, note string) (protocol.Posting, error) {
	return i.decidePosting(ctx, key, func(nowUS int64) (*posting.Change, *protocol.Problem) {
		return i.eng.Postings.Discard(key, who, note, nowUS)
	})
}

func (i *Ingest) decidePosting(ctx context.Context, key string, decide func(nowUS int64) (*posting.Change, *protocol.Problem)) (p protocol.Posting, err error) {
	var refused *protocol.Problem
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		c, why := decide(nowUS)
		if why != nil {
			refused = why
			return nil //nolint:nilerr // told to the caller; nothing was changed
		}
		if c != nil {
			if err := i.postingChange(c, nowUS); err != nil {
				return err
			}
		}
		if d, ok := i.eng.Postings.Get(key); ok {
			p = d.View()
		}
		return nil
	})
	if err == nil && refused != nil {
		err = refused
	}
	return p, err
}

// Postings lists documents, newest first.
func (i *Ingest) Postings(ctx context.Context, f posting.Filter) (list []protocol.Posting, err error) {
	err = i.call(ctx, func(i *Ingest, _ int64) error {
		for _, d := range i.eng.Postings.List(f) {
			list = append(list, d.View())
		}
		return nil
	})
	return list, err
}

// PostingStandings sums the ERPs' queues up, in the order of the names.
func (i *Ingest) PostingStandings(ctx context.Context, erps []string) (list []posting.Standing, err error) {
	err = i.call(ctx, func(i *Ingest, _ int64) error {
		for _, name := range erps {
			list = append(list, i.eng.Postings.Stand(name))
		}
		return nil
	})
	return list, err
}

// ResumePostings has posting go on after a restore.
func (i *Ingest) ResumePostings(ctx context.Context, who, note string) error {
	var refused *protocol.Problem
	err := i.call(ctx, func(i *Ingest, nowUS int64) error {
		c, p := i.eng.Postings.Resume(who, note, nowUS)
		if refused = p; p != nil || c == nil {
			return nil //nolint:nilerr // told to the caller; nothing was changed
		}
		return i.postingChange(c, nowUS)
	})
	if err == nil && refused != nil {
		err = refused
	}
	return err
}

// AdoptPostings takes documents that an ERP has, and of which a restored ledger has
// lost that it has them, as posted. It returns how many these were, and those that the
// ERP has begun only and this ledger does not know: nobody will end them. Nothing is
// adopted, and none is strange, unless postings are held.
func (i *Ingest) AdoptPostings(ctx context.Context, erp string, list []posting.Found) (n int, strange []posting.Found, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		if !i.eng.Postings.Held() { // somebody let postings go on while the ERP was read
			return nil
		}
		for k := range list {
			f := &list[k]
			if i.eng.Postings.Strange(f) {
				strange = append(strange, *f)
			}
			c := i.eng.Postings.Adopt(erp, f, nowUS, func(sku protocol.SKU) (uint32, bool) {
				id, ok := i.eng.Lookup(f.Store, sku)
				return uint32(id), ok
			})
			if c == nil {
				continue
			}
			if err := i.postingChange(c, nowUS); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, strange, err
}
