package simulator

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// result is what is stored and printed again: one of them.
type result struct {
	Kind   string        `json:"kind"`
	Demo   *DemoResult   `json:"demo,omitempty"`
	Fleet  *FleetResult  `json:"fleet,omitempty"`
	Replay *ReplayResult `json:"replay,omitempty"`
	Bench  *BenchResult  `json:"bench,omitempty"`

	Compared *Compared `json:"compared,omitempty"`
}

func (r *result) print(w io.Writer) {
	switch {
	case r.Demo != nil:
		r.Demo.Print(w)
	case r.Fleet != nil:
		r.Fleet.Print(w)
	case r.Replay != nil:
		r.Replay.Print(w)
	case r.Bench != nil:
		r.Bench.Print(w)
	case r.Compared != nil:
		r.Compared.Print(w)
	}
}

// store writes a result as JSON, whole or not at all.
func (r *result) store(file string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode result: %w", err)
	}
	return writeFile(file, append(b, '\n'))
}

func writeFile(file string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("make folder of result: %w", err)
	}
	tmp := file + ".part"
	if err := os.WriteFile(tmp, b, 0o644); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("write result: %w", err)
	}
	return nil
}

// readResult reads a stored result.
func readResult(file string) (*result, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r result
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("read %s: %w; it must be the JSON that bench, compare, fleet, replay or demo stored with --out", file, err)
	}
	if r.Demo == nil && r.Fleet == nil && r.Replay == nil && r.Bench == nil && r.Compared == nil {
		return nil, fmt.Errorf("read %s: it holds no result of bench, compare, fleet, replay or demo", file)
	}
	return &r, nil
}

func (t *Terminal) report(_, _ context.Context, args []string) error {
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	asJSON := fs.Bool("json", false, "print as JSON")
	html := fs.String("html", "", "draw a fleet's or a demo's page into this `file`")
	files, err := t.parse(fs, args, 1)
	if err != nil {
		return err
	}
	r, err := readResult(files[0])
	if errors.Is(err, os.ErrNotExist) {
		return usageError{err.Error()}
	}
	if err != nil {
		return err
	}
	if *html != "" {
		run := cmp.Or(r.Fleet, r.Demo)
		if run == nil {
			return usageError{"--html draws results of fleet and demo only"}
		}
		return writeFile(*html, run.HTML())
	}
	return t.deliver(*r, *asJSON, "", true)
}
