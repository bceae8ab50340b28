package aggregator

import (
	"sync/atomic"

	"tillwire/aggregator/availability"
	"tillwire/aggregator/merge"
	"tillwire/aggregator/policy"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// world is what ingest's decisions see of the rest of the aggregator.
type world struct{ a *Aggregator }

// Free is what may be promised of a position, holds not taken off.
func (w world) Free(c *merge.Cell, channel string, nowUS int64) protocol.Quantity {
	p := w.a.model.Promise(&availability.Cell{
		Location: c.Location, SKU: c.SKU, OnHand: c.OnHand, Unavailable: c.Unavailable, Rate: w.a.ingest.Rate(c), LastUS: c.LastUS, CountedUS: c.CountedUS,
	}, channel, nowUS)
	return p.Free
}

// Candidates lists the locations that ever had an article; whether they still
// have it the book asks the fold.
func (w world) Candidates(sku protocol.SKU, group string) []reserve.Candidate {
	if parts := w.Kit(sku); len(parts) > 0 {
		sku = parts[0].SKU // a kit can come only from where its parts are
	}
	v, ok := w.a.model.Get(sku, nil)
	if !ok {
		return nil
	}
	out := make([]reserve.Candidate, 0, len(v.Locations))
	for i := range v.Locations {
		l := &v.Locations[i]
		if g := w.a.groups[l.Location]; group == "" || g == group {
			out = append(out, reserve.Candidate{Location: l.Location, Group: g, AgeUS: int64(l.LagS * 1e6)})
		}
	}
	return out
}

// Kit lists a kit's parts.
func (w world) Kit(sku protocol.SKU) []protocol.KitComponent { return w.a.ingest.Master().Kit(sku) }

// Sourcing and Resource are the policies' words.
func (w world) Sourcing(sku protocol.SKU, _ int64) string { return w.a.rules.set().Sourcing(sku) }

// Resource tells whether a promise that stock no longer covers is sourced again.
func (w world) Resource(sku protocol.SKU, loc protocol.StoreID, _ int64) bool {
	return w.a.rules.set().Resource(sku, loc)
}

// Category, Group and In are what policies' scopes refer to.
func (w world) Category(sku protocol.SKU) string {
	if w.a.ingest == nil { // at start-up nothing reads yet; what is asked first is asked again
		return ""
	}
	return w.a.ingest.Master().Category(sku)
}

// Group is a location's region.
func (w world) Group(loc protocol.StoreID) string { return w.a.groups[loc] }

// In lists a region's locations.
func (w world) In(group string) []protocol.StoreID {
	list, _ := w.a.group(group)
	return list
}

// rules are the policies in force, for readers on any goroutine.
type rules struct {
	now atomic.Pointer[policy.Set]
	rev atomic.Uint64
}

func (r *rules) set() *policy.Set { return r.now.Load() }

// use takes a new table.
func (r *rules) use(s *policy.Set) {
	r.now.Store(s)
	r.rev.Add(1)
}

// Rev grows with every table.
func (r *rules) Rev() uint64 { return r.rev.Load() }

// For gives what is held back of an article.
func (r *rules) For(sku protocol.SKU, _ int64) *protocol.Holdbacks { return r.set().For(sku) }

// LowAt is a channel's line between in and low.
func (r *rules) LowAt(sku protocol.SKU, loc protocol.StoreID, channel string) protocol.Quantity {
	return r.set().LowAt(sku, loc, channel)
}

// zones are those that a store's counts may name; nil: any.
func (a *Aggregator) zones(loc protocol.StoreID) []string {
	for i := range a.cfg.Stores {
		if a.cfg.Stores[i].Store == string(loc) {
			return a.cfg.Stores[i].Zones
		}
	}
	return nil
}

// escrow is what a store may sell alone while it is dark, and after how much silence
// it is.
func (a *Aggregator) escrow(sku protocol.SKU, loc protocol.StoreID) (units protocol.Quantity, darkUS int64) {
	h := a.rules.For(sku, 0).For(loc)
	return h.Escrow, h.DarkAfterS * 1_000_000
}

// typeOf is a location's type as configured; stores where nothing is said.
func (a *Aggregator) typeOf(loc protocol.StoreID) string {
	for i := range a.cfg.Stores {
		if s := &a.cfg.Stores[i]; s.Store == string(loc) && s.Type != "" {
			return s.Type
		}
	}
	return "store"
}
