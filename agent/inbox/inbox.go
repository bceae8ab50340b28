package inbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/protocol/csvdoc"
	"tillwire/store/journal"
)

// Journal is what the inbox needs of the journal; see intake.Journal.
type Journal interface {
	AppendAll(ctx context.Context, events []*protocol.Event) ([]journal.Receipt, []error)
}

// Options configure the folder. Dir, Store and Journal are required.
type Options struct {
	Dir         string
	Store       protocol.StoreID
	Journal     Journal
	Log         zerolog.Logger
	Mapping     csvdoc.Mapping
	Zone        *time.Location // of times without zone; nil = time.Local
	RetailStore string         // RetailStoreID demanded in POSLog; "" = any
	Poll        time.Duration  // 0 = 2 s
}

// Inbox is one watched folder.
type Inbox struct {
	o    Options
	last map[string]sighting // what the last look saw
}

// sighting is a file as it was seen.
type sighting struct {
	size int64
	mod  time.Time
}

// The folders beside the files.
const (
	doneDir   = "done"
	failedDir = "failed"
)

// New checks the options and makes the folders.
func New(o Options) (*Inbox, error) {
	if err := o.Mapping.Check(); err != nil {
		return nil, err
	}
	if o.Dir == "" || o.Journal == nil {
		return nil, errors.New("make inbox: dir and journal are required")
	}
	if o.Zone == nil {
		o.Zone = time.Local
	}
	if o.Poll <= 0 {
		o.Poll = pollDefault
	}
	for _, d := range [...]string{o.Dir, filepath.Join(o.Dir, doneDir), filepath.Join(o.Dir, failedDir)} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return nil, fmt.Errorf("make inbox folder: %w", err)
		}
	}
	return &Inbox{o: o, last: map[string]sighting{}}, nil
}

// Run looks at the folder until ctx ends. What goes wrong with one file stays
// with it.
func (b *Inbox) Run(ctx context.Context) error {
	t := time.NewTicker(b.o.Poll)
	defer t.Stop()
	for {
		if err := b.look(ctx); err != nil && ctx.Err() == nil {
			b.o.Log.Warn().Err(err).Msg("inbox cannot be read")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// look takes every file that has stood still since the last look, in the order
// of their names.
func (b *Inbox) look(ctx context.Context) error {
	entries, err := os.ReadDir(b.o.Dir)
	if err != nil {
		return fmt.Errorf("read inbox: %w", err)
	}
	seen := make(map[string]sighting)
	taken := 0
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
		if was, known := b.last[name]; !known || was != now || taken >= filesPerPollMax {
			seen[name] = now
			continue
		}
		taken++
		if err := b.take(ctx, name, info.Size()); err != nil && ctx.Err() == nil {
			b.o.Log.Warn().Err(err).Str("file", name).Msg("inbox file is tried again")
			seen[name] = now
		}
	}
	b.last = seen
	return nil
}

// unfinished tells whether a name says that the file is still being written.
func unfinished(name string) bool {
	n := strings.ToLower(name)
	return strings.HasSuffix(n, ".tmp") || strings.HasSuffix(n, ".part") || strings.HasSuffix(n, ".filepart") || strings.HasSuffix(n, "~")
}

// Reason says what is wrong with one line of a file.
type Reason struct {
	Line       int    `json:"line"` // of the file, from 1; 0 = the file as a whole
	DocumentID string `json:"document_id,omitempty"`
	Field      string `json:"field,omitempty"`
	Code       string `json:"code"`
	Problem    string `json:"problem"`
	Remedy     string `json:"remedy"`
}

// Report is the content of a .reason.json.
type Report struct {
	File       string   `json:"file"`
	Journaled  int      `json:"journaled"`  // documents, now
	Duplicates int      `json:"duplicates"` // documents that were journaled before
	Refused    int      `json:"refused"`    // documents left out
	Reasons    []Reason `json:"reasons"`
	More       int      `json:"more_reasons,omitempty"` // beyond those listed
	Remedy     string   `json:"remedy"`
}

func (r *Report) add(reasons ...Reason) {
	for _, x := range reasons {
		if len(r.Reasons) < reasonsMax {
			r.Reasons = append(r.Reasons, x)
		} else {
			r.More++
		}
	}
}

// take journals one file and moves it. An error means that the file is left
// where it is, to be tried again; nothing counts twice by that.
func (b *Inbox) take(ctx context.Context, name string, size int64) error {
	rep := &Report{File: name, Reasons: []Reason{}}
	if size > fileBytesMax {
		rep.add(Reason{Code: "file_too_large", Problem: fmt.Sprintf("the file has %d bytes, at most %d are taken", size, fileBytesMax), Remedy: "Split the file."})
	} else if err := b.journal(ctx, name, rep); err != nil {
		return err
	}
	// Crash here: the documents are journaled and the file still lies in the
	// inbox. The next start reads it again and finds only duplicates.
	to := doneDir
	if len(rep.Reasons) > 0 {
		to = failedDir
	}
	target, err := b.move(name, to, rep)
	if err != nil {
		return err
	}
	level := zerolog.InfoLevel
	if to == failedDir {
		level = zerolog.ErrorLevel // a person must act
	}
	b.o.Log.WithLevel(level).Str("file", target).Int("journaled", rep.Journaled).Int("duplicates", rep.Duplicates).Int("refused", rep.Refused).Msg("inbox file taken")
	return nil
}

func (b *Inbox) journal(ctx context.Context, name string, rep *Report) error {
	f, err := os.Open(filepath.Join(b.o.Dir, name))
	if err != nil {
		return fmt.Errorf("open inbox file: %w", err)
	}
	defer f.Close() // read only: nothing can be lost by it
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".csv", ".txt", ".tsv":
		return b.readCSV(ctx, f, rep)
	case ".xml":
		return b.readPOSLog(ctx, f, rep)
	default:
		rep.add(Reason{Code: "unknown_type", Problem: fmt.Sprintf("the name ends with %q", ext), Remedy: "Name CSV files .csv and POSLog files .xml."})
		return nil
	}
}
