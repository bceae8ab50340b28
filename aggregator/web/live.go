package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tillwire/protocol"
)

// message is one event of the stream: totals, and the tiles that changed.
type message struct {
	AtMS    int64      `json:"t"`
	Rev     uint64     `json:"r"`
	Rate    float64    `json:"rate"`
	Open    int        `json:"open"`
	Merged  uint64     `json:"merged"`
	Worst   string     `json:"worst"`
	WorstS  float64    `json:"worst_s"`
	Changed [][5]int64 `json:"d"` // index, watermark ms (-1: has no lag), backlog, presence, incidents
}

// deltaCache encodes a step once for all readers that make the same step.
type deltaCache struct {
	mu       sync.Mutex // guards all below
	from, to uint64
	bytes    []byte
}

// step makes the event from revision since to now.
func (w *Web) step(since uint64) (rev uint64, event []byte) {
	v := w.opts.Fleet.View(since)
	c := &w.delta
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes != nil && c.from == since && c.to == v.Rev {
		return v.Rev, c.bytes
	}
	m := message{
		AtMS: v.AtUS / 1000, Rev: v.Rev, Rate: v.Totals.EventsPerS, Open: w.openCount(), Merged: v.Totals.MergedEvents,
		Worst: string(v.Totals.WorstStore), WorstS: v.Totals.WorstLagS, Changed: make([][5]int64, 0, len(v.Tiles)),
	}
	for i := range v.Tiles {
		t := makeTile(&v.Tiles[i], v.AtUS)
		m.Changed = append(m.Changed, [5]int64{int64(t.Index), t.WatermarkMS, int64(t.Backlog), int64(t.No), int64(len(t.Codes))})
	}
	b, _ := json.Marshal(&m) // of numbers and strings: cannot fail
	c.from, c.to, c.bytes = since, v.Rev, fmt.Appendf(nil, "id: %d\nevent: fleet\ndata: %s\n\n", v.Rev, b)
	return v.Rev, c.bytes
}

// stream tells a page what changes. The page says from where it knows the
// fleet; after a restart of this process it is told to load itself anew.
func (w *Web) stream(rw http.ResponseWriter, r *http.Request) error {
	select {
	case w.streams <- struct{}{}:
		defer func() { <-w.streams }()
	default:
		return &pageError{http.StatusServiceUnavailable, "too_many_streams", "Too many pages are open at once."}
	}
	h := rw.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(rw)
	put := func(b []byte) bool {
		_ = rc.SetWriteDeadline(time.Now().Add(streamWriteMax)) // unsupported only in tests
		if _, err := rw.Write(b); err != nil {
			return false
		}
		return rc.Flush() == nil
	}
	since, _ := strconv.ParseUint(query(r, "since"), 10, 64)
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		since, _ = strconv.ParseUint(id, 10, 64)
	}
	v := w.opts.Fleet.View(1<<63 - 1)
	if boot := query(r, "boot"); boot != "" && boot != v.Boot || since > v.Rev {
		put([]byte("event: reload\ndata: {}\n\n"))
		return nil
	}
	if !put(fmt.Appendf(nil, "retry: %d\n\n", streamRetryMS)) {
		return nil
	}
	idle := time.NewTimer(streamIdle)
	defer idle.Stop()
	for {
		wake := w.opts.Fleet.Wait()
		rev, event := w.step(since)
		if rev != since && !put(event) {
			return nil
		}
		since = rev
		idle.Reset(streamIdle)
		select {
		case <-wake:
		case <-idle.C:
			if !put([]byte(": still here\n\n")) {
				return nil
			}
		case <-r.Context().Done():
			return nil
		case <-w.done:
			return nil
		}
	}
}

func (w *Web) storeHistory(rw http.ResponseWriter, r *http.Request) error {
	id := protocol.StoreID(r.PathValue("id"))
	if _, ok := w.opts.Fleet.Status(id); !ok {
		return notFound("Nobody knows this store.")
	}
	p := w.opts.Fleet.History(id, query(r, "range") == "day")
	out := struct {
		T       []int64   `json:"t"`
		Lag     []float64 `json:"lag_s"`
		Backlog []uint64  `json:"backlog"`
	}{make([]int64, len(p)), make([]float64, len(p)), make([]uint64, len(p))}
	for i, x := range p {
		out.T[i], out.Lag[i], out.Backlog[i] = x.AtS, x.LagS, x.Backlog
	}
	return writeJSON(rw, r, out)
}
