package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"tillwire/protocol"
)

// Usage is the command's arguments, for help texts.
const Usage = "[--seeds N] [--minutes M] [--plant NAME|all] [--report FILE.html] [--results DIR] | --seed N [--stores N] [--days N] [--faults LIST] [--only LIST]"

// errBroken is a run that broke a promise.
var errBroken = errors.New("a promise was broken")

// flags are the command line.
type flags struct {
	seeds, first   uint64
	minutes        float64
	workers        int
	report         string
	results        string
	seed           uint64
	stores, days   int
	faults, only   string
	trace, hunting bool
	plant          string
	source         string
}

func parse(args []string, stderr io.Writer) (*flags, error) {
	f := &flags{}
	set := flag.NewFlagSet("chaos", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Uint64Var(&f.seeds, "seeds", 0, "how many seeds; 0 with --minutes: as many as the time allows; else 400")
	set.Uint64Var(&f.first, "first", 1, "the first seed")
	set.Float64Var(&f.minutes, "minutes", 0, "longest time; 0: none")
	set.IntVar(&f.workers, "workers", runtime.GOMAXPROCS(0), "runs at a time")
	set.StringVar(&f.report, "report", "", "write what was run and found as one page of HTML to this `file`, and the same as JSON beside it")
	set.StringVar(&f.results, "results", os.Getenv("TILLWIRE_RESULTS"), "with --report: `folder` of rows that crash --results and experiment drain --out stored")
	set.Uint64Var(&f.seed, "seed", 0, "run one seed and print its trace")
	set.IntVar(&f.stores, "stores", 0, "with --seed: fewer stores")
	set.IntVar(&f.days, "days", 0, "with --seed: fewer days")
	set.StringVar(&f.faults, "faults", "", "with --seed: only these `kinds`, joined by commas: "+AllFaults.String())
	set.StringVar(&f.only, "only", "", "with --seed: only the blows of these `numbers`")
	set.BoolVar(&f.trace, "trace", false, "with --seed: print all of the trace")
	set.BoolVar(&f.hunting, "first-failure", false, "stop at the first failure and print it as JSON")
	set.StringVar(&f.plant, "plant", "", "plant the known bug of this `name`, or all in turn, into copies of the sources, and prove that the simulation finds it; needs Go")
	set.StringVar(&f.source, "source", ".", "with --plant: the repository's `folder`")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("argument %q is not expected", set.Arg(0))
	}
	if f.seeds == 0 && f.minutes == 0 {
		f.seeds = 400
	}
	return f, nil
}

// Command runs seeds as a command line asks for. Its error says that a promise was
// broken, or that a planted bug was not found. known are the campaigns that break
// real programs: their rows come from the folder of results.
func Command(ctx context.Context, args []string, known []Crash, stdout, stderr io.Writer) error {
	f, err := parse(args, stderr)
	if err != nil {
		return err
	}
	// Runs live for a fraction of a second: collecting seldom makes them twice as fast.
	defer debug.SetGCPercent(debug.SetGCPercent(gcPercent))
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(memoryMax))
	codec, err := protocol.NewFrameCodec()
	if err != nil {
		return err
	}
	switch {
	case f.seed != 0:
		return f.one(codec, stdout)
	case f.hunting:
		return f.hunt(ctx, codec, stdout)
	}
	page := newPage(known)
	if f.plant != "" {
		if err := f.planted(ctx, page, stdout); err != nil {
			return err
		}
	}
	if f.plant == "" || f.report != "" {
		c := Campaign{First: f.first, Seeds: f.seeds, For: time.Duration(f.minutes * float64(time.Minute)), Workers: f.workers}
		c.Progress = func(r *Result) { _, _ = fmt.Fprintln(stderr, "chaos: "+r.Line()) }
		page.Simulation = c.Run(ctx, codec)
		_, _ = fmt.Fprintln(stdout, page.Simulation.Line())
	}
	if err := page.Finish(f.report, f.results); err != nil {
		return err
	}
	return page.verdict(stdout)
}

// planted plants one bug or all of them.
func (f *flags) planted(ctx context.Context, page *Page, stdout io.Writer) (err error) {
	p := Planting{Source: f.source, Workers: f.workers, Log: stdout}
	if f.plant != "all" {
		if !slices.Contains(bugs(), f.plant) {
			return fmt.Errorf("plant %q: no such bug; there are all, %s", f.plant, strings.Join(bugs(), ", "))
		}
		p.Bugs = []string{f.plant}
	}
	page.Planted, err = Plant(ctx, p)
	return err
}

// verdict prints what failed.
func (p *Page) verdict(stdout io.Writer) error {
	var failed []string
	if p.Simulation != nil {
		for _, x := range p.Simulation.Failures {
			failed = append(failed, "seed "+strconv.FormatUint(x.Seed, 10))
			_, _ = fmt.Fprintf(stdout, "\n%s\nrepeat: %s\n", x.What, x.Command)
			for _, line := range x.Trace {
				_, _ = fmt.Fprintln(stdout, "  "+line)
			}
		}
	}
	for _, x := range p.Planted {
		if !x.Found {
			failed = append(failed, "planted bug "+x.Name+" was not found")
		}
	}
	if failed != nil {
		return fmt.Errorf("%w: %s", errBroken, strings.Join(failed, ", "))
	}
	return nil
}

// one repeats a case.
func (f *flags) one(codec *protocol.FrameCodec, stdout io.Writer) error {
	c := NewCase(f.seed)
	if f.stores > 0 {
		c.Stores = min(f.stores, storesMax)
	}
	if f.days > 0 {
		c.Days = min(f.days, daysMax)
	}
	if f.faults != "" {
		kinds, err := ParseFaults(f.faults)
		if err != nil {
			return err
		}
		c.Faults = kinds
	}
	if f.only == "none" {
		c.Only = []int{}
	} else if f.only != "" {
		for n := range strings.SplitSeq(f.only, ",") {
			no, err := strconv.Atoi(n)
			if err != nil {
				return fmt.Errorf("read --only: %w", err)
			}
			c.Only = append(c.Only, no)
		}
	}
	o := Run(c.settle(), codec, true)
	if o.Broken != nil && f.only == "" {
		o = Shrink(o, codec)
	}
	lines := o.Trace
	if !f.trace {
		lines = lines[max(0, len(lines)-traceMax):]
	}
	for _, line := range lines {
		_, _ = fmt.Fprintln(stdout, line)
	}
	if o.Broken != nil {
		return fmt.Errorf("%w: %w\nrepeat: %s", errBroken, o.Broken, o.Case.Command())
	}
	_, _ = fmt.Fprintf(stdout, "kept: %d documents acknowledged, %d faults struck, agreed %.1f s after the last\n", o.Counts.Acked, o.Counts.Blows, float64(o.HealedUS)/1e6)
	return nil
}

// hunt runs seeds until one fails, for whoever planted a bug.
func (f *flags) hunt(ctx context.Context, codec *protocol.FrameCodec, stdout io.Writer) error {
	began, days := time.Now(), 0
	for seed := f.first; f.seeds == 0 || seed < f.first+f.seeds; seed++ {
		if ctx.Err() != nil || f.minutes > 0 && time.Since(began).Minutes() > f.minutes {
			break
		}
		o := Run(NewCase(seed), codec, false)
		days += o.Case.StoreDays()
		if o.Broken != nil {
			return sighting{Found: true, Seed: seed, Seconds: time.Since(began).Seconds(), StoreDays: days, What: o.Broken.Error()}.encode(stdout)
		}
	}
	return sighting{Seconds: time.Since(began).Seconds(), StoreDays: days}.encode(stdout)
}
