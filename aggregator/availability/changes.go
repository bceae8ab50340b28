package availability

import (
	"sync"

	"tillwire/protocol"
)

// changes is a ring of which SKUs changed, for followers that keep a cursor. A
// SKU that changes again while it is still to be read stands there once more:
// followers read the newest numbers anyway.
type changes struct {
	mu   sync.Mutex
	ring []protocol.SKU
	next uint64 // cursor of the next change; the first is 1
	bell chan struct{}
}

func (c *changes) init() {
	c.ring = make([]protocol.SKU, changesKept)
	c.next = 1
	c.bell = make(chan struct{})
}

func (c *changes) note(sku protocol.SKU) {
	c.mu.Lock()
	c.ring[c.next%changesKept] = sku
	c.next++
	c.mu.Unlock()
}

func (c *changes) wake() {
	c.mu.Lock()
	close(c.bell)
	c.bell = make(chan struct{})
	c.mu.Unlock()
}

// Cursor is the position behind the newest change.
func (m *Model) Cursor() uint64 {
	m.changes.mu.Lock()
	defer m.changes.mu.Unlock()
	return m.changes.next
}

// Changed lists the SKUs changed from cursor on, each once, at most limit, and
// the cursor to go on with. ok is false where the cursor is too old or from
// another life of this process: the follower must read everything anew.
func (m *Model) Changed(cursor uint64, limit int) (skus []protocol.SKU, next uint64, ok bool) {
	c := &m.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	if cursor == 0 || cursor > c.next || c.next-cursor > changesKept {
		return nil, c.next, false
	}
	seen := map[protocol.SKU]bool{}
	for ; cursor < c.next && len(skus) < limit; cursor++ {
		if s := c.ring[cursor%changesKept]; !seen[s] {
			seen[s] = true
			skus = append(skus, s)
		}
	}
	return skus, cursor, true
}

// Wait returns a channel that closes at the next change.
func (m *Model) Wait() <-chan struct{} {
	m.changes.mu.Lock()
	defer m.changes.mu.Unlock()
	return m.changes.bell
}
