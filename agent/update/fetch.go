package update

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"tillwire/protocol/release"
)

// source is where offers and programs come from. Nothing of it is trusted.
type source struct {
	base   *url.URL
	client *http.Client
	stall  time.Duration // within which stallBytes must come
}

// offer fetches what is offered: small, within seconds.
func (s *source) offer(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	body, err := s.get(ctx, "v1/releases/offer")
	if err != nil {
		return nil, fmt.Errorf("ask for the newest release: %w", err)
	}
	defer func() { _ = body.Close() }()
	b, err := io.ReadAll(io.LimitReader(body, release.OfferBytesMax+1))
	if err != nil {
		return nil, fmt.Errorf("ask for the newest release: %w", err)
	}
	return b, nil
}

func (s *source) get(ctx context.Context, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", req.URL, resp.Status)
	}
	return resp.Body, nil
}

// program fetches one into a file, never more than its size, never slower than a
// line that is worth waiting for, and gives the file its name only when every byte
// is the right one and on disk.
func (s *source) program(ctx context.Context, a release.Artifact, to string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, fetchWithin, errors.New("it takes too long"))
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	body, err := s.get(ctx, "v1/releases/"+a.SHA256)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(to+".part", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o700) //nolint:gosec // a program
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(file.Name()) }() // renamed already where all went well
	h := sha256.New()
	progress := &counter{}
	stop := s.watch(progress, giveUp)
	n, err := io.Copy(io.MultiWriter(file, h, progress), io.LimitReader(body, a.Size+1))
	stop()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if n != a.Size {
		return fmt.Errorf("it has %d bytes or more, must have %d", n, a.Size)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != a.SHA256 {
		return fmt.Errorf("its digest is %s, must be %s", got, a.SHA256)
	}
	if err := os.Rename(file.Name(), to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

// counter counts what went by.
type counter struct{ n atomic.Int64 }

func (c *counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// watch gives a transfer up that trickles: a peer that sends a byte a minute holds
// an update back as well as one that refuses it.
func (s *source) watch(c *counter, giveUp context.CancelCauseFunc) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(s.stall)
		defer t.Stop()
		for was := int64(0); ; {
			select {
			case <-done:
				return
			case <-t.C:
			}
			now := c.n.Load()
			if now-was < stallBytes {
				giveUp(fmt.Errorf("only %d bytes came within %s", now-was, s.stall))
				return
			}
			was = now
		}
	}()
	return func() { close(done); <-ended }
}
