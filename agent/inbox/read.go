package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
	"tillwire/protocol/csvdoc"
	"tillwire/protocol/poslog"
	"tillwire/store/journal"
)

// batch gathers events until they are worth a group in the journal.
type batch struct {
	b      *Inbox
	rep    *Report
	events []*protocol.Event
	lines  []int // of the file, for each event
}

func (b *Inbox) readCSV(ctx context.Context, in io.Reader, rep *Report) error {
	r, reason := csvdoc.New(in, csvdoc.Options{Mapping: b.o.Mapping, Store: b.o.Store, Zone: b.o.Zone})
	if reason != nil {
		rep.add(Reason(*reason))
		return nil
	}
	q := batch{b: b, rep: rep}
	for {
		d, ok := r.Next()
		if !ok {
			return q.flush(ctx)
		}
		if len(d.Bad) > 0 {
			rep.Refused++
			for _, x := range d.Bad {
				rep.add(Reason(x))
			}
			continue
		}
		for _, e := range d.Events {
			if err := q.add(ctx, e, d.Line); err != nil {
				return err
			}
		}
	}
}

func (b *Inbox) readPOSLog(ctx context.Context, in io.Reader, rep *Report) error {
	res, p := poslog.Decode(in, poslog.Options{Store: b.o.Store, RetailStore: b.o.RetailStore, Zone: b.o.Zone, BytesMax: fileBytesMax})
	if p != nil {
		rep.add(Reason{Code: p.Code, Problem: p.Detail, Remedy: p.Hint})
		return nil //nolint:nilerr // the reason goes beside the file
	}
	for _, bad := range res.Problems {
		rep.Refused++
		for _, f := range bad.Problem.Errors {
			rep.add(Reason{DocumentID: bad.DocumentID, Field: f.Pointer, Code: bad.Problem.Code, Problem: f.Message, Remedy: bad.Problem.Hint})
		}
	}
	q := batch{b: b, rep: rep}
	for _, e := range res.Events {
		if err := q.add(ctx, e, 0); err != nil {
			return err
		}
	}
	return q.flush(ctx)
}

func (q *batch) add(ctx context.Context, e *protocol.Event, line int) error {
	q.events, q.lines = append(q.events, e), append(q.lines, line)
	if len(q.events) < batchEvents {
		return nil
	}
	return q.flush(ctx)
}

// flush journals the batch. Where the disk or the journal cannot take an event
// now it waits and tries again, for as long as the agent runs: the file is not
// at fault.
func (q *batch) flush(ctx context.Context) error {
	for pause := retryMin; len(q.events) > 0; pause = min(2*pause, retryMax) {
		recs, errs := q.b.o.Journal.AppendAll(ctx, q.events)
		var again []*protocol.Event
		var lines []int
		var last error
		for i, e := range q.events {
			var err error
			if i < len(errs) {
				err = errs[i]
			}
			switch {
			case err == nil && recs[i].Duplicate:
				q.rep.Duplicates++
			case err == nil:
				q.rep.Journaled++
			case errors.Is(err, journal.ErrIDReused):
				q.rep.Refused++
				q.rep.add(Reason{
					Line: q.lines[i], DocumentID: e.DocumentID, Field: "document_id", Code: "id_reused", Problem: "was journaled before with another content: " + err.Error(),
					Remedy: "Corrections come as documents of their own: a return, an adjustment or a void.",
				})
			default:
				again, lines, last = append(again, e), append(lines, q.lines[i]), err
			}
		}
		q.events, q.lines = again, lines
		if len(again) == 0 {
			break
		}
		if errors.Is(last, journal.ErrClosed) || ctx.Err() != nil {
			return fmt.Errorf("journal inbox file: %w", last)
		}
		q.b.o.Log.Warn().Err(last).Int("waiting", len(again)).Msg("inbox waits for the journal")
		if !wait(ctx, pause) {
			return ctx.Err()
		}
	}
	q.events, q.lines = q.events[:0], q.lines[:0]
	return nil
}

// wait pauses; it is false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// move puts the file into done or failed under a name that is free there, the
// reasons first: a file in failed always has its reasons beside it.
func (b *Inbox) move(name, dir string, rep *Report) (string, error) {
	target, err := freeName(filepath.Join(b.o.Dir, dir), name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.o.Dir, dir, target)
	if dir == failedDir {
		rep.Remedy = "Documents without a reason are journaled. Correct the others and drop the file again under a new name: what is journaled counts once."
		if err := writeWhole(path+".reason.json", rep); err != nil {
			return "", err
		}
	}
	if err := os.Rename(filepath.Join(b.o.Dir, name), path); err != nil {
		return "", fmt.Errorf("move inbox file: %w", err)
	}
	return filepath.Join(dir, target), nil
}

// freeName finds a name that is not taken: sales.csv, sales-2.csv, …
func freeName(dir, name string) (string, error) {
	ext := filepath.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	for i := 1; i < 100_000; i++ {
		try := name
		if i > 1 {
			try = stem + "-" + strconv.Itoa(i) + ext
		}
		_, err := os.Lstat(filepath.Join(dir, try))
		if errors.Is(err, fs.ErrNotExist) {
			return try, nil
		}
		if err != nil {
			return "", fmt.Errorf("look for a free name: %w", err)
		}
	}
	return "", fmt.Errorf("look for a free name: %s has too many namesakes in %s", name, dir)
}

// writeWhole writes a JSON file that is either there whole or not at all.
func writeWhole(path string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write reasons: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("write reasons: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write reasons: %w", err)
	}
	return nil
}
