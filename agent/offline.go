package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// What can be done with a stopped agent's data folder.

// CheckResult says what a verification found.
type CheckResult struct {
	Events, Tail, Head uint64
	Chain              string
	Salvaged           string // what was damaged; "" when nothing was
}

func openOffline(c Config, verify bool) (*journal.Journal, error) {
	path := filepath.Join(c.DataDir, JournalFile)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("find journal: %w; name its folder with --data-dir", err)
	}
	j, err := journal.Open(journal.Options{Path: path, Log: zerolog.Nop(), BallastBytes: -1, Retention: -1, VerifyAll: verify})
	if errors.Is(err, journal.ErrLocked) {
		return nil, fmt.Errorf("%w: the agent is running on it; stop it first", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return j, nil
}

// Check verifies checksum and chain of every record. A damaged journal is set
// aside and salvaged, as at the agent's start; nothing is deleted.
func Check(_ context.Context, c Config) (*CheckResult, error) {
	j, err := openOffline(c, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = j.Close() }()
	s := j.State()
	r := &CheckResult{Tail: s.Tail, Head: s.Head}
	if what, ok := strings.CutPrefix(s.BootReason, "salvaged"); ok {
		r.Salvaged = strings.TrimLeft(what, ": ")
	}
	chain := s.ChainTail
	err = j.Scan(s.Tail, func(_ uint64, _ int64, rec []byte) error {
		chain = chain.Next(rec)
		r.Events++
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verify journal: %w", err)
	}
	if chain != s.ChainHead {
		return nil, fmt.Errorf("verify journal: chain over the records is %s, the head says %s", chain, s.ChainHead)
	}
	r.Chain = chain.String()
	return r, nil
}

// Export writes the journal as NDJSON from a seq on.
func Export(ctx context.Context, c Config, from uint64, w io.Writer) error {
	j, err := openOffline(c, false)
	if err != nil {
		return err
	}
	defer func() { _ = j.Close() }()
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	err = j.Scan(max(from, j.State().Tail), func(seq uint64, us int64, rec []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		line := struct {
			Seq      uint64         `json:"seq"`
			Recorded time.Time      `json:"recorded_at"`
			Document map[string]any `json:"document,omitempty"`
			Problem  string         `json:"problem,omitempty"` // a place whose record was lost to damage
		}{Seq: seq, Recorded: time.UnixMicro(us).UTC()}
		var ev protocol.Event
		if _, err := protocol.DecodeRecord(rec, &ev); err != nil {
			line.Problem = err.Error()
		} else {
			line.Document = protocol.ViewDocument(&ev)
		}
		return enc.Encode(line)
	})
	if err != nil {
		return fmt.Errorf("export journal: %w", err)
	}
	return out.Flush()
}
