package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/simulator/chaos"
	"tillwire/simulator/crashtest"
)

// Exit codes of every Tillwire program.
const (
	exitOK = iota
	exitFailed
	exitUsage
	exitNotReady
)

// usageError is the caller's mistake; its text says how to mend it.
type usageError struct{ what string }

func (e usageError) Error() string { return e.what }

// errNotProved is a run that ended, with a verdict other than 0/0/0.
var errNotProved = errors.New("the verdict is not clean")

// Terminal is the program as the shell sees it.
type Terminal struct {
	Version string
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	Lookup  func(string) (string, bool) // environment
}

type command struct {
	name, args, about, example string
	run                        func(t *Terminal, ctx, abort context.Context, args []string) error
}

func commands() []command {
	return []command{
		{
			"demo", "[--stores 400] [--speed 10] [--for 2m] [--http ADDR] [--data-dir DIR] [--calm]",
			"run an aggregator and a fleet of real agents that sell, until Ctrl-C; then prove what arrived",
			"tillwire-simulator demo --stores 40 --for 1m", (*Terminal).demo,
		},
		{
			"fleet", fleetUsage,
			"run real agents through a story (an ordinary Saturday, Black Friday, a region's outage, …) at any speed; prove what arrived, and report it as one HTML page; `fleet --help` tells more",
			"tillwire-simulator fleet --scenario saturday --out results", (*Terminal).fleet,
		},
		{
			"replay", "[NAME=]FILE… [--source auto|completejourney|uci|ncr] [--speed N|max] [--late DIST] [--order arrival|reverse|shuffle] [--outages N] [--duplicates P] [--json]",
			"play files of real sales through real agents, late, twice and in any order as asked, and compare the chain's stock with the plain sum of the files",
			"tillwire-simulator replay completejourney-sample.csv.zst uci.csv.zst --outages 50 --duplicates 0.02 --late exp:2h@0.2", (*Terminal).replay,
		},
		{
			"bench", "[--out DIR] [--quick] [--only NAMES] [--alone] [--full]",
			"measure every promised figure beside its limit or a peer, in one run",
			"tillwire-simulator bench --out simulator/results", (*Terminal).bench,
		},
		{
			"experiment", "counts|oversell [--stores N] [--skus N] [--seed N] [--out DIR]",
			"measure rules on drawn worlds that know their truth: how counts are read, what a risk buffer costs and saves",
			"tillwire-simulator experiment counts --stores 40", (*Terminal).experiment,
		},
		{
			"chaos", chaos.Usage,
			"break simulated shops, networks and aggregators by seeds until none is left or the time is over; a seed that fails is shrunk and printed with the command that repeats it; `chaos --help` lists the faults",
			"tillwire-simulator chaos --minutes 5", (*Terminal).chaos,
		},
		{
			"crash", crashtest.Usage,
			"break real programs on this machine: kill -9, power cuts, full and failing disks, no memory; `crash --help` lists the campaigns",
			"tillwire-simulator crash --release --for 2h --results results sigkill-agent crash-states", (*Terminal).crash,
		},
		{
			"compare", "OLD NEW [--only NAMES] [--turns 6] [--quick] [--out DIR]",
			"run the bench of two builds (their bin folders) in turns, and tell what is better, worse or noise; `make bench-compare REF=` builds them",
			"tillwire-simulator compare /tmp/old/bin bin --only merge,reads", (*Terminal).compare,
		},
		{
			"report", "FILE.json [--html FILE.html] [--json]", "print a stored result of fleet, bench, replay or demo again, or draw a fleet's page anew",
			"tillwire-simulator report simulator/results/latest.json", (*Terminal).report,
		},
		{
			"load", "< JOB.json", "the outside load generator of bench: a job on stdin, a result on stdout",
			`echo '{"url":"http://127.0.0.1:7400","paths":["/v1/availability/A1"],"connections":8,"for_ns":1000000000}' | tillwire-simulator load`, (*Terminal).load,
		},
		{
			"cells", "< JOB.json", "fill a read model and weigh it: a job of bench on stdin, a result on stdout",
			`echo '{"skus":1000,"locations":400}' | tillwire-simulator cells`, (*Terminal).weigh,
		},
		{"version", "", "print the version", "", (*Terminal).version},
	}
}

// Main runs one command line and returns the exit code. ctx ends with the
// first interrupt, abort with the second.
func (t *Terminal) Main(ctx, abort context.Context, args []string) int {
	if len(args) == 0 {
		t.help(t.Stderr)
		return exitUsage
	}
	switch {
	case args[0] == "help" && len(args) == 2 && args[1] == "--json":
		return t.exit(command{name: "help", args: "--json"}, t.helpJSON())
	case args[0] == "help" || args[0] == "-h" || args[0] == "--help":
		t.help(t.Stdout)
		return exitOK
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return t.exit(c, c.run(t, ctx, abort, args[1:]))
		}
	}
	t.errorf("%q is not a command; `tillwire-simulator help` lists them\n", args[0])
	return exitUsage
}

func (t *Terminal) exit(c command, err error) int {
	var u usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &u):
		t.errorf("tillwire-simulator %s: %s\nusage: tillwire-simulator %s %s\n", c.name, u.what, c.name, c.args)
		return exitUsage
	case errors.Is(err, errNotReady):
		t.errorf("tillwire-simulator %s: %s\n", c.name, err)
		return exitNotReady
	default:
		t.errorf("tillwire-simulator %s: %s\n", c.name, err)
		return exitFailed
	}
}

func (t *Terminal) errorf(format string, args ...any) { _, _ = fmt.Fprintf(t.Stderr, format, args...) }

const about = "runs fleets of real agents against a real aggregator, and proves what arrived"

// helpJSON is the help for programs: manual pages and completions are made of it,
// and of each command's --help.
func (t *Terminal) helpJSON() error {
	type named struct {
		Name    string `json:"name"`
		Args    string `json:"args"`
		Help    string `json:"help"`
		Example string `json:"example"`
	}
	var all []named
	for _, c := range commands() {
		all = append(all, named{c.name, c.args, c.about, c.example})
	}
	return json.NewEncoder(t.Stdout).Encode(map[string]any{"program": "tillwire-simulator", "about": about, "commands": all})
}

func (t *Terminal) help(w io.Writer) {
	_, _ = fmt.Fprint(w, "tillwire-simulator "+about+".\n\nCommands:\n")
	for _, c := range commands() {
		_, _ = fmt.Fprintf(w, "  %s %s\n      %s\n", c.name, c.args, c.about)
		if c.example != "" {
			_, _ = fmt.Fprintf(w, "      e.g. %s\n", c.example)
		}
	}
	_, _ = fmt.Fprint(w, `  help
      this text

Flags of demo, fleet and replay also stand in a TOML file (--config FILE) and in the
environment: TILLWIRE_STORES, TILLWIRE_SEED, TILLWIRE_DATA_DIR,
TILLWIRE_HTTP_LISTEN, TILLWIRE_LOG_LEVEL.

Exit codes: 0 ok, and for demo, fleet and replay: nothing lost, doubled or wrong;
1 failed; 2 usage; 3 a program did not get ready.
`)
}

// chaos breaks simulated ones; see package chaos.
func (t *Terminal) chaos(ctx, _ context.Context, args []string) error {
	var known []chaos.Crash
	for _, c := range crashtest.Campaigns() {
		known = append(known, chaos.Crash{Campaign: c.Name, About: c.About})
	}
	return chaos.Command(ctx, args, known, t.Stdout, t.Stderr)
}

// crash breaks real programs; see package crashtest.
func (t *Terminal) crash(ctx, _ context.Context, args []string) error {
	return crashtest.Command(ctx, args, t.Stdout, t.Stderr)
}

func (t *Terminal) version(_, _ context.Context, args []string) error {
	if len(args) > 0 {
		return usageError{"version takes no arguments"}
	}
	_, err := fmt.Fprintln(t.Stdout, "tillwire-simulator "+t.Version)
	return err
}

// parse reads flags that may stand before, between and behind operands; fewer
// than 0 operands: one or more.
func (t *Terminal) parse(fs *flag.FlagSet, args []string, operands int) ([]string, error) {
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	var got []string
	for {
		if err := fs.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				if fs.Name() == "fleet" {
					_, _ = io.WriteString(t.Stdout, fleetHelp)
				}
				fs.SetOutput(t.Stdout)
				fs.PrintDefaults()
				return nil, err
			}
			return nil, usageError{err.Error()}
		}
		if args = fs.Args(); len(args) == 0 {
			break
		}
		got = append(got, args[0])
		args = args[1:]
	}
	if operands < 0 && len(got) > 0 {
		return got, nil
	}
	if len(got) != operands {
		if operands == 0 {
			return nil, usageError{fmt.Sprintf("argument %q is not expected", got[0])}
		}
		if operands == 2 {
			return nil, usageError{fmt.Sprintf("two folders are needed, got %d", len(got))}
		}
		return nil, usageError{fmt.Sprintf("one file is needed, got %d", len(got))}
	}
	return got, nil
}

// shared are the flags of demo and replay; they stand over file and environment.
type shared struct {
	config, dataDir, http, level *string
	seed                         *int64
}

func sharedFlags(fs *flag.FlagSet) shared {
	return shared{
		config:  fs.String("config", "", "TOML `file`"),
		dataDir: fs.String("data-dir", "", "fresh `folder` for journals and ledger; kept afterwards"),
		http:    fs.String("http", "", "`address` of the aggregator's UI and API (default 127.0.0.1:7400)"),
		level:   fs.String("log-level", "", "of the programs' own logs on stderr: debug, info, warn, error"),
		seed:    fs.Int64("seed", 0, "of everything random (default 1)"),
	}
}

func (s shared) load(lookup func(string) (string, bool)) (Config, error) {
	c, err := loadConfig(*s.config, lookup)
	if err != nil {
		return c, usageError{err.Error()}
	}
	for _, o := range []struct{ from, to *string }{{s.dataDir, &c.DataDir}, {s.http, &c.HTTP.Listen}, {s.level, &c.Log.Level}} {
		if *o.from != "" {
			*o.to = *o.from
		}
	}
	if *s.seed != 0 {
		c.Seed = *s.seed
	}
	return c, nil
}

func (t *Terminal) logger(level string) (zerolog.Logger, error) {
	l, err := zerolog.ParseLevel(level)
	if err != nil || level == "" {
		return zerolog.Nop(), usageError{fmt.Sprintf("log level %q is not debug, info, warn or error", level)}
	}
	return zerolog.New(zerolog.ConsoleWriter{Out: t.Stderr, NoColor: true, TimeFormat: time.TimeOnly}).Level(l).With().Timestamp().Logger(), nil
}

func (t *Terminal) demo(ctx, abort context.Context, args []string) error {
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	sh := sharedFlags(fs)
	stores := fs.Int("stores", 0, "agents (default 400)")
	speed := fs.Float64("speed", 10, "sales and the profile's clock beside real life")
	dur := fs.Duration("for", 0, "end by itself after this time")
	calm := fs.Bool("calm", false, "cut no links")
	out := fs.String("out", "", "store the result in this `file`")
	asJSON := fs.Bool("json", false, "print the result as JSON; progress goes to stderr")
	if _, err := t.parse(fs, args, 0); err != nil {
		return err
	}
	c, err := sh.load(t.Lookup)
	if err != nil {
		return err
	}
	if *stores != 0 {
		c.Stores = *stores
	}
	log, err := t.logger(c.Log.Level)
	if err != nil {
		return err
	}
	progress := t.Stdout
	if *asJSON {
		progress = t.Stderr
	}
	r, err := Demo(ctx, abort, DemoOptions{
		Stores: c.Stores, Speed: *speed, For: *dur, DataDir: c.DataDir, HTTP: c.HTTP.Listen,
		Seed: uint64(c.Seed), Calm: *calm, Log: log, Out: progress,
	})
	if err != nil {
		return err
	}
	return t.deliver(result{Kind: "demo", Demo: r}, *asJSON, *out, r.OK())
}

func (t *Terminal) replay(ctx, _ context.Context, args []string) error {
	fs := flag.NewFlagSet("replay", flag.ContinueOnError)
	sh := sharedFlags(fs)
	source := fs.String("source", formatAuto, "auto, completejourney, uci or ncr")
	speed := fs.String("speed", "max", "file time beside real time, e.g. 100000, or max")
	outages := fs.Int("outages", 0, "link cuts during the replay")
	dups := fs.Float64("duplicates", 0, "share of documents sent again, e.g. 0.02")
	late := fs.String("late", "", "how late documents reach their agents, in the files' time, "+lateWords)
	order := fs.String("order", orderArrival, "in which documents of a store arrive: arrival (by their time and lateness), reverse, shuffle")
	shuffle := fs.Bool("shuffle", false, "the same as --order shuffle")
	limit := fs.Int("limit", 0, "only the first `n` documents")
	stores := fs.Int("stores", 0, "only the first `n` stores")
	out := fs.String("out", "", "store the result in this `file`")
	asJSON := fs.Bool("json", false, "print the result as JSON; progress goes to stderr")
	files, err := t.parse(fs, args, -1)
	if err != nil {
		return err
	}
	if *shuffle {
		*order = orderShuffle
	}
	var n float64
	if *speed != "max" {
		if n, err = strconv.ParseFloat(*speed, 64); err != nil || n <= 0 {
			return usageError{fmt.Sprintf("--speed %q is neither a number above 0 nor max", *speed)}
		}
	}
	c, err := sh.load(t.Lookup)
	if err != nil {
		return err
	}
	log, err := t.logger(c.Log.Level)
	if err != nil {
		return err
	}
	progress := t.Stdout
	if *asJSON {
		progress = t.Stderr
	}
	r, err := Replay(ctx, ReplayOptions{
		Files: files, Source: *source, Speed: n, Outages: *outages, Duplicates: *dups, Late: *late, Order: *order, Limit: *limit,
		Stores: *stores, DataDir: c.DataDir, HTTP: c.HTTP.Listen, Seed: uint64(c.Seed), Log: log, Out: progress,
	})
	if errors.Is(err, os.ErrNotExist) {
		return usageError{err.Error()}
	}
	if err != nil {
		return err
	}
	return t.deliver(result{Kind: "replay", Replay: r}, *asJSON, *out, r.OK())
}

func (t *Terminal) load(ctx, _ context.Context, args []string) error {
	if len(args) > 0 {
		return usageError{"load takes a job on stdin and no arguments, got " + strings.Join(args, " ")}
	}
	return serveLoad(ctx, t.Stdin, t.Stdout)
}

func (t *Terminal) weigh(_, _ context.Context, args []string) error {
	if len(args) > 0 {
		return usageError{"cells takes a job on stdin and no arguments, got " + strings.Join(args, " ")}
	}
	return serveCells(t.Stdin, t.Stdout)
}

// deliver prints a result, stores it where wanted, and turns the verdict into
// the exit code.
func (t *Terminal) deliver(r result, asJSON bool, file string, ok bool) error {
	if asJSON {
		if err := writeJSON(t.Stdout, r); err != nil {
			return err
		}
	} else {
		r.print(t.Stdout)
	}
	if file != "" {
		if err := r.store(file); err != nil {
			return err
		}
	}
	if !ok {
		return errNotProved
	}
	return nil
}
