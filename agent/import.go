package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// A running agent imports exports that are laid into its import folder:
//
//	import/NAME.jsonl   a verified copy, laid whole by `tillwire-agent import`
//	import/NAME.state   how far it is; written after each batch, kept at the end
//
// The events go into the journal as they were, under new numbers. What the journal
// holds already is recognised by its id, so an import may be interrupted anywhere
// and go on, and the same file may be imported twice.
const (
	importDir      = "import"
	importBatch    = 500                // events between two looks at the state
	importEvery    = time.Second        // how often the folder is looked at
	importPause    = time.Second        // before trying again what the journal refused
	conflictsMax   = 20                 // of those named in the state
	importKeepsFor = 7 * 24 * time.Hour // a finished import's state
)

// ImportState says how an import stands.
type ImportState struct {
	Store      string   `json:"store"`
	Seq        uint64   `json:"seq"` // of the export: up to here it is done
	Head       uint64   `json:"head_seq"`
	Accepted   uint64   `json:"accepted"`
	Duplicates uint64   `json:"duplicates"`
	Skipped    uint64   `json:"skipped"`   // places of lost records, and the agent's own clock readings
	Refused    uint64   `json:"refused"`   // their id stands for another content here
	Conflicts  []string `json:"conflicts"` // the first of these, in words
	Waiting    string   `json:"waiting,omitempty"`
	Error      string   `json:"error,omitempty"`
	Done       bool     `json:"done"`
}

// LayImport lays a verified export into the agent's import folder and returns the
// path of its state.
func LayImport(c Config, file *ImportFile) (state string, err error) {
	dir := filepath.Join(c.DataDir, importDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("lay import: %w", err)
	}
	path := filepath.Join(dir, file.name())
	if err := copyFile(file.Path, path+".tmp"); err != nil {
		return "", fmt.Errorf("lay import: %w", err)
	}
	if s, err := readState(path + ".state"); err == nil && s.Done { // imported before: again from the start
		if err := os.Remove(path + ".state"); err != nil {
			return "", fmt.Errorf("lay import: %w", err)
		}
	}
	if err := giveToOwner(c.DataDir, dir, path+".tmp"); err != nil {
		return "", err
	}
	if err := os.Rename(path+".tmp", path+".jsonl"); err != nil {
		return "", fmt.Errorf("lay import: %w", err)
	}
	return path + ".state", nil
}

// ReadImportState reads how an import stands; nil while the agent has not begun.
func ReadImportState(path string) (*ImportState, error) {
	s, err := readState(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // not begun is no error
	}
	return s, err
}

func readState(path string) (*ImportState, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &ImportState{}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("read state of the import: %w", err)
	}
	return s, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // read only
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// imports serves the import folder until ctx ends.
func (a *Agent) imports(ctx context.Context) error {
	tick := time.NewTicker(importEvery)
	defer tick.Stop()
	dir := filepath.Join(a.cfg.DataDir, importDir)
	for {
		names, _ := filepath.Glob(filepath.Join(dir, "*.jsonl")) // the pattern is sound
		slices.Sort(names)
		for _, name := range names {
			i := importer{a: a, file: name, state: name[:len(name)-len(".jsonl")] + ".state", log: a.deps.Log.With().Str("import", filepath.Base(name)).Logger()}
			if err := i.run(ctx); err != nil {
				return err
			}
		}
		a.forgetImports(dir)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// forgetImports removes the states of imports that ended long ago.
func (a *Agent) forgetImports(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "*.state"))
	for _, name := range names {
		if info, err := os.Lstat(name); err == nil && time.Since(info.ModTime()) > importKeepsFor {
			_ = os.Remove(name)
		}
	}
}

// importer feeds one file.
type importer struct {
	a           *Agent
	file, state string
	s           ImportState
	log         zerolog.Logger
	events      []*protocol.Event
}

// run imports the file and removes it; only the end of ctx leaves it where it is.
// What is wrong with the file is told in its state.
func (i *importer) run(ctx context.Context) error {
	if s, err := readState(i.state); err == nil && !s.Done {
		i.s = *s
	}
	err := i.feed(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the next start goes on
	}
	i.s.Done, i.s.Waiting = true, ""
	if err != nil {
		i.s.Error = err.Error()
		i.log.Error().Err(err).Msg("import ended early")
	} else {
		i.log.Info().Uint64("accepted", i.s.Accepted).Uint64("duplicates", i.s.Duplicates).Uint64("refused", i.s.Refused).Msg("import done")
	}
	i.save()
	if err := os.Remove(i.file); err != nil {
		return fmt.Errorf("remove imported file: %w", err)
	}
	return nil
}

func (i *importer) feed(ctx context.Context) error {
	f, err := os.Open(i.file)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	x, err := readExport(f)
	if err != nil {
		return err
	}
	if i.s.Store = x.head.Store; x.head.Store != i.a.cfg.Store {
		return fmt.Errorf("the export is of store %s, this agent is %s", x.head.Store, i.a.cfg.Store)
	}
	for done := false; !done; {
		line, err := x.record()
		switch {
		case errors.Is(err, io.EOF):
			done = true
		case err != nil:
			return err
		case line.Seq > i.s.Seq:
			i.take(line)
		}
		if done || (x.seq > i.s.Seq && x.records%importBatch == 0) {
			if err := i.append(ctx); err != nil {
				return err
			}
			i.s.Seq, i.s.Head = x.seq, x.seq
			i.save()
		}
	}
	return nil
}

// take keeps the event of a line for the next batch.
func (i *importer) take(line exportRecord) {
	e := &protocol.Event{}
	if err := protocol.DecodeEvent(line.Event, e); err != nil || e.Kind == protocol.KindClock || string(e.Store) != i.a.cfg.Store {
		i.s.Skipped++
		return
	}
	i.events = append(i.events, e)
}

// append journals the batch, waiting as long as the journal takes nothing.
func (i *importer) append(ctx context.Context) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for len(i.events) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
		}
		receipts, errs := i.a.journal.AppendAll(ctx, i.events)
		again := i.events[:0]
		for k, e := range i.events {
			var reused *journal.IDReusedError
			switch err := errs[k]; {
			case err == nil && receipts[k].Duplicate:
				i.s.Duplicates++
			case err == nil:
				i.s.Accepted++
			case errors.As(err, &reused):
				i.refuse(fmt.Sprintf("%s %s stands at seq %d here with another content", e.Kind, e.DocumentID, reused.Seq))
			case errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrRecovering), errors.Is(err, journal.ErrQueueFull):
				again = append(again, e)
				i.s.Waiting = err.Error()
			default:
				i.refuse(fmt.Sprintf("%s %s: %v", e.Kind, e.DocumentID, err))
			}
		}
		i.events = again
		if len(again) > 0 {
			i.save()
			pause.Reset(importPause)
		} else {
			i.s.Waiting = ""
		}
	}
	return nil
}

func (i *importer) refuse(what string) {
	if i.s.Refused++; len(i.s.Conflicts) < conflictsMax {
		i.s.Conflicts = append(i.s.Conflicts, what)
	}
}

// save writes the state. A lost one costs a second look at events that the journal
// knows by their ids.
func (i *importer) save() {
	b, err := json.Marshal(&i.s)
	if err == nil {
		if err = os.WriteFile(i.state+".tmp", append(b, '\n'), 0o600); err == nil {
			err = os.Rename(i.state+".tmp", i.state)
		}
	}
	if err != nil {
		i.log.Warn().Err(err).Msg("state of the import not written")
	}
}
