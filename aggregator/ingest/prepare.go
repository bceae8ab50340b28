package ingest

import (
	"context"
	"runtime"
	"strings"
	"sync"

	"tillwire/aggregator/merge"
	"tillwire/protocol"
)

// framed is a frame on its way to the writer.
//
//	broker's goroutine      preparers                     writer
//	decode, checksum,  ──▶  read the records of the  ──▶  judge, merge
//	chain                   next preparedMax frames
//
// Read records take some fifty times a frame's bytes. So only the head of the row
// is read ahead; what stands behind it waits as it came.
type framed struct {
	f    *protocol.Frame
	once sync.Once
	read *[protocol.FrameEventsMax]merge.Prepared
}

// prepare reads the records, or waits for whoever does.
func (w *framed) prepare() {
	w.once.Do(func() {
		w.read = preparedPool.Get().(*[protocol.FrameEventsMax]merge.Prepared)
		text := textOf(w.f.Records)
		for k, rec := range w.f.Records {
			merge.PrepareText(rec, text[:len(rec)], &w.read[k])
			text = text[len(rec):]
		}
	})
}

// textOf copies a frame's records into one string, whose parts their documents'
// strings become: one allocation for all of them.
func textOf(records [][]byte) string {
	n := 0
	for _, r := range records {
		n += len(r)
	}
	var b strings.Builder
	b.Grow(n)
	for _, r := range records {
		b.Write(r)
	}
	return b.String()
}

// records gives what prepare read, to the writer alone.
func (w *framed) records() []merge.Prepared {
	w.prepare()
	return w.read[:len(w.f.Records)]
}

// done gives back what prepare took. The frame must not be used any more.
func (w *framed) done() {
	w.once.Do(func() {})
	if w.read != nil {
		preparedPool.Put(w.read)
		w.read = nil
	}
}

// preparedPool keeps the events of frames that are merged: their lines' room is
// what costs.
var preparedPool = sync.Pool{New: func() any { return new([protocol.FrameEventsMax]merge.Prepared) }}

// preparers is how many goroutines read ahead: the writer takes a core.
func preparers() int { return max(1, runtime.GOMAXPROCS(0)-1) }

// readAhead reads the records of frames that are next, until ctx ends.
func (q *queue) readAhead(ctx context.Context) {
	for {
		w := q.claim()
		if w == nil {
			select {
			case <-ctx.Done():
				return
			case <-q.ahead:
			}
			continue
		}
		w.prepare()
	}
}

// claim gives the first frame that nobody reads yet, if it is near the row's head.
func (q *queue) claim() *framed {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.claimed < min(preparedMax, q.bulk.len()) {
		w := q.bulk.items[q.bulk.head+q.claimed].frame
		q.claimed++
		if w != nil {
			return w
		}
	}
	return nil
}

// popBulk takes the bulk row's first and lets the next be read. Callers hold mu.
func (q *queue) popBulk() item {
	q.claimed = max(q.claimed-1, 0)
	it := q.bulk.pop()
	q.nudge()
	return it
}

// nudge tells a preparer to look.
func (q *queue) nudge() {
	select {
	case q.ahead <- struct{}{}:
	default:
	}
}
