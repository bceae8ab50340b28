package availability

import (
	"sync"
	"sync/atomic"
	"time"

	"tillwire/protocol"
)

// Event is a SKU's passage from one state to another, for a channel, in the
// chain or at one location.
type Event struct {
	SKU       protocol.SKU      `json:"sku"`
	Channel   string            `json:"channel,omitempty"`
	Location  protocol.StoreID  `json:"location,omitempty"` // left out: the chain
	State     State             `json:"state"`
	Was       State             `json:"was"`
	Available protocol.Quantity `json:"available"`
	LowAt     protocol.Quantity `json:"low_at"`
	At        time.Time         `json:"at"`
}

// batch is what one look of the follower found. Subscribers share it; it is
// never changed.
type batch struct {
	no      uint64
	lost    bool // the follower fell behind: anything may have changed
	changed []protocol.SKU
	events  map[*watch][]Event

	once  sync.Once
	index map[protocol.SKU]struct{} // of changed, made by the first who asks
}

func (b *batch) has(sku protocol.SKU) bool {
	b.once.Do(func() {
		b.index = make(map[protocol.SKU]struct{}, len(b.changed))
		for _, s := range b.changed {
			b.index[s] = struct{}{}
		}
	})
	_, ok := b.index[sku]
	return ok
}

func (b *batch) items() int {
	n := 1 + len(b.changed)
	for _, list := range b.events {
		n += len(list)
	}
	return n
}

// feed is what the follower publishes: a ring of batches that any number of
// subscribers read at their own pace.
type feed struct {
	watches watches
	asked   chan struct{} // somebody wants a watch
	stopped chan struct{}
	started atomic.Bool
	ring    [batchesKept]atomic.Pointer[batch]
	next    atomic.Uint64 // number of the next batch
	bell    bell
}

func (d *feed) init(nowUS int64) {
	d.asked, d.stopped = make(chan struct{}, 1), make(chan struct{})
	d.next.Store(uint64(max(1, nowUS))) // numbers of two lives of this process never meet
}

// holds tells whether batches from no on are all there.
func (d *feed) holds(no uint64) bool {
	next := d.next.Load()
	if no > next {
		return false
	}
	b := d.ring[no%batchesKept].Load()
	return no == next || b != nil && b.no == no
}
