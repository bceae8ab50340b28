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
		return nil, err
	}
	if err := keepOwner(c.DataDir); err != nil {
		return nil, errors.Join(err, j.Close())
	}
	return j, nil
}

// keepOwner gives what root has just made in the folder to the folder's owner:
// a journal salvaged by an administrator must open for the service's user.
func keepOwner(dir string) error {
	if os.Geteuid() != 0 { // never so on Windows, where the folder's list is inherited
		return nil
	}
	uid, gid, err := owner(dir)
	if err != nil {
		return fmt.Errorf("find the folder's owner: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read data folder: %w", err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !strings.HasPrefix(e.Name(), JournalFile) {
			continue
		}
		if err := os.Lchown(filepath.Join(dir, e.Name()), uid, gid); err != nil {
			return fmt.Errorf("give the journal to the folder's owner: %w", err)
		}
	}
	return nil
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
