package availability

import (
	"sync/atomic"

	"tillwire/protocol"
)

// changes is a ring of which SKUs changed, for followers that keep a cursor. The
// writer stores, readers copy and look whether the writer has come round; nobody
// waits. A SKU that changes again before anybody looked is noted once: what is
// read is its newest numbers anyway.
type changes struct {
	ring    []atomic.Pointer[entry]
	first   uint64        // cursors of other lives of this process are below it
	next    atomic.Uint64 // cursor of the next change
	horizon atomic.Uint64 // no reader has looked at this change or later ones
	bell    bell
	follow  chan struct{} // tells the follower that something changed
	led     atomic.Bool   // the follower runs, and rings the bell
}

// init starts the cursors at the clock: they never meet those of a life before,
// as no process makes a million changes a second for long.
func (c *changes) init(nowUS int64) {
	c.ring = make([]atomic.Pointer[entry], changesKept)
	c.first = uint64(max(1, nowUS))
	c.next.Store(c.first)
	c.horizon.Store(c.first)
	c.follow = make(chan struct{}, 1)
}

// note is called when the entry's numbers can be read. A reader moves the horizon
// before it reads numbers: where the entry's last note is not below it, every
// reader that comes to that note will see these numbers too.
func (c *changes) note(e *entry) {
	if e.noted != 0 && e.noted >= c.horizon.Load() {
		return
	}
	n := c.next.Load()
	e.noted = n
	c.ring[n%changesKept].Store(e)
	c.next.Store(n + 1)
}

// wake tells whoever waits. With a follower it is the follower that wakes the
// rest, however many they are.
func (c *changes) wake() {
	if c.led.Load() {
		select {
		case c.follow <- struct{}{}:
		default:
		}
		return
	}
	c.bell.chime()
}

// look is the newest cursor, for a reader that is about to read numbers: changes
// from here on are noted again.
func (c *changes) look() uint64 {
	newest := c.next.Load()
	for {
		h := c.horizon.Load()
		if h >= newest || c.horizon.CompareAndSwap(h, newest) {
			return newest
		}
	}
}

// since lists the entries changed from cursor on, each once, at most limit, and
// the cursor to go on with. ok is false where the writer has come round.
func (c *changes) since(cursor uint64, limit int) (list []*entry, next uint64, ok bool) {
	newest := c.look()
	if cursor < c.first || cursor > newest || newest-cursor >= changesKept {
		return nil, newest, false
	}
	if newest == cursor {
		return nil, newest, true
	}
	seen := make(map[*entry]struct{}, min(limit, int(newest-cursor)))
	at := cursor
	for ; at < newest && len(list) < limit; at++ {
		e := c.ring[at%changesKept].Load()
		if _, twice := seen[e]; !twice {
			seen[e] = struct{}{}
			list = append(list, e)
		}
	}
	if newest = c.next.Load(); newest-cursor >= changesKept {
		return nil, newest, false
	}
	return list, at, true
}

// Cursor is the position behind the newest change: what is read from now on and
// followed from there misses nothing.
func (m *Model) Cursor() uint64 { return m.changes.look() }

// Changed lists the SKUs changed from cursor on, each once, at most limit, and
// the cursor to go on with. ok is false where the cursor is too old or from
// another life of this process: the follower must read everything anew.
func (m *Model) Changed(cursor uint64, limit int) (skus []protocol.SKU, next uint64, ok bool) {
	list, next, ok := m.changes.since(cursor, limit)
	for _, e := range list {
		skus = append(skus, e.sku)
	}
	return skus, next, ok
}

// Wait returns a channel that closes at the next change.
func (m *Model) Wait() <-chan struct{} { return m.changes.bell.wait() }

// Touch tells that SKUs are to be looked at again although no number of theirs
// changed: their bill of materials did, or what is held back of them. It belongs
// to Apply's goroutine. What nobody ever had is passed over.
func (m *Model) Touch(skus []protocol.SKU) {
	s := m.set.Load()
	for _, sku := range skus {
		e := m.find(sku)
		if e == nil && s.kits != nil && len(s.kits(sku)) > 0 {
			e = m.entryOf(sku)
		}
		if e != nil {
			m.note(s, e)
		}
	}
	m.changes.wake()
}

// note notes a changed SKU, and the kits that it is part of.
func (m *Model) note(s *settings, e *entry) {
	m.changes.note(e)
	if s.kitsOf != nil {
		for _, kit := range s.kitsOf(e.sku) {
			m.changes.note(m.entryOf(kit))
		}
	}
}
