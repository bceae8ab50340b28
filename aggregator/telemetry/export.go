package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Bounds of what waits for a collector.
const (
	queueMax    = 4096
	batchMax    = 512
	batchWithin = time.Second
	answerMax   = 10 * time.Second
	tellEvery   = time.Minute // that a collector does not answer
)

// Options are what an Exporter works with.
type Options struct {
	Endpoint string            // of OTLP over HTTP, e.g. http://127.0.0.1:4318/v1/traces
	Headers  map[string]string // a collector's credentials
	Version  string
	Log      zerolog.Logger
	Client   *http.Client
}

// Exporter sends documents in batches. Told never waits.
type Exporter struct {
	o     Options
	queue chan Document

	sent, dropped, failed atomic.Uint64
}

// New makes one; Run works it.
func New(o Options) *Exporter {
	if o.Client == nil {
		o.Client = &http.Client{Timeout: answerMax}
	}
	return &Exporter{o: o, queue: make(chan Document, queueMax)}
}

// Tell takes a document whose traceparent is sampled.
func (x *Exporter) Tell(d *Document) {
	select {
	case x.queue <- *d:
	default:
		x.dropped.Add(1)
	}
}

// Counts are of documents: sent, dropped because the queue was full, and lost with
// a batch that the collector did not take.
func (x *Exporter) Counts() (sent, dropped, failed uint64) {
	return x.sent.Load(), x.dropped.Load(), x.failed.Load()
}

// Run sends until ctx ends; what waits then is not sent.
func (x *Exporter) Run(ctx context.Context) error {
	var batch []Document
	var told time.Time
	t := time.NewTicker(batchWithin)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d := <-x.queue:
			if batch = append(batch, d); len(batch) < batchMax {
				continue
			}
		case <-t.C:
			if len(batch) == 0 {
				continue
			}
		}
		if err := x.send(ctx, batch); err != nil {
			x.failed.Add(uint64(len(batch)))
			if now := time.Now(); ctx.Err() == nil && now.Sub(told) > tellEvery {
				told = now
				x.o.Log.Warn().Err(err).Int("documents", len(batch)).Msg("traces not exported")
			}
		} else {
			x.sent.Add(uint64(len(batch)))
		}
		batch = batch[:0]
	}
}

func (x *Exporter) send(ctx context.Context, batch []Document) error {
	b, err := encode(batch, x.o.Version)
	if err != nil {
		return fmt.Errorf("encode traces: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.o.Endpoint, bytes.NewReader(b))
	if err != nil {
		return fmt.Errorf("export traces: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	for k, v := range x.o.Headers {
		req.Header.Set(k, v)
	}
	resp, err := x.o.Client.Do(req)
	if err != nil {
		return fmt.Errorf("export traces: %w", err)
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("export traces: %s answers %s", x.o.Endpoint, resp.Status)
	}
	return nil
}
