package aggregator

import (
	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// world is what ingest's decisions see of the rest of the aggregator.
type world struct{ a *Aggregator }

// Free is what may be promised of a position, holds not taken off.
func (w world) Free(c *merge.Cell, channel string, nowUS int64) protocol.Quantity {
	_, _ = channel, nowUS
	return c.OnHand - c.Unavailable
}

// Candidates lists the locations that ever had an article; whether they still
// have it the book asks the fold.
func (w world) Candidates(sku protocol.SKU, group string) []reserve.Candidate {
	v, ok := w.a.model.Get(sku, nil)
	if !ok {
		return nil
	}
	out := make([]reserve.Candidate, 0, len(v.Locations))
	for i := range v.Locations {
		l := &v.Locations[i]
		if g := w.a.groupOf(l.Location); group == "" || g == group {
			out = append(out, reserve.Candidate{Location: l.Location, Group: g, AgeUS: int64(l.LagS * 1e6)})
		}
	}
	return out
}

func (w world) Kit(protocol.SKU) []protocol.KitComponent            { return nil }
func (w world) Sourcing(protocol.SKU, int64) string                 { return "" }
func (w world) Resource(protocol.SKU, protocol.StoreID, int64) bool { return false }

func (a *Aggregator) groupOf(loc protocol.StoreID) string { return a.groups[loc] }
