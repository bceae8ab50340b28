package aggregator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"time"

	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// touched calls fn, for each entry of the log behind a position, with the articles
// whose availability it may have changed; all: whichever.
func (a *Aggregator) touched(ctx context.Context, after uint64, fn func(pos uint64, mergedUS int64, skus []protocol.SKU, all bool) error) error {
	var skus []protocol.SKU
	var ev protocol.Event
	return a.ledger.Scan(ledger.Position(after)+1, func(en *ledger.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if en.Ref != 0 { // completes an entry; the document that it is about stands in its own
			return nil
		}
		ev = protocol.Event{}
		if _, err := protocol.DecodeRecord(en.Record, &ev); err != nil {
			return fmt.Errorf("read entry %d: %w", en.Position, err)
		}
		var all bool
		var err error
		if skus, all, err = a.articlesOf(&ev, uint64(en.Position), skus[:0]); err != nil {
			return err
		}
		return fn(uint64(en.Position), en.MergedUS, skus, all)
	})
}

// articlesOf lists what an event is about: the articles that it names, their parts
// where they are kits, and the kits that they are parts of.
func (a *Aggregator) articlesOf(ev *protocol.Event, pos uint64, into []protocol.SKU) (skus []protocol.SKU, all bool, err error) {
	switch ev.Kind { //nolint:exhaustive // the others have lines
	case protocol.KindPolicy:
		return into, true, nil
	case protocol.KindItem:
		var it protocol.Item
		if err := json.Unmarshal(ev.Body, &it); err != nil {
			return into, true, nil //nolint:nilerr // what cannot be read may be about anything
		}
		return a.withKits(append(into, it.SKU)), false, nil
	case protocol.KindReservation:
		var c reserve.Change
		if err := json.Unmarshal(ev.Body, &c); err != nil {
			return into, true, nil //nolint:nilerr // what cannot be read may be about anything
		}
		for i := range c.Record.Lines {
			into = append(into, c.Record.Lines[i].SKU)
			for _, p := range c.Record.Lines[i].Parts {
				into = append(into, p.SKU)
			}
		}
		return a.withKits(into), false, nil
	case protocol.KindVoid:
		into, err = a.voided(ev, pos, into)
		return a.withKits(into), false, err
	case protocol.KindCount, protocol.KindSnapshot:
		if ev.Complete || ev.Scope != protocol.ScopeSKU && ev.Kind == protocol.KindCount { // what it does not name becomes 0
			return into, true, nil
		}
	}
	return a.withKits(a.moved(ev, pos, into)), false, nil
}

func (a *Aggregator) moved(ev *protocol.Event, pos uint64, into []protocol.SKU) []protocol.SKU {
	var lines []protocol.HoldLine
	for i := range ev.Lines {
		l := &ev.Lines[i]
		into = append(into, l.SKU)
		lines, _ = a.ingest.Master().Resolve(l.SKU, l.Quantity, l.UOM, ledger.Position(pos), true, lines[:0])
		for _, x := range lines {
			if x.SKU != l.SKU {
				into = append(into, x.SKU)
			}
		}
	}
	return into
}

func (a *Aggregator) withKits(list []protocol.SKU) []protocol.SKU {
	for _, s := range list[:len(list):len(list)] {
		list = append(list, a.ingest.Master().KitsWith(s)...)
	}
	return list
}

// voidable are the kinds that a void may cancel.
var voidable = []protocol.Kind{protocol.KindSale, protocol.KindReturn, protocol.KindReceipt, protocol.KindAdjustment, protocol.KindTransfer, protocol.KindCount}

// voided finds what a void took back. One whose original has not come changes nothing
// yet; the original's own entry will.
func (a *Aggregator) voided(v *protocol.Event, pos uint64, into []protocol.SKU) ([]protocol.SKU, error) {
	for _, k := range voidable {
		if v.VoidsKind != protocol.KindInvalid && v.VoidsKind != k {
			continue
		}
		p, _, ok, err := a.ledger.Find(protocol.MakeEventID(v.Store, k, v.Voids))
		if err != nil || !ok {
			if err != nil {
				return into, err
			}
			continue
		}
		en, err := a.ledger.Read(p)
		if err != nil {
			return into, err
		}
		var ev protocol.Event
		if _, err := protocol.DecodeRecord(en.Record, &ev); err != nil {
			return into, fmt.Errorf("read entry %d: %w", p, err)
		}
		into = a.moved(&ev, pos, into)
	}
	return into, nil
}

// positionAt is the last position merged before a moment: merge times never fall.
func (a *Aggregator) positionAt(at time.Time) (uint64, error) {
	var failed error
	us := at.UnixMicro()
	n := sort.Search(int(a.ledger.Head()), func(i int) bool {
		en, err := a.ledger.Read(ledger.Position(i) + 1)
		failed = errors.Join(failed, err)
		return err != nil || en.MergedUS >= us
	})
	return uint64(n), failed
}
