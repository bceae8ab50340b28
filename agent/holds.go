package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"tillwire/protocol"
)

// HoldsFile keeps what the aggregator last said of the store's tasks, so that the
// shop knows them after a restart without a link. Losing it costs a question.
const HoldsFile = "holds.json"

func (a *Agent) readHolds() ([]byte, error) { return a.readKept(HoldsFile) }

func (a *Agent) keepHolds(b []byte) error { return a.keepFile(HoldsFile, b) }

// readKept reads a small file of the data folder; nil where there is none.
func (a *Agent) readKept(name string) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(a.cfg.DataDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// keepFile writes a small file whole or not at all, and on disk.
func (a *Agent) keepFile(name string, b []byte) error {
	path := filepath.Join(a.cfg.DataDir, name)
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// reading is an estimate of this machine's clock: aggregator − agent, and the
// bound of its error, in microseconds.
type reading struct{ offsetUS, errorUS int64 }

// How much an estimate must differ from what is journaled to be journaled, and how
// often at most.
const (
	clockStepUS    = 250_000
	clockEvery     = time.Minute
	clockErrorMost = 10_000_000 // a wider bound says nothing
)

// heardClock is called by the link; it never waits.
func (a *Agent) heardClock(offsetUS, errorUS int64) {
	select {
	case <-a.clock:
	default:
	}
	select {
	case a.clock <- reading{offsetUS, errorUS}:
	default:
	}
}

// journalClock writes how this machine's clock stands into the journal, where it
// changes: the chain judges by it what happened before and after a count at
// another till. These records are no work of a register.
func (a *Agent) journalClock(ctx context.Context) error {
	var told reading
	n := 0
	for {
		var r reading
		select {
		case <-ctx.Done():
			return nil
		case r = <-a.clock:
		}
		moved := r.offsetUS - told.offsetUS
		if r.errorUS > clockErrorMost || told.errorUS != 0 && moved < clockStepUS && moved > -clockStepUS && r.errorUS*2 > told.errorUS {
			continue
		}
		n++
		e := &protocol.Event{
			Kind: protocol.KindClock, Store: a.origin().Store, DocumentID: fmt.Sprintf("clock-%s-%s-%d", a.cfg.Agent, a.boot, n),
			EventTime: protocol.StampOf(a.deps.Now()), ClockOffsetUS: r.offsetUS, ClockErrorUS: r.errorUS,
		}
		e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
		if _, err := a.journal.Append(ctx, e); err != nil {
			a.deps.Log.Debug().Err(err).Msg("clock not journaled")
			continue
		}
		told = r
		t := time.NewTimer(clockEvery)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}
