package availability

import "tillwire/protocol"

// Rules tell what policies hold back from sale. Any goroutine may ask, many at a
// time, so an implementation answers from something immutable. For is asked once
// per SKU, and again when Rev has moved or the answer's UntilUS has passed; what
// it returns is never changed. nil means that nothing is held back.
type Rules interface {
	Rev() uint64
	For(sku protocol.SKU, nowUS int64) *protocol.Holdbacks
}

// LowRules are Rules that also know channels whose line between in and low is
// their own; "" for the location means the whole chain.
type LowRules interface {
	LowAt(sku protocol.SKU, loc protocol.StoreID, channel string) protocol.Quantity
}

// BufferFunc is the quantile alpha of what may have been sold at a location
// between two moments: rate is in base units per hour, profile its share by hour
// of the local week (nil = even), countAgeDays how long nobody counted.
type BufferFunc func(rate float32, profile *[168]float32, utcOffsetMin int, fromUS, toUS int64, alpha, countAgeDays float64) protocol.Quantity

// settings are what the model asks others. They are replaced whole.
type settings struct {
	rules  Rules
	low    LowRules // nil: all channels share the location's line
	asked  uint64   // counts UseRules: answers of others are not kept
	buffer BufferFunc
	kits   func(protocol.SKU) []protocol.KitComponent
	kitsOf func(protocol.SKU) []protocol.SKU
}

func (m *Model) change(f func(s *settings)) {
	m.grow.Lock()
	defer m.grow.Unlock()
	s := *m.set.Load()
	f(&s)
	m.set.Store(&s)
}

// UseRules names who knows the policies; nil: nothing is held back.
func (m *Model) UseRules(r Rules) {
	m.change(func(s *settings) {
		s.rules = r
		s.low, _ = r.(LowRules)
		s.asked++
	})
}

// lowAt is the line for a channel; shared is that of all.
func (s *settings) lowAt(sku protocol.SKU, w *watch, shared protocol.Quantity) protocol.Quantity {
	if s.low == nil || w.channel == "" {
		return shared
	}
	return s.low.LowAt(sku, w.location, w.channel)
}

// UseBuffer names the risk buffer's arithmetic; nil: there is none.
func (m *Model) UseBuffer(f BufferFunc) { m.change(func(s *settings) { s.buffer = f }) }

// resolved are a SKU's holdbacks, and whom and at which revision they were asked.
type resolved struct {
	asked, rev uint64
	*protocol.Holdbacks
}

var nothingHeld protocol.Holdbacks

// holdbacks are those of a SKU now. The revision is read before the question: an
// answer that is newer than its revision is asked for once more, never kept too
// long. e may be nil: the answer is then not kept.
func (s *settings) holdbacks(e *entry, sku protocol.SKU, nowUS int64) *protocol.Holdbacks {
	if s.rules == nil {
		return &nothingHeld
	}
	rev := s.rules.Rev()
	if e != nil {
		if r := e.rules.Load(); r != nil && r.rev == rev && r.asked == s.asked && (r.UntilUS == 0 || nowUS < r.UntilUS) {
			return r.Holdbacks
		}
	}
	h := s.rules.For(sku, nowUS)
	if h == nil {
		h = &nothingHeld
	}
	if e != nil {
		e.rules.Store(&resolved{asked: s.asked, rev: rev, Holdbacks: h})
	}
	return h
}
