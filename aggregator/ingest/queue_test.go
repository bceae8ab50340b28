package ingest

import (
	"runtime"
	"sync"
	"testing"
)

// TestQueueSmallGoesFirst: what somebody waits for goes before bulk that came
// earlier, bulk is never starved by it, and nothing is lost.
func TestQueueSmallGoesFirst(t *testing.T) {
	t.Parallel()
	const n = 4 * bulkEvery
	q := newQueue()
	for range n {
		q.put(item{bulk: true})
	}
	for range n {
		q.put(item{})
	}
	bulk := 0
	for range n {
		it, ok := q.take()
		if !ok {
			t.Fatal("nothing waits, though both rows are full")
		}
		if it.bulk {
			bulk++
		}
	}
	if bulk != 4 {
		t.Errorf("%d of the first %d items were bulk, want one in %d", bulk, n, bulkEvery)
	}
	for range n {
		if _, ok := q.take(); !ok {
			t.Fatal("items were lost")
		}
	}
	if _, ok := q.take(); ok {
		t.Error("an item came out of empty rows")
	}
}

// TestQueueBulkNeverOvertakes: an agent's digest reaches the writer before the
// frames that it sent afterwards, however the two race.
func TestQueueBulkNeverOvertakes(t *testing.T) {
	t.Parallel()
	const agents, rounds = 4, 2000
	q := newQueue()
	var puts sync.WaitGroup
	for a := range agents {
		puts.Go(func() {
			for k := range rounds {
				for !q.put(item{bytes: a*rounds + k}) {
					runtime.Gosched()
				}
				for !q.put(item{bytes: a*rounds + k, bulk: true}) {
					runtime.Gosched()
				}
			}
		})
	}
	seen := map[int]bool{}
	for got := 0; got < 2*agents*rounds; {
		it, ok := q.take()
		if !ok {
			continue
		}
		got++
		if !it.bulk {
			seen[it.bytes] = true
		} else if !seen[it.bytes] {
			t.Fatalf("frame %d came before what was sent before it", it.bytes)
		}
	}
	puts.Wait()
}

// TestQueueIsBounded: a full row refuses, and takes again when there is room.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	for _, bulk := range []bool{false, true} {
		q := newQueue()
		for k := range queueItemsMax {
			if !q.put(item{bulk: bulk}) {
				t.Fatalf("refused at %d", k)
			}
		}
		if q.put(item{bulk: bulk}) {
			t.Error("the row took more than its bound")
		}
		if !q.put(item{bulk: !bulk}) {
			t.Error("one row's bound stopped the other")
		}
		for range queueItemsMax / 2 {
			q.take()
		}
		if !q.put(item{bulk: bulk}) {
			t.Error("no room after half was taken")
		}
		if c := cap(q.bulk.items) + cap(q.small.items); c > 4*queueItemsMax {
			t.Errorf("room for %d items is kept", c)
		}
	}
}
