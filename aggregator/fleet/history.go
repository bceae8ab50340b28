package fleet

import "tillwire/protocol"

// History is a store's lag and backlog, oldest first: every 10 s over the last
// hour, every minute over a day. It begins when this process did.
func (f *Fleet) History(id protocol.StoreID, day bool) []protocol.LagPoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.byID[id]
	if s == nil {
		return nil
	}
	r, every, end := &s.fine, int64(fineEveryUS), f.fineUS
	if day {
		r, every, end = &s.coarse, coarseEveryUS, f.coarseUS
	}
	out := make([]protocol.LagPoint, 0, len(r.at))
	r.each(func(back int, x sample) {
		out = append(out, protocol.LagPoint{AtS: (end - int64(back)*every) / 1e6, LagS: float64(unpack(x.lagDS)) / 10, Backlog: unpack(x.backlog)})
	})
	return out
}

// Past is every store at a minute of the last 24 h, the nearest that is kept; ok
// is false before this process began, or later than now. It costs one look per
// store, and what is kept for it is 1,440 samples of 5 bytes per store.
func (f *Fleet) Past(atUS int64) (p protocol.FleetPast, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	back := (f.coarseUS - (atUS - atUS%coarseEveryUS)) / coarseEveryUS
	if f.coarseUS == 0 || back < 0 || back >= coarseSamples {
		return p, false
	}
	p = protocol.FleetPast{Boot: f.boot, AtUS: f.coarseUS - back*coarseEveryUS, States: make([]uint8, len(f.stores)), Backlog: make([]uint64, len(f.stores))}
	for i, s := range f.stores {
		p.States[i] = protocol.PastUnknown
		if x, known := s.past.back(int(back)); known {
			y, _ := s.coarse.back(int(back)) // pushed together
			p.States[i], p.Backlog[i], ok = x, unpack(y.backlog), true
		}
	}
	return p, ok
}

// Bands is the fleet's history over a day, oldest first.
func (f *Fleet) Bands() []protocol.BandColumn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]protocol.BandColumn(nil), f.bands.cols...)
}

// View is the fleet as its pages need it: what changed after revision since, 0
// for all.
func (f *Fleet) View(since uint64) protocol.FleetView {
	n := f.Snapshot()
	v := protocol.FleetView{Boot: n.Boot, Rev: n.Rev, AtUS: n.AtUS, Totals: n.Totals, Bands: n.Bands, Incidents: n.Incidents, MergedHere: n.MergedHere, Chain: n.Chain, SafeCoveredBy: f.opts.SafeCoveredBy}
	for _, s := range n.Stores {
		if s.Rev > since {
			v.Tiles = append(v.Tiles, protocol.Tile{
				Index: s.Index, Store: s.Store, Name: s.Name, Region: s.Region, Type: s.Type, Presence: s.Presence,
				WatermarkUS: s.WatermarkUS, Backlog: s.Backlog, Version: s.Version, Codes: s.Codes, Source: s.feedsOnly(), SinceUS: s.SinceUS, Urgency: Urgency(s.urgent()), Urgent: s.urgent(),
			})
		}
	}
	return v
}
