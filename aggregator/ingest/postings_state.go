package ingest

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
)

// StateERP takes what an ERP says is in a store as a statement of the source of its
// name. What the ERP has not been told yet (movements that are netted, documents
// that are due or parked) is added to its numbers, so that the statement
// speaks of the journals' present marks, and acknowledges them: only what nobody can
// explain is a difference. Both are read in one turn of the writer; the caller sees
// to it that nothing is posted between the ERP's answer and this, and that the ERP has
// no document that the book still calls due. While postings are held after a restore
// nothing is stated: the ERP has documents that this ledger lost.
func (i *Ingest) StateERP(ctx context.Context, erp string, store protocol.StoreID, id string, stated map[protocol.SKU]protocol.Quantity) (results []protocol.FeedResult, err error) {
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		if i.eng.Postings.Held() {
			return nil
		}
		owed := i.eng.Postings.Owed(store)
		number := map[protocol.SKU]protocol.Quantity{}
		maps.Copy(number, stated)
		for cell, q := range owed {
			number[i.skuOf(cell)] += q
		}
		i.eng.At(store, func(c merge.Cell) {
			if _, ok := number[c.SKU]; !ok && c.OnHand != 0 {
				number[c.SKU] = 0
			}
		})
		for _, sku := range i.eng.Drift.OpenAt(erp, store) { // a row whose article is gone on both sides settles, too
			if _, ok := number[sku]; !ok {
				number[sku] = 0
			}
		}
		o := protocol.Origin{Store: store, Agent: protocol.AgentID(protocol.FeedAgentPrefix + erp)}
		var acks []protocol.JournalAck
		for from, s := range i.sessions {
			if from.Store == store && s.mark.Seq > 0 && len(acks) < protocol.AcksMax {
				acks = append(acks, protocol.JournalAck{Origin: from, Epoch: max(s.mark.Epoch, 1), Seq: s.mark.Seq})
			}
		}
		slices.SortFunc(acks, func(x, y protocol.JournalAck) int { return cmp.Compare(x.Origin.String(), y.Origin.String()) })
		events := statementOf(store, erp, id, nowUS, number, acks)
		results = make([]protocol.FeedResult, len(events))
		return i.feed(o, events, results, nowUS)
	})
	return results, err
}

// statementOf makes the parts of one statement.
func statementOf(store protocol.StoreID, erp, id string, nowUS int64, number map[protocol.SKU]protocol.Quantity, acks []protocol.JournalAck) (events []*protocol.Event) {
	for part := range slices.Chunk(slices.Sorted(maps.Keys(number)), protocol.DocumentLinesMax) {
		ev := &protocol.Event{
			Kind: protocol.KindSnapshot, Store: store, DocumentID: fmt.Sprintf("%s/%d", id, len(events)+1), EventTime: protocol.Stamp{US: nowUS},
			Source: erp, Session: id, Acks: acks,
		}
		for n, sku := range part {
			ev.Lines = append(ev.Lines, protocol.Line{Line: n + 1, SKU: sku, Quantity: number[sku]})
		}
		ev.ID = protocol.MakeEventID(store, ev.Kind, ev.DocumentID)
		events = append(events, ev)
	}
	return events
}
