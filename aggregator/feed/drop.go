package feed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
)

// Drop is a watched folder of one source.
//
//	in/x.edi ──still for two looks──▶ taken/x.edi ──read, merged──▶ done/x.edi
//	   ▲                                │   └── something is parked ─▶ failed/x.edi + .reason.json
//	   └── it grew while it was read ───┘
//
// Crash while a file is in taken: the next start reads it again and finds what was
// merged by its ids.
type Drop struct {
	desk   *Desk
	source string
	dir    string
	format Format
	poll   time.Duration
	log    zerolog.Logger
	last   map[string]sighting // what the last look saw

	mu     sync.Mutex // guards what follows
	files  int        // that wait
	oldest time.Time
}

// sighting is a file as it was seen.
type sighting struct {
	size int64
	mod  time.Time
}

// The folders beside the files.
const (
	takenDir  = "taken"
	doneDir   = "done"
	failedDir = "failed"
)

// OpenDrop makes the folders, and names the source to the desk. It must be called
// before the desk takes anything.
func (d *Desk) OpenDrop(source, dir string, f Format, poll time.Duration, log zerolog.Logger) (*Drop, error) {
	if poll <= 0 {
		poll = pollDefault
	}
	for _, sub := range []string{"", takenDir, doneDir, failedDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o750); err != nil {
			return nil, fmt.Errorf("make folder of feed %s: %w", source, err)
		}
	}
	p := &Drop{desk: d, source: source, dir: dir, format: f, poll: poll, log: log, last: map[string]sighting{}}
	d.formats[source], d.drops[source] = f, p
	d.sources.mu.Lock()
	defer d.sources.mu.Unlock()
	if x := d.sources.of(source, "file "+f.Kind); x != nil {
		x.waits = func() (int, time.Time) {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.files, p.oldest
		}
	}
	return p, nil
}

// Run looks at the folder until ctx ends. What goes wrong with one file stays with it.
func (p *Drop) Run(ctx context.Context) error {
	t := time.NewTicker(p.poll)
	defer t.Stop()
	for {
		if err := p.Look(ctx); err != nil && ctx.Err() == nil {
			p.desk.sources.failed(p.source, "file "+p.format.Kind, err.Error(), p.desk.o.Now())
			p.log.Warn().Err(err).Str("feed", p.source).Msg("feed folder is tried again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// Look takes what an earlier process left in taken, and every file that has stood
// still since the last look, in the order of their names.
func (p *Drop) Look(ctx context.Context) error {
	left, err := os.ReadDir(filepath.Join(p.dir, takenDir))
	if err != nil {
		return fmt.Errorf("read taken files: %w", err)
	}
	for _, en := range left {
		if en.Type().IsRegular() && ctx.Err() == nil {
			if err := p.take(ctx, en.Name()); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("read feed folder: %w", err)
	}
	seen := make(map[string]sighting)
	taken, waiting, oldest := 0, 0, time.Time{}
	for _, en := range entries {
		name := en.Name()
		if !en.Type().IsRegular() || strings.HasPrefix(name, ".") || unfinished(name) || ctx.Err() != nil {
			continue
		}
		info, err := en.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // renamed meanwhile
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", name, err)
		}
		now := sighting{info.Size(), info.ModTime()}
		if was, known := p.last[name]; known && was == now && taken < filesPerLookMax {
			taken++
			if err = p.claim(ctx, name); err == nil {
				continue
			}
			p.log.Warn().Err(err).Str("feed", p.source).Str("file", name).Msg("feed file is tried again")
		}
		if seen[name], waiting = now, waiting+1; oldest.IsZero() || now.mod.Before(oldest) {
			oldest = now.mod
		}
	}
	p.last = seen
	p.mu.Lock()
	p.files, p.oldest = waiting, oldest
	p.mu.Unlock()
	return nil
}

// unfinished tells whether a name says that the file is still being written.
func unfinished(name string) bool {
	n := strings.ToLower(name)
	for _, end := range []string{".tmp", ".part", ".filepart", "~"} {
		if strings.HasSuffix(n, end) {
			return true
		}
	}
	return false
}

// claim takes a file out of its writer's reach, and then takes it.
func (p *Drop) claim(ctx context.Context, name string) error {
	if _, err := os.Lstat(filepath.Join(p.dir, takenDir, name)); err == nil {
		return fmt.Errorf("claim %s: one of its name is not finished", name)
	}
	if err := os.Rename(filepath.Join(p.dir, name), filepath.Join(p.dir, takenDir, name)); err != nil {
		return fmt.Errorf("claim feed file: %w", err)
	}
	return p.take(ctx, name)
}

// report is the content of a .reason.json.
type report struct {
	File       string         `json:"file"`
	Accepted   int            `json:"accepted"` // documents, now
	Duplicates int            `json:"duplicates"`
	Parked     int            `json:"parked"`
	Refused    int            `json:"refused"`
	Reasons    []reportReason `json:"reasons"`
	Remedy     string         `json:"remedy"`
}

type reportReason struct {
	DocumentID  string `json:"document_id,omitempty"`
	ExceptionID string `json:"exception_id,omitempty"` // "": it was not kept
	Reason      string `json:"reason"`
}

func (r *report) add(id, exception, why string) {
	if len(r.Reasons) < reasonsMax {
		r.Reasons = append(r.Reasons, reportReason{id, exception, why})
	}
}

// take has one file of taken merged, and moves it on. An error means that it stays
// there, to be tried again.
func (p *Drop) take(ctx context.Context, name string) error {
	path := filepath.Join(p.dir, takenDir, name)
	raw, state, err := readStill(path)
	if err != nil {
		return err
	}
	if state == fileGrew { // its writer has it open still
		if err := os.Rename(path, filepath.Join(p.dir, name)); err != nil {
			return fmt.Errorf("give back %s: %w", name, err)
		}
		return fmt.Errorf("take %s: it grew while it was read", name)
	}
	rep := &report{File: name, Reasons: []reportReason{}, Remedy: "What is listed waits under its exception_id: mend what it names and retry it there. Dropping the file again is safe, too: what was taken counts once."}
	if err := p.merge(ctx, raw, state, rep); err != nil {
		return err
	}
	to := doneDir
	if len(rep.Reasons) > 0 {
		to = failedDir
	}
	target, err := p.move(name, to, rep)
	if err != nil {
		return err
	}
	p.log.Info().Str("feed", p.source).Str("file", target).Int("accepted", rep.Accepted).Int("duplicates", rep.Duplicates).Int("parked", rep.Parked).Msg("feed file taken")
	return nil
}

// What became of a file while it was read.
type fileState uint8

const (
	fileStill fileState = iota
	fileGrew
	fileTooLarge // only its beginning was read
)

// readStill reads a file, and tells whether it grew meanwhile.
func readStill(path string) (raw []byte, state fileState, err error) {
	before, err := os.Stat(path)
	if err != nil {
		return nil, fileStill, fmt.Errorf("read feed file: %w", err)
	}
	if before.Size() > fileBytesMax {
		f, err := os.Open(path)
		if err != nil {
			return nil, fileStill, fmt.Errorf("read feed file: %w", err)
		}
		defer f.Close() // read only
		raw = make([]byte, rawKeptMax+1)
		if _, err = f.Read(raw); err != nil {
			return nil, fileStill, fmt.Errorf("read feed file: %w", err)
		}
		return raw, fileTooLarge, nil
	}
	if raw, err = os.ReadFile(path); err != nil {
		return nil, fileStill, fmt.Errorf("read feed file: %w", err)
	}
	after, err := os.Stat(path)
	if err != nil {
		return nil, fileStill, fmt.Errorf("read feed file: %w", err)
	}
	if after.Size() != int64(len(raw)) || !after.ModTime().Equal(before.ModTime()) {
		state = fileGrew
	}
	return raw, state, nil
}

// merge reads a file and hands it to the desk, batch by batch.
func (p *Drop) merge(ctx context.Context, raw []byte, state fileState, rep *report) error {
	kind := "file " + p.format.Kind
	var batches []Batch
	bad := problem(http.StatusRequestEntityTooLarge, "file_too_large", "The file is too large", fmt.Sprintf("it has more than %d bytes", fileBytesMax), "have the partner write smaller files")
	if state != fileTooLarge {
		batches, bad = p.format.Read(raw)
	}
	if bad != nil {
		batches = []Batch{{Items: []Item{{What: p.format.Kind, Problem: bad, Raw: raw, media: mediaFile}}}}
		p.desk.sources.failed(p.source, kind, reasonOf(bad), p.desk.o.Now())
	}
	for i := range batches {
		b := &batches[i]
		if err := p.desk.control(p.source, b); err != nil {
			return err
		}
		results, err := p.desk.take(ctx, p.source, kind, b.Items, b.facts(p.source, p.desk.o.Now()))
		if err != nil {
			return err
		}
		for k := range results {
			rep.tell(&results[k], &b.Items[k])
		}
	}
	return nil
}

func (r *report) tell(a *protocol.FeedResult, it *Item) {
	switch a.Status {
	case statusAccepted:
		r.Accepted++
	case statusDuplicate:
		r.Duplicates++
	case statusParked:
		r.Parked++
	case statusRefused:
		r.Refused++
	}
	if a.Status == statusParked || a.Status == statusRefused {
		why := a.Code
		if it.Problem != nil {
			why = reasonOf(it.Problem)
		}
		r.add(a.DocumentID, a.ExceptionID, why)
	}
}

// replay puts back what was done and was written since a time, to be read again; what
// was taken is known by its ids. A file whose name is taken in the folder stays.
func (p *Drop) replay(from time.Time) (n int, err error) {
	entries, err := os.ReadDir(filepath.Join(p.dir, doneDir))
	if err != nil {
		return 0, fmt.Errorf("read done files: %w", err)
	}
	for _, en := range entries {
		info, err := en.Info()
		if err != nil || !en.Type().IsRegular() || info.ModTime().Before(from) {
			continue // of a file that went meanwhile nothing is to be told
		}
		if _, err := os.Lstat(filepath.Join(p.dir, en.Name())); err == nil {
			continue
		}
		if err := os.Rename(filepath.Join(p.dir, doneDir, en.Name()), filepath.Join(p.dir, en.Name())); err != nil {
			return n, fmt.Errorf("replay %s: %w", en.Name(), err)
		}
		n++
	}
	return n, nil
}

// Replay has a watched folder read its files again from a time on, by when they were
// written. Other sources send again themselves.
func (d *Desk) Replay(source string, from time.Time) (int, error) {
	p, ok := d.drops[source]
	if !ok {
		return 0, problem(http.StatusNotFound, "unknown_feed", "No such watched folder", source, "name one of [[feeds]]; what comes over HTTP is sent again by its sender: ids dedupe")
	}
	return p.replay(from)
}

// move puts a file into done or failed under a name that is free there, the reasons
// first: a file in failed always has its reasons beside it.
func (p *Drop) move(name, to string, rep *report) (string, error) {
	ext := filepath.Ext(name)
	target := name
	for n := 2; ; n++ {
		_, err := os.Lstat(filepath.Join(p.dir, to, target))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", fmt.Errorf("look for a free name: %w", err)
		}
		target = strings.TrimSuffix(name, ext) + "-" + strconv.Itoa(n) + ext
	}
	path := filepath.Join(p.dir, to, target)
	if to == failedDir {
		b, err := json.MarshalIndent(rep, "", "  ")
		if err == nil {
			err = os.WriteFile(path+".reason.json.tmp", append(b, '\n'), 0o600)
		}
		if err == nil {
			err = os.Rename(path+".reason.json.tmp", path+".reason.json")
		}
		if err != nil {
			return "", fmt.Errorf("write reasons: %w", err)
		}
	}
	if err := os.Rename(filepath.Join(p.dir, takenDir, name), path); err != nil {
		return "", fmt.Errorf("move feed file: %w", err)
	}
	return filepath.Join(to, target), nil
}
