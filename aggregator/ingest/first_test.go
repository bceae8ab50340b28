package ingest

import "testing"

// TestSmallGoesFirst: what somebody waits for goes before bulk, and bulk is never
// starved by it.
func TestSmallGoesFirst(t *testing.T) {
	t.Parallel()
	const n = 4 * bulkEvery
	i := &Ingest{queue: make(chan item, n), first: make(chan item, n)}
	for range n {
		i.queue <- item{bulk: true}
		i.first <- item{}
	}
	bulk := 0
	for range n {
		it, ok := i.waiting()
		if !ok {
			t.Fatal("nothing waits, though both lanes are full")
		}
		if it.bulk {
			bulk++
		}
	}
	if bulk != 4 {
		t.Errorf("%d of the first %d items were bulk, want one in %d", bulk, n, bulkEvery)
	}
	for range n {
		if _, ok := i.waiting(); !ok {
			t.Fatal("items were lost")
		}
	}
	if _, ok := i.waiting(); ok {
		t.Error("an item came out of empty lanes")
	}
}
