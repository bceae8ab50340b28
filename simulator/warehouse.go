package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"tillwire/protocol"
)

// warehouse is the WMS of a distribution centre: it tells the chain what came in
// through a feed, sends some of it twice, and now and then writes something off.
type warehouse struct {
	crew   *crew
	chain  *chain
	report func(string)
	rng    *rand.Rand
	n      int
	last   time.Time
}

const (
	warehouseStore  = protocol.StoreID("DC1")
	warehouseRepeat = 0.1 // of deliveries are told twice
	warehouseLoss   = 0.15
)

// fedDocument is a document as a feed takes it.
type fedDocument struct {
	document

	Kind     string           `json:"kind"`
	Location protocol.StoreID `json:"location"`
}

// run receives goods until selling ends.
func (w *warehouse) run(hard, selling context.Context) {
	every := w.crew.story.Warehouse.Every.D()
	if every == 0 {
		return
	}
	clock := w.crew.clock
	for due := clock.story(); ; {
		if wait := clock.real(due.Sub(clock.story())); wait > 0 {
			if !pause(selling, min(wait, lookEvery)) {
				return
			}
			continue
		}
		if selling.Err() != nil {
			return
		}
		due = due.Add(every)
		if err := w.deliver(hard); err != nil && hard.Err() == nil {
			w.report(err.Error())
		}
	}
}

// deliver tells one delivery, until it is taken.
func (w *warehouse) deliver(hard context.Context) error {
	docs := []*document{w.receipt()}
	if w.rng.Float64() < warehouseLoss {
		docs = append(docs, w.writeOff(docs[0]))
	}
	if w.rng.Float64() < warehouseRepeat {
		docs = append(docs, docs[0])
	}
	fed := make([]fedDocument, len(docs))
	for i, d := range docs {
		fed[i] = fedDocument{document: *d, Kind: d.kind, Location: warehouseStore}
	}
	body, err := json.Marshal(map[string]any{"events": fed})
	if err != nil {
		return fmt.Errorf("encode delivery: %w", err)
	}
	var got struct {
		Results []protocol.FeedResult `json:"results"`
	}
	for try := 1; ; try++ {
		if err = w.chain.do(hard, http.MethodPost, "/v1/feeds/wms/events", body, &got); err == nil {
			break
		}
		if try >= tillRetriesMax || !pause(hard, tillBackoffMax/4) {
			return err
		}
	}
	told := map[string]bool{}
	for i, r := range got.Results {
		switch {
		case r.Status == "accepted", r.Status == "duplicate" && !told[docs[i].DocumentID]: // the first try got through without an answer
			w.crew.oracle.recordFed(warehouseStore, docs[i])
		case r.Status == "duplicate":
			w.crew.oracle.recordRepeat(warehouseStore)
		default:
			w.crew.fault(fmt.Sprintf("the warehouse's %s is %s: %s", docs[i].DocumentID, r.Status, r.Code))
		}
		told[docs[i].DocumentID] = true
	}
	return nil
}

func (w *warehouse) begin(kind string) *document {
	w.n++
	now := w.crew.clock.stamp().Truncate(time.Microsecond)
	if !now.After(w.last) {
		now = w.last.Add(time.Microsecond)
	}
	w.last = now
	return &document{kind: kind, at: now, DocumentID: fmt.Sprintf("DC1-%06d", w.n), OccurredAt: tillTime(now)}
}

func (w *warehouse) receipt() *document {
	d := w.begin(kindReceipt)
	all := w.crew.shops[0].shop.goods
	seen := map[int]bool{}
	for range w.crew.story.Warehouse.Lines {
		k := w.rng.IntN(len(all.articles) / 2)
		if seen[k] {
			continue
		}
		seen[k] = true
		w.line(d, all.articles[k], protocol.Units(int64(40+w.rng.IntN(400))))
	}
	return d
}

// writeOff loses a little of what has just come in.
func (w *warehouse) writeOff(from *document) *document {
	d := w.begin(kindAdjustment)
	d.Reason = "damage"
	w.line(d, article{SKU: protocol.SKU(from.Lines[0].SKU), Weighed: from.Lines[0].UOM == "KGM"}, -protocol.Units(2))
	return d
}

func (w *warehouse) line(d *document, a article, q protocol.Quantity) {
	d.Lines = append(d.Lines, docLine{Line: len(d.Lines) + 1, SKU: string(a.SKU), Quantity: q, UOM: a.uom()})
	d.effects = append(d.effects, effect{SKU: a.SKU, Delta: q})
}
