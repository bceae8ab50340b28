package fleet

import "tillwire/protocol"

// Point of a store's history. Between two points nothing is claimed.
type Point struct {
	AtS     int64   `json:"t"` // Unix seconds
	LagS    float64 `json:"lag_s"`
	Backlog uint64  `json:"backlog"`
}

// History is a store's lag and backlog, oldest first: every 10 s over the last
// hour, every minute over a day. It begins when this process did.
func (f *Fleet) History(id protocol.StoreID, day bool) []Point {
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
	out := make([]Point, 0, len(r.at))
	r.each(func(back int, x sample) {
		out = append(out, Point{(end - int64(back)*every) / 1e6, float64(unpack(x.lagDS)) / 10, unpack(x.backlog)})
	})
	return out
}

// Bands is the fleet's history over a day, oldest first.
func (f *Fleet) Bands() []BandColumn {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]BandColumn(nil), f.bands.cols...)
}
