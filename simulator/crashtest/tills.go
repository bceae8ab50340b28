package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// crew are tills that post sales without a pause: a document that was not
// answered is sent again, as a till's software would, under the same id.
type crew struct {
	addr    string
	mu      sync.Mutex
	acked   map[string]uint64 // document → seq that its till was told
	pending []string          // per till: what it has to send again; "" = nothing
	next    []int
	broken  string // two answers that cannot both be true
	last    atomic.Int64
	status  [600]atomic.Int64 // answers by code
}

func newCrew(addr string) *crew {
	return &crew{addr: addr, acked: map[string]uint64{}, pending: make([]string, tills), next: make([]int, tills)}
}

// sell posts until ctx ends, and returns when all tills have stopped.
func (c *crew) sell(ctx context.Context) {
	transport := &http.Transport{MaxIdleConnsPerHost: tills}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: answerMax}
	var wg sync.WaitGroup
	for till := range tills {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				c.post(ctx, client, till)
			}
		}()
	}
	wg.Wait()
}

// post sends one document and notes what it was answered.
func (c *crew) post(ctx context.Context, client *http.Client, till int) {
	c.mu.Lock()
	doc := c.pending[till]
	if doc == "" {
		c.next[till]++
		doc = fmt.Sprintf("T%d-%d", till, c.next[till])
		c.pending[till] = doc
	}
	c.mu.Unlock()
	status, seq := c.send(ctx, client, sale(doc))
	if status == 0 { // nobody there: a till waits a moment
		t := time.NewTimer(2 * time.Millisecond)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		return
	}
	c.status[min(status, len(c.status)-1)].Add(1)
	if status != http.StatusCreated && status != http.StatusOK {
		t := time.NewTimer(5 * time.Millisecond)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.acked[doc]; ok && old != seq {
		c.broken = fmt.Sprintf("%s was told seq %d, then %d", doc, old, seq)
	}
	c.acked[doc], c.pending[till] = seq, ""
	c.last.Store(time.Now().UnixNano())
}

// sale is a document of one piece.
func sale(doc string) string {
	till, _, _ := strings.Cut(doc, "-")
	return fmt.Sprintf(`{"document_id":%q,"register":%q,"occurred_at":"2026-11-23T10:15:02Z","lines":[{"sku":"4006381333931","quantity":1}]}`, doc, till)
}

// send answers status 0 where there was no whole answer.
func (c *crew) send(ctx context.Context, client *http.Client, body string) (status int, seq uint64) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addr+"/v1/sales", bytes.NewBufferString(body))
	if err != nil {
		return 0, 0
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return 0, 0
	}
	defer resp.Body.Close() //nolint:errcheck // read
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return 0, 0
	}
	var answer struct {
		Seq uint64 `json:"seq"`
	}
	if resp.StatusCode < 300 && json.Unmarshal(b, &answer) != nil {
		return 0, 0
	}
	return resp.StatusCode, answer.Seq
}

// count is how often a status was answered.
func (c *crew) count(status int) int64 { return c.status[status].Load() }

// await waits until cond holds.
func await(ctx context.Context, limit time.Duration, what string, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v", what, limit)
		case <-tick.C:
		}
	}
	return nil
}

// awaitAck waits for an answer that came after since.
func (c *crew) awaitAck(ctx context.Context, since time.Time) (time.Duration, error) {
	err := await(ctx, healMax, "a sale is taken again", func() bool { return c.last.Load() > since.UnixNano() })
	return time.Unix(0, c.last.Load()).Sub(since), err
}
