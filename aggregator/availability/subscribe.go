package availability

import (
	"context"
	"slices"
	"sync"

	"tillwire/protocol"
)

// Filter says what a subscriber wants to hear.
type Filter struct {
	SKUs      []protocol.SKU     // none: all
	Changes   bool               // which SKUs' numbers changed
	States    bool               // who passed from in to low to out and back
	Channel   string             // whose states; "" = with nothing fenced off
	Locations []protocol.StoreID // whose states too, besides the chain's
	After     uint64             // number of the last delivery that was seen; 0 = begin now
}

// Delivery is what a subscriber hears at once.
type Delivery struct {
	No      uint64         // to go on after, in a later life of the subscriber
	Reset   bool           // read what you need anew, then go on: nothing is missed from here on
	Changed []protocol.SKU // shared: not to be changed
	Events  []Event        // shared: not to be changed
}

// Subscription is one subscriber's place in the feed. Nothing is kept for it but
// the place: one that is slower than the feed's ring is told to read anew. Next
// and Close belong to one goroutine.
type Subscription struct {
	m       *Model
	f       Filter
	skus    map[protocol.SKU]struct{}
	watches []*watch
	at      uint64 // batch to be read next
	begun   bool   // false: a reset is due, as soon as all watches are live
	close   sync.Once
}

// Subscribe takes a place in the feed that Run feeds. The first delivery is a
// reset, unless the subscriber goes on after one that it has seen and nothing was
// missed.
func (m *Model) Subscribe(f Filter) (*Subscription, error) {
	if len(f.SKUs) > filterSKUsMax || len(f.Locations) > filterPlacesMax {
		return nil, ErrFilter
	}
	s := &Subscription{m: m, f: f}
	if len(f.SKUs) > 0 {
		s.skus = make(map[protocol.SKU]struct{}, len(f.SKUs))
		for _, sku := range f.SKUs {
			s.skus[sku] = struct{}{}
		}
	}
	known, err := s.join()
	if err != nil {
		return nil, err
	}
	if f.After != 0 && known && m.feed.holds(f.After+1) {
		s.at, s.begun = f.After+1, true
	}
	return s, nil
}

// join takes the watches. known tells that they were live already: batches of
// before tell of them too.
func (s *Subscription) join() (known bool, err error) {
	d := &s.m.feed
	if err := d.watches.join(); err != nil {
		return false, err
	}
	if !s.f.States {
		return true, nil
	}
	if s.watches, err = d.watches.take(s.f.Channel, s.f.Locations); err != nil {
		d.watches.leave(nil, 0)
		return false, err
	}
	select {
	case d.asked <- struct{}{}:
	default:
	}
	known = true
	for _, w := range s.watches {
		known = known && w.live.Load() && w.since.Load() <= s.f.After
	}
	return known, nil
}

// Close gives the place up.
func (s *Subscription) Close() {
	s.close.Do(func() { s.m.feed.watches.leave(s.watches, s.m.now().UnixMicro()) })
}

// Next waits for something that the filter lets through. It ends with ctx's
// error, or with ErrStopped.
func (s *Subscription) Next(ctx context.Context) (Delivery, error) {
	d := &s.m.feed
	for {
		bell := d.bell.wait()
		if out, ok := s.take(); ok {
			return out, nil
		}
		select {
		case <-bell:
		case <-ctx.Done():
			return Delivery{}, ctx.Err()
		case <-d.stopped:
			return Delivery{}, ErrStopped
		}
	}
}

// take is the next delivery that is there already.
func (s *Subscription) take() (Delivery, bool) {
	d := &s.m.feed
	if !s.begun {
		return s.begin()
	}
	for end := d.next.Load(); s.at < end; s.at++ {
		b := d.ring[s.at%batchesKept].Load()
		if b == nil || b.no != s.at || b.lost {
			s.begun = false
			return s.begin()
		}
		out := Delivery{No: b.no, Changed: s.changed(b), Events: s.events(b)}
		if len(out.Changed)+len(out.Events) > 0 {
			s.at++
			return out, true
		}
	}
	return Delivery{}, false
}

// begin resets the subscriber once all its watches are live. The place is taken
// before the watches are looked at: one that dies after shows as a lost batch.
func (s *Subscription) begin() (Delivery, bool) {
	at := s.m.feed.next.Load()
	for _, w := range s.watches {
		if !w.live.Load() {
			return Delivery{}, false
		}
	}
	s.at, s.begun = at, true
	return Delivery{No: at - 1, Reset: true}, true
}

func (s *Subscription) changed(b *batch) []protocol.SKU {
	switch {
	case !s.f.Changes:
		return nil
	case s.skus == nil:
		return b.changed
	}
	var out []protocol.SKU
	if len(s.skus) < len(b.changed) {
		for sku := range s.skus {
			if b.has(sku) {
				out = append(out, sku)
			}
		}
		slices.Sort(out)
		return out
	}
	for _, sku := range b.changed {
		if _, ok := s.skus[sku]; ok {
			out = append(out, sku)
		}
	}
	return out
}

// events are those of the subscriber's watches, the chain's before those of its
// locations. Lists that need no cutting are shared.
func (s *Subscription) events(b *batch) []Event {
	if len(b.events) == 0 {
		return nil
	}
	if s.skus == nil && len(s.watches) == 1 {
		return b.events[s.watches[0]]
	}
	var out []Event
	for _, w := range s.watches {
		list := b.events[w]
		for i := range list {
			if _, ok := s.skus[list[i].SKU]; ok || s.skus == nil {
				out = append(out, list[i])
			}
		}
	}
	return out
}
