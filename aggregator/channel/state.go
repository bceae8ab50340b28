package channel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"tillwire/store/ledger"
)

// Facts keep what must outlive the process. Put returns when it is durable.
type Facts struct {
	Read func(key string) ([]byte, error) // ledger.ErrNotFound
	Put  func(ctx context.Context, key string, value []byte) error
}

// Load reads a fact into the value that into points to; it stays as it is where there
// is none.
func (f *Facts) Load(key string, into any) error {
	b, err := f.Read(key)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", key, err)
	}
	return nil
}

// Save writes a fact.
func (f *Facts) Save(ctx context.Context, key string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = f.Put(ctx, key, b)
	}
	if err != nil {
		return fmt.Errorf("keep %s: %w", key, err)
	}
	return nil
}

// RetryAfter is what an answer asks to wait: seconds, or a date. 0: nothing.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	s := h.Get("Retry-After")
	if s == "" {
		return 0
	}
	var d time.Duration
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && n < 1e9 {
		d = time.Duration(n * float64(time.Second))
	} else if at, err := http.ParseTime(s); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), RetryAfterMax)
}

// Drain reads what an answer says, to a bound.
func Drain(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, ReplyBytesMax+1))
	if err == nil && len(b) > ReplyBytesMax {
		err = fmt.Errorf("the answer has more than %d bytes", ReplyBytesMax)
	}
	return b, err
}

// Excerpt is a text for people, cut.
func Excerpt(s string) string {
	if len(s) > errorTextMax {
		return s[:errorTextMax] + "…"
	}
	return s
}
