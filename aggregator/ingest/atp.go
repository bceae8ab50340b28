package ingest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// ATP projects a position: what is available now, and what advices say will come
// when. Transfers under way count at the horizon's end only where they are dated,
// which they are not: goods that may arrive any day are not promised.
func (i *Ingest) ATP(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, horizon time.Duration) (a protocol.ATP, err error) {
	found := false
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		id, ok := i.eng.Lookup(loc, sku)
		if found = ok; !ok {
			return nil
		}
		c := i.now(i.eng.Cell(id))
		r, al := i.eng.Book.Held(reserve.Key{Location: loc, SKU: sku}, nowUS)
		free := i.o.World.Free(&c, "", nowUS) - r - al
		a = project(sku, loc, free, i.eng.Flows(id), nowUS, nowUS+horizon.Microseconds())
		return nil
	})
	if err == nil && !found {
		err = ledger.ErrNotFound
	}
	return a, err
}

func project(sku protocol.SKU, loc protocol.StoreID, free protocol.Quantity, flows []merge.Flow, nowUS, endUS int64) protocol.ATP {
	at := func(us int64) time.Time { return time.UnixMicro(us).UTC() }
	a := protocol.ATP{SKU: sku, Location: loc, AsOf: at(nowUS), Horizon: at(endUS), Points: []protocol.ATPPoint{{At: at(nowUS), Projected: free}}}
	slices.SortFunc(flows, func(x, y merge.Flow) int { return cmp.Or(cmp.Compare(x.DueUS, y.DueUS), cmp.Compare(x.ID, y.ID)) })
	for _, f := range flows {
		if f.Kind != "advice" || f.Open <= 0 || f.DueUS <= nowUS || f.DueUS > endUS { // overdue goods are not promised either
			continue
		}
		free += f.Open
		a.Points = append(a.Points, protocol.ATPPoint{At: at(f.DueUS), Change: f.Open, Projected: free, Reason: fmt.Sprintf("advice %s", f.ID)})
	}
	least := a.Points[len(a.Points)-1].Projected
	for n := len(a.Points) - 1; n >= 0; n-- {
		least = min(least, a.Points[n].Projected)
		a.Points[n].ATP = max(0, least)
	}
	return a
}
