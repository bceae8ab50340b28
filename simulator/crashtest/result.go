package crashtest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Result is the row of one campaign. Lost and Duplicated must be 0.
type Result struct {
	Campaign   string   `json:"campaign"`
	Cycles     int      `json:"cycles"` // faults; for crash states: distinct states
	Acked      uint64   `json:"acked"`  // documents that tills were told are kept
	Lost       uint64   `json:"lost"`
	Duplicated uint64   `json:"duplicated"`
	RecoveryMS Recovery `json:"recovery_ms"`
	Note       string   `json:"note"`
	Skipped    bool     `json:"skipped,omitempty"` // this machine cannot run it; Note says why
	TookS      float64  `json:"took_s"`

	mu      sync.Mutex
	samples []float64
}

// Recovery is the time from a restart, or from the end of a fault, until the
// agent took writes again, in milliseconds.
type Recovery struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func (r *Result) recovered(d time.Duration) {
	r.mu.Lock()
	r.samples = append(r.samples, float64(d.Microseconds())/1000)
	r.mu.Unlock()
}

// close counts the samples out.
func (r *Result) close(started time.Time) {
	r.TookS = float64(time.Since(started).Milliseconds()) / 1000
	slices.Sort(r.samples)
	if n := len(r.samples); n > 0 {
		r.RecoveryMS = Recovery{P50: r.samples[(n-1)/2], P99: r.samples[(n*99-1)/100], Max: r.samples[n-1]}
	}
}

// Err says what of a result must not be.
func (r *Result) Err() error {
	if r.Lost > 0 || r.Duplicated > 0 {
		return fmt.Errorf("%s: %d lost, %d duplicated of %d: %s", r.Campaign, r.Lost, r.Duplicated, r.Acked, r.Note)
	}
	return nil
}

// Store writes the row to dir, one file per campaign; "" writes none.
func (r *Result) Store(dir string) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // results are for everybody
		return fmt.Errorf("store result: %w", err)
	}
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("store result: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, r.Campaign+".json"), append(b, '\n'), 0o644); err != nil { //nolint:gosec // as above
		return fmt.Errorf("store result: %w", err)
	}
	return nil
}
