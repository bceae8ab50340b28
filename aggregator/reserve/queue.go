package reserve

import "container/heap"

// queue holds reservations by when something is due, then id. Each knows its own
// place in it, so that one which changes leaves nothing behind.
type queue struct{ list []*entry }

func (q *queue) Len() int { return len(q.list) }
func (q *queue) Less(i, j int) bool {
	x, y := q.list[i], q.list[j]
	return x.dueUS < y.dueUS || x.dueUS == y.dueUS && x.ID < y.ID
}

func (q *queue) Swap(i, j int) {
	q.list[i], q.list[j] = q.list[j], q.list[i]
	q.list[i].at, q.list[j].at = int32(i), int32(j)
}

// Push and Pop are container/heap's.
func (q *queue) Push(v any) {
	e := v.(*entry) //nolint:errcheck // a heap of entries
	e.at, e.queue = int32(len(q.list)), q
	q.list = append(q.list, e)
}

// Pop takes the last off.
func (q *queue) Pop() any {
	n := len(q.list) - 1
	e := q.list[n]
	q.list[n] = nil
	q.list = q.list[:n]
	e.queue = nil
	return e
}

// due tells whether the first is due by us.
func (q *queue) due(us int64) bool { return len(q.list) > 0 && q.list[0].dueUS <= us }

// enqueue moves a reservation to a queue, or out of its own (nil).
func (e *entry) enqueue(q *queue, dueUS int64) {
	if e.queue != nil && e.queue == q && e.dueUS == dueUS {
		return
	}
	if e.queue != nil {
		heap.Remove(e.queue, int(e.at))
	}
	if e.dueUS = dueUS; q != nil {
		heap.Push(q, e)
	}
}
