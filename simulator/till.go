package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tillwire/protocol"
)

// till posts documents to one agent as a POS does: it holds on to a document
// until it has an answer that means something, and retries with the same id.
type till struct {
	store protocol.StoreID
	base  string // http://host:port
	http  *http.Client
	slots chan struct{} // requests of all tills at once; nil: any number
}

// ack is an agent's word that a document is on disk.
type ack struct {
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
}

// refusal is an answer that no retry would change.
type refusal struct {
	Status int
	Code   string
	Detail string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("agent refused: status %d, %s: %s", r.Status, r.Code, r.Detail)
}

// post sends one document until it is acknowledged or refused.
func (t *till) post(ctx context.Context, d *document) (ack, error) {
	body, err := d.body()
	if err != nil {
		return ack{}, err
	}
	return t.postBody(ctx, path(d.kind), body)
}

func (t *till) postBody(ctx context.Context, p string, body []byte) (ack, error) {
	var a ack
	b, err := t.insist(ctx, p, "application/json", body)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(b, &a); err != nil {
		return a, fmt.Errorf("read answer of %s: %w", p, err)
	}
	if a.Seq == 0 {
		return a, fmt.Errorf("read answer of %s: no seq in %.200s", p, b)
	}
	return a, nil
}

// insist retries what a retry can cure: network errors, 429, 503, 507.
func (t *till) insist(ctx context.Context, p, contentType string, body []byte) ([]byte, error) {
	wait := 20 * time.Millisecond
	for try := 1; ; try++ {
		b, err := t.send(ctx, p, contentType, body)
		var r *refusal
		switch {
		case err == nil:
			return b, nil
		case errors.As(err, &r) && r.Status != http.StatusTooManyRequests && r.Status != http.StatusServiceUnavailable &&
			r.Status != http.StatusInsufficientStorage:
			return nil, err
		case try >= tillRetriesMax:
			return nil, fmt.Errorf("give up after %d tries: %w", try, err)
		}
		if !pause(ctx, wait) {
			return nil, ctx.Err()
		}
		wait = min(2*wait, tillBackoffMax)
	}
}

// send makes one request; every status but 2xx is a *refusal.
func (t *till) send(ctx context.Context, p, contentType string, body []byte) ([]byte, error) {
	return t.do(ctx, http.MethodPost, p, contentType, body)
}

func (t *till) do(ctx context.Context, method, p, contentType string, body []byte) ([]byte, error) {
	if t.slots != nil {
		select {
		case t.slots <- struct{}{}:
			defer func() { <-t.slots }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, tillTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, t.base+p, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask agent of %s: %w", t.store, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return nil, fmt.Errorf("read answer of %s: %w", t.store, err)
	}
	if resp.StatusCode/100 == 2 {
		return b, nil
	}
	var problem protocol.Problem
	if json.Unmarshal(b, &problem) != nil || problem.Code == "" {
		problem.Code, problem.Detail = "no_problem_document", string(b[:min(len(b), 200)])
	}
	for _, e := range problem.Errors {
		problem.Detail += "; " + e.Pointer + " " + e.Message
	}
	return nil, &refusal{Status: resp.StatusCode, Code: problem.Code, Detail: problem.Detail}
}

// pause waits, or tells that ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// newTillClient shares connections between all simulated tills of a process,
// with buffers that fit a basket and not a download.
func newTillClient(stores int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		MaxIdleConns: min(4*stores, idleConnsMax), MaxIdleConnsPerHost: 2, IdleConnTimeout: 90 * time.Second,
		ReadBufferSize: 2 << 10, WriteBufferSize: 2 << 10, DisableCompression: true,
	}}
}
