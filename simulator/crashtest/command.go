package crashtest

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// resultsEnv is the variable that names the folder of result rows.
const resultsEnv = "TILLWIRE_RESULTS"

// Usage is the command's arguments, for help texts.
const Usage = "[--cycles N | --release] [--for 1h] [--seed N] [--results DIR] [--dir DIR] [CAMPAIGN…]"

// Command runs campaigns as a command line asks for: all, or those named. It
// prints one JSON row each, and returns an error where something was lost, doubled
// or did not recover. `writer` is the recorded process of crash-states.
func Command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 3 && args[0] == "writer" {
		return Write(args[1], args[2], stdout)
	}
	set := flag.NewFlagSet("crash", flag.ContinueOnError)
	set.SetOutput(stderr)
	cycles := set.Int("cycles", 0, "cycles of each campaign; 0 = as in a test run")
	release := set.Bool("release", false, "as many cycles as before a release")
	limit := set.Duration("for", time.Hour, "longest duration of the whole run")
	seed := set.Uint64("seed", 1, "of everything random")
	results := set.String("results", os.Getenv(resultsEnv), "folder for one JSON row per campaign")
	dir := set.String("dir", "", "scratch folder; default the system's")
	set.Usage = func() { help(stderr, set) }
	if err := set.Parse(args); err != nil {
		return err
	}
	todo, err := choose(set.Args())
	if err != nil {
		return err
	}
	rig, err := newRig(*dir, *seed, stderr)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	enc := json.NewEncoder(stdout)
	var failed []string
	for _, c := range todo {
		rig.Cycles = *cycles
		if *release {
			rig.Cycles = c.Release
		}
		_, _ = fmt.Fprintf(stderr, "crash: %s, %d cycles: %s\n", c.Name, max(rig.Cycles, (1-min(rig.Cycles, 1))*c.Cycles), c.About)
		res, err := c.Run(ctx, *rig)
		if err != nil {
			failed = append(failed, c.Name)
			_, _ = fmt.Fprintf(stderr, "crash: %s failed: %v\n", c.Name, err)
		}
		if err := enc.Encode(res); err != nil {
			return err
		}
		if err := res.Store(*results); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s; repeat with tillwire-simulator crash --seed %d %s", strings.Join(failed, ", "), *seed, strings.Join(failed, " "))
	}
	return nil
}

func help(w io.Writer, set *flag.FlagSet) {
	_, _ = fmt.Fprintf(w, "usage: tillwire-simulator crash %s\n\nCampaigns (cycles in a test run, before a release):\n", Usage)
	for _, c := range Campaigns() {
		_, _ = fmt.Fprintf(w, "  %-14s %6d %9d  %s\n", c.Name, c.Cycles, c.Release, c.About)
	}
	_, _ = fmt.Fprintln(w, "\nFlags:")
	set.PrintDefaults()
}

func choose(names []string) ([]Campaign, error) {
	all := Campaigns()
	if len(names) == 0 {
		return all, nil
	}
	var todo []Campaign
	for _, name := range names {
		n := len(todo)
		for _, c := range all {
			if c.Name == name {
				todo = append(todo, c)
			}
		}
		if len(todo) == n {
			return nil, fmt.Errorf("%q is not a campaign; `tillwire-simulator crash --help` lists them", name)
		}
	}
	return todo, nil
}

// newRig finds the programs beside this one.
func newRig(dir string, seed uint64, log io.Writer) (*Rig, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find programs: %w", err)
	}
	suffix := ""
	if runtime.GOOS == "windows" {
		suffix = ".exe"
	}
	r := &Rig{Dir: dir, Seed: seed, Log: log, Writer: []string{self, "crash", "writer"}, LazyFS: lazyFS(filepath.Dir(self))}
	for name, to := range map[string]*string{"tillwire-agent": &r.Agent, "tillwire-aggregator": &r.Aggregator} {
		*to = filepath.Join(filepath.Dir(self), name+suffix)
		if _, err := os.Stat(*to); err != nil {
			return nil, fmt.Errorf("find %s: %w; `make build` puts the programs beside each other", name, err)
		}
	}
	return r, nil
}
