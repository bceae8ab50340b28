package ingest

import "sync"

// queue is what waits for the writer, in two rows. Small items (HELLOs,
// announcements, calls) go before bulk (frames, feeds' documents): behind a herd's
// backlog they would wait for seconds.
//
//	small ─▶ ▯▯▯ ──┐            a small item overtakes bulk, never the other way:
//	               ├─▶ take     a digest must reach the writer before the frames
//	bulk  ─▶ ▯▯▯▯▯ ┘            that its agent sent after it
//
// Every bulkEvery-th item is bulk all the same, so that no storm of calls stops the
// merge; it still lets pass what came before it. Safe for concurrent use.
type queue struct {
	wake  chan struct{} // something may wait; holds one
	ahead chan struct{} // a frame may be read ahead; holds one per preparer

	mu      sync.Mutex // guards all below
	small   row
	bulk    row
	claimed int    // of bulk, from its head: read ahead already, or being read
	ticket  uint64 // of the newest item
	taken   uint64 // items, while both rows waited
}

// row is first in, first out.
type row struct {
	items []item
	head  int
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), ahead: make(chan struct{}, preparers())}
}

// put adds an item; false: its row is full.
func (q *queue) put(it item) bool {
	q.mu.Lock()
	r := &q.small
	if it.bulk {
		r = &q.bulk
	}
	if r.len() >= queueItemsMax {
		q.mu.Unlock()
		return false
	}
	q.ticket++
	it.ticket = q.ticket
	r.push(it)
	q.mu.Unlock()
	if it.frame != nil {
		q.nudge()
	}
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return true
}

// take gives the next item; false: nothing waits.
func (q *queue) take() (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	small, bulk := q.small.len() > 0, q.bulk.len() > 0
	switch {
	case !small && !bulk:
		return item{}, false
	case !small:
		return q.popBulk(), true
	case !bulk:
		return q.small.pop(), true
	}
	turn := (q.taken+1)%bulkEvery == 0 // bulk's, which waits for what came before it
	if turn && q.bulk.first().ticket < q.small.first().ticket {
		q.taken++
		return q.popBulk(), true
	}
	if !turn {
		q.taken++
	}
	return q.small.pop(), true
}

// waits counts the items of both rows.
func (q *queue) waits() (small, bulk int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.small.len(), q.bulk.len()
}

func (r *row) len() int { return len(r.items) - r.head }

func (r *row) first() *item { return &r.items[r.head] }

func (r *row) push(it item) {
	if r.head > 0 && len(r.items) == cap(r.items) {
		n := copy(r.items, r.items[r.head:])
		clear(r.items[n:])
		r.items, r.head = r.items[:n], 0
	}
	r.items = append(r.items, it)
}

func (r *row) pop() item {
	it := r.items[r.head]
	r.items[r.head] = item{} // its payload is not ours any more
	if r.head++; r.head == len(r.items) {
		r.items, r.head = r.items[:0], 0
	}
	return it
}
