package availability

import "tillwire/protocol"

// Promise is what a channel may be promised of one SKU at one location, with
// every number that it is made of:
//
//	free      = on hand − unavailable − safety − risk buffer − fenced for others
//	available = max(0, free − reserved − allocated)
type Promise struct {
	OnHand, Unavailable, InTransit, Incoming protocol.Quantity
	Reserved, Allocated                      protocol.Quantity
	Safety                                   protocol.Quantity // safety stock and threshold
	RiskBuffer                               protocol.Quantity // whole, also where less is there
	FencedForOthers                          protocol.Quantity
	Available                                protocol.Quantity
	Free                                     protocol.Quantity // before reserved and allocated; may be below zero
	LowAt                                    protocol.Quantity // available at or below is low
	UnavailableBy                            [protocol.DispositionsUnsellable]protocol.Quantity
	Alpha                                    float64 // service level of the risk buffer; 0 = off
	AsOfUS                                   int64   // nothing is missing up to then
	LagS                                     float64 // from then to now, cut to milliseconds
	Dark                                     bool    // silent for longer than its policy bears
	Provisional                              bool
}

// promise is the arithmetic, for readers and the writer alike.
func (s *settings) promise(p *Promise, r *row, l *LocationState, h *protocol.Holdback, channel string, nowUS int64) {
	asOf := l.WatermarkUS
	if asOf == 0 {
		asOf = int64(r.lastS) * usPerS
	}
	age := max(0, nowUS-asOf)
	*p = Promise{
		OnHand: r.onHand, Unavailable: r.unavailable, InTransit: r.inTransit, Incoming: r.incoming, Reserved: r.reserved,
		Allocated: r.allocated, Safety: h.Safety + h.Threshold, LowAt: h.LowAt, UnavailableBy: r.by, AsOfUS: asOf,
		LagS: float64(age/1000) / 1000, Provisional: l.Provisional,
		Dark: !l.Feed && h.DarkAfterS > 0 && age > h.DarkAfterS*usPerS,
	}
	if h.Alpha >= alphaMin && h.Alpha < 1 {
		p.Alpha = h.Alpha
		if r.rate > 0 && s.buffer != nil {
			days := float64(neverCountedDays)
			if r.counted > 0 {
				days = max(0, float64(nowUS-int64(r.counted)*usPerS)) / (86400 * usPerS)
			}
			from := nowUS - min(age, bufferAgeMaxUS)
			q := s.buffer(r.rate, l.Profile, l.OffsetMin, from, nowUS, h.Alpha, days)
			p.RiskBuffer = min(max(0, q), protocol.QuantityMax)
		}
	}
	if p.Dark {
		p.RiskBuffer = max(p.RiskBuffer, h.Escrow)
	}
	if h.Fences != nil {
		p.FencedForOthers = h.FencedForOthers(channel)
	}
	p.Free = p.OnHand - p.Unavailable - p.Safety - p.RiskBuffer - p.FencedForOthers
	p.Available = max(0, p.Free-p.Reserved-p.Allocated)
}

// Promise works out what a channel may be promised of numbers that the writer
// has at hand, which readers may not see yet: the same as an answer would show
// at nowUS if c were applied. Of channel "" nothing is fenced off.
func (m *Model) Promise(c *Cell, channel string, nowUS int64) Promise {
	s := m.set.Load()
	r := rowOf(0, c)
	h := s.holdbacks(m.find(c.SKU), c.SKU, nowUS)
	var p Promise
	s.promise(&p, &r, m.stateOf(c.Location), h.For(c.Location), channel, nowUS)
	return p
}
