package simulator

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tillwire/simulator/experiment"
)

// experiment runs one of the package experiment's, and stores table and picture.
func (t *Terminal) experiment(ctx, _ context.Context, args []string) error {
	if len(args) == 0 {
		return usageError{"name the experiment: counts, oversell or drain"}
	}
	fs := flag.NewFlagSet("experiment "+args[0], flag.ContinueOnError)
	fs.SetOutput(t.Stderr)
	stores := fs.Int("stores", 0, "stores (default: 400 for counts, 40 for oversell)")
	skus := fs.Int("skus", 0, "articles per store (default: 300 and 500)")
	documents := fs.Int("documents", 2000, "each store's backlog, for drain: a supermarket's day")
	seed := fs.Uint64("seed", 1, "of the world")
	process := fs.Bool("process", false, "the aggregator runs as a process of its own, for drain: its memory is told apart")
	out := fs.String("out", "", "`folder` for the table, the picture and the figures as JSON")
	if err := fs.Parse(args[1:]); err != nil {
		return usageError{err.Error()}
	}
	if fs.NArg() > 0 {
		return usageError{fmt.Sprintf("%q is too much", fs.Arg(0))}
	}
	start := time.Now()
	if args[0] == "drain" {
		return t.drain(ctx, DrainOptions{Stores: cmp.Or(*stores, 400), Documents: *documents, Seed: *seed, Process: *process, Out: t.Stderr}, *out)
	}
	files, err := runExperiment(ctx, args[0], *stores, *skus, *seed)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(t.Stdout, "%s\ntook %s\n", files[args[0]+".md"], time.Since(start).Round(time.Second))
	return storeFiles(*out, files)
}

// storeFiles writes what an experiment found into a folder; "" = nowhere.
func storeFiles(dir string, files map[string][]byte) error {
	if dir == "" {
		return nil
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // a report to be read
			return fmt.Errorf("store result: %w", err)
		}
	}
	return nil
}

// drain brings a whole chain back at once, and fails where anything was lost,
// doubled or wrong.
func (t *Terminal) drain(ctx context.Context, o DrainOptions, out string) error {
	r, err := Drain(ctx, o)
	if err != nil {
		return err
	}
	text := r.Markdown(o.Seed)
	_, _ = fmt.Fprintln(t.Stdout, text)
	j, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := fmt.Sprintf("drain-%d", o.Stores)
	if o.Process {
		name += "-process"
	}
	if err := storeFiles(out, map[string][]byte{name + ".md": []byte(text), name + ".json": append(j, '\n')}); err != nil {
		return err
	}
	if !r.OK() {
		return errNotProved
	}
	return nil
}

func runExperiment(ctx context.Context, name string, stores, skus int, seed uint64) (map[string][]byte, error) {
	or := func(n, otherwise int) int {
		if n > 0 {
			return n
		}
		return otherwise
	}
	files := map[string][]byte{}
	var figures any
	switch name {
	case "counts":
		o := experiment.CountsOptions{Stores: or(stores, 400), SKUs: or(skus, 300), Registers: 4, Seed: seed}
		rows, err := experiment.Counts(ctx, o)
		if err != nil {
			return nil, err
		}
		figures = rows
		files["counts.md"] = []byte(experiment.CountsMarkdown(o, rows, fmt.Sprintf("tillwire-simulator experiment counts --stores %d --skus %d --seed %d", o.Stores, o.SKUs, seed)))
	case "oversell":
		o := experiment.OversellOptions{Stores: or(stores, 40), SKUs: or(skus, 500), Days: 28, LearnDays: 4, Seed: seed}
		rows, err := experiment.Oversell(ctx, o)
		if err != nil {
			return nil, err
		}
		figures = rows
		files["oversell.md"] = []byte(experiment.OversellMarkdown(o, rows, fmt.Sprintf("tillwire-simulator experiment oversell --stores %d --skus %d --seed %d", o.Stores, o.SKUs, seed)))
		files["oversell.svg"] = []byte(experiment.OversellSVG(rows))
	default:
		return nil, usageError{fmt.Sprintf("%q is no experiment; use counts, oversell or drain", name)}
	}
	j, err := json.MarshalIndent(figures, "", " ")
	if err != nil {
		return nil, err
	}
	files[name+".json"] = append(j, '\n')
	return files, nil
}
