package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tillwire/aggregator/catalog"
	"tillwire/aggregator/merge"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Master is the item master that documents are read with. The writer changes it;
// explanations and readers ask it at any time.
type Master struct {
	filled atomic.Bool // most chains have no kits: spare them the lock
	mu     sync.RWMutex
	book   *catalog.Book
}

func (m *Master) apply(it *protocol.Item, at ledger.Position) []protocol.SKU {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.filled.Store(true)
	return m.book.Apply(it, uint64(at))
}

// Plain tells that the master is empty.
func (m *Master) Plain() bool { return !m.filled.Load() }

// Resolve reads a line as it was known at a position.
func (m *Master) Resolve(sku protocol.SKU, qty protocol.Quantity, uom string, at ledger.Position, explode bool, into []protocol.HoldLine) ([]protocol.HoldLine, merge.Reading) {
	if !m.filled.Load() {
		return append(into, protocol.HoldLine{SKU: sku, Quantity: qty}), merge.Reading{}
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	into, n := m.book.Resolve(sku, qty, uom, uint64(at), explode, into)
	return into, merge.Reading(n)
}

// Kit lists a kit's parts down to what has stock; nil for what is no kit.
func (m *Master) Kit(sku protocol.SKU) []protocol.KitComponent {
	if !m.filled.Load() {
		return nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.book.Kit(sku)
}

// KitsWith lists the kits that have an article.
func (m *Master) KitsWith(sku protocol.SKU) []protocol.SKU {
	if !m.filled.Load() {
		return nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.book.KitsWith(sku)
}

// Category is an article's category.
func (m *Master) Category(sku protocol.SKU) string {
	if !m.filled.Load() {
		return ""
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.book.Category(sku)
}

// Item returns an article with its versions, newest first; none where it is not
// known.
func (m *Master) Item(sku protocol.SKU) []protocol.Item {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.book.History(sku)
}

// Items lists articles in order of SKU.
func (m *Master) Items(after protocol.SKU, limit int) []protocol.Item {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.book.List(after, limit)
}

// Chunks and Restore are the checkpoint's.
func (m *Master) Chunks(emit func(no uint32, data []byte)) error { return m.book.Chunks(emit) }

// Restore reads a chunk back.
func (m *Master) Restore(no uint32, data []byte) error {
	m.filled.Store(true)
	return m.book.Restore(no, data)
}

// Master gives the item master to readers.
func (i *Ingest) Master() *Master { return i.eng.Items }

// PutItems makes new versions of items. Each is answered by itself: the item as
// it is stored, or why it is refused.
func (i *Ingest) PutItems(ctx context.Context, items []*protocol.Item, who string) (stored []protocol.Item, refused []*protocol.Problem, err error) {
	stored, refused = make([]protocol.Item, len(items)), make([]*protocol.Problem, len(items))
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		var touched, came []protocol.SKU
		category := false
		for n, it := range items {
			next, p := i.eng.Items.book.Put(it, who, nowUS) // the writer reads its own book without a lock
			switch {
			case p != nil:
				refused[n] = p
				continue
			case next == nil:
				stored[n], _ = i.eng.Items.book.Get(it.SKU)
				continue
			}
			body, err := json.Marshal(next)
			if err != nil {
				return fmt.Errorf("encode item %s: %w", it.SKU, err)
			}
			if err := i.journal(protocol.ItemsOrigin, protocol.KindItem, "", "", body, nowUS); err != nil {
				return err
			}
			category = category || next.Category != i.eng.Items.book.Category(it.SKU)
			touched = append(touched, i.eng.Items.apply(next, i.eng.Head())...)
			stored[n] = *next
			came = append(came, next.SKU)
		}
		if category {
			i.compile(nowUS)
		}
		if len(came) > 0 && i.o.Items != nil {
			i.replies = append(i.replies, func(err error) {
				if err == nil {
					i.o.Items(came)
				}
			})
		}
		if len(touched) > 0 && i.o.Kits != nil {
			i.o.Kits(touched)
		}
		return nil
	})
	return stored, refused, err
}

// mend retries an exception of a document that took effect all the same: where
// what it lacked is known now, the numbers are put right.
func (i *Ingest) mend(x *protocol.Exception, nowUS int64) error {
	switch x.Code {
	case "sku_unknown":
		if _, ok := i.eng.Items.book.Get(protocol.SKU(x.About)); !ok {
			x.Reason = fmt.Sprintf("%s is still not in the item master", x.About)
			return nil
		}
	case "unit_unknown":
		if done, err := i.convert(x, nowUS); err != nil || !done {
			return err
		}
	default:
		return fmt.Errorf("retry exception %s: %w: it took effect already; discard it when it is dealt with", x.ID, ErrNotRetriable)
	}
	x.State, x.DecidedAt = "retried", time.UnixMicro(nowUS).UTC()
	return nil
}

// convert moves what counts under a raw code to its article, at every location,
// now that the unit has a conversion. What a later count of the article has seen
// already is only taken off the raw code.
func (i *Ingest) convert(x *protocol.Exception, nowUS int64) (bool, error) {
	sku, uom, ok := cutUnit(x.About)
	if !ok {
		return false, fmt.Errorf("retry exception %s: %w: it does not name a unit", x.ID, ErrNotRetriable)
	}
	_, how := i.eng.Items.book.Resolve(sku, 1000, uom, uint64(i.eng.Head())+1, false, nil)
	if !how.Converted {
		x.Reason = fmt.Sprintf("%s has still no conversion from %q", sku, uom)
		return false, nil
	}
	raw := catalog.RawCode(sku, uom)
	for _, loc := range i.eng.Locations() {
		c, ok := i.eng.CellAt(loc, raw)
		if !ok || c.OnHand == 0 {
			continue
		}
		ev := &protocol.Event{
			Kind: protocol.KindAdjustment, Store: loc, DocumentID: fmt.Sprintf("%s-%d", x.ID, i.eng.Head()), EventTime: protocol.Stamp{US: nowUS},
			Reason: "correction", Source: "decisions", Lines: []protocol.Line{{Line: 1, SKU: raw, Quantity: -c.OnHand}},
		}
		if to, _ := i.eng.CellAt(loc, sku); c.LastUS > to.CountedUS {
			ev.Lines = append(ev.Lines, protocol.Line{Line: 2, SKU: sku, Quantity: c.OnHand, UOM: uom})
		}
		ev.ID = protocol.MakeEventID(ev.Store, ev.Kind, ev.DocumentID)
		if _, _, err := i.append(protocol.Origin{Store: loc, Agent: protocol.DecisionsOrigin.Agent}, ev, nowUS); err != nil {
			return false, err
		}
	}
	return true, nil
}

// cutUnit takes SKU#UOM apart.
func cutUnit(about string) (protocol.SKU, string, bool) {
	for n := len(about) - 1; n > 0; n-- {
		if about[n] == '#' {
			return protocol.SKU(about[:n]), about[n+1:], true
		}
	}
	return "", "", false
}
