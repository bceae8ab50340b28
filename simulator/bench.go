package simulator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// BenchResult is one run: every figure beside its limit, taken on one machine
// in one process's lifetime, repetitions interleaved. Only the ratios compare
// across machines.
type BenchResult struct {
	Date    time.Time  `json:"date"`
	TookS   float64    `json:"took_s"`
	Quick   bool       `json:"quick"`
	Version string     `json:"version"`
	Go      string     `json:"go"`
	Machine Machine    `json:"machine"`
	Rows    []BenchRow `json:"rows"`
	Parts   []string   `json:"parts,omitempty"` // measured; empty: all
}

// Machine is what the figures were taken on.
type Machine struct {
	OS     string `json:"os"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory_bytes"`
	Disk   string `json:"data_folder"`
}

// BenchRow is one figure beside its limit.
type BenchRow struct {
	Name  string   `json:"name"`
	Unit  string   `json:"unit"`
	Ours  Spread   `json:"ours"`
	Limit Spread   `json:"limit"` // Median 0: there is none
	Of    string   `json:"limit_is"`
	Ratio Spread   `json:"ratio"` // per repetition, then the median
	Aim   string   `json:"aim"`
	Met   *bool    `json:"met"`            // nil: no aim, or not measured
	Less  bool     `json:"less,omitempty"` // the smaller, the better
	Notes []string `json:"notes,omitempty"`
}

// Spread is the median of the repetitions, and their ends.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

func spread(xs []float64) Spread {
	if len(xs) == 0 {
		return Spread{}
	}
	s := slices.Clone(xs)
	slices.Sort(s)
	return Spread{Median: s[len(s)/2], Min: s[0], Max: s[len(s)-1], N: len(s)}
}

// bench is one run in the making.
type bench struct {
	*Terminal
	dir   string
	reps  int
	slice time.Duration // of one measurement
	quick bool
	alone bool // ours only: for comparing two builds
	full  bool // growth up to 10⁸ rows
	grown int  // events of one measurement of growth; 0: as many as a run of this kind has
	rows  []BenchRow
}

// section is a part that --only names.
type section struct {
	name, about string
	run         func(b *bench, ctx context.Context) error
}

func sections() []section {
	return []section{
		{"journal", "durable appends beside a preallocated file, SQLite and NATS JetStream", (*bench).journal},
		{"http", "a till's POST to 201 beside bare net/http and the journal", (*bench).http},
		{"frame", "frames packed and unpacked beside bare zstd", (*bench).frame},
		{"link", "journal to aggregator over MQTT beside bare paho to mochi, and mosquitto", (*bench).link},
		{"merge", "frame to durable position beside bare bbolt", (*bench).merge},
		{"reads", "availability, single and of 50 articles, beside Redis GET and MGET", (*bench).reads},
		{"reserve", "durable reservations beside PostgreSQL's conditional UPDATE", (*bench).reserve},
		{"cells", "memory of the read model per cell at 20 million", (*bench).cells},
		{"agent", "sizes of programs, the idle agent, its start with a million events", (*bench).agent},
		{"fleet", "a sale's way to the availability API with 400 stores on the same cores", (*bench).fleet},
		{"drain", "400 stores come back with a day's backlog each", (*bench).drained},
		{"growth", "cost of an event as stores and rows grow", (*bench).growth},
	}
}

func sectionNames() string {
	var names []string
	for _, s := range sections() {
		names = append(names, s.name)
	}
	return strings.Join(names, ", ")
}

const (
	benchReps       = 3
	benchSlice      = time.Second
	benchSliceQuick = 200 * time.Millisecond
)

func (t *Terminal) bench(ctx, _ context.Context, args []string) error {
	b := &bench{Terminal: t, reps: benchReps, slice: benchSlice}
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	out := fs.String("out", "", "`folder` for DATE.json and DATE.md, and of a whole run latest.json")
	fs.BoolVar(&b.quick, "quick", false, "shorter, coarser and smaller: at most three minutes")
	fs.BoolVar(&b.alone, "alone", false, "measure ours only, no limits and no peers")
	fs.BoolVar(&b.full, "full", false, "let the ledger grow to 100 million rows: 20 GB of disk, half an hour")
	only := fs.String("only", "", "comma-separated `names`: "+sectionNames())
	dataDir := fs.String("data-dir", "", "`folder` whose disk is measured (default: the system's temporary one)")
	asJSON := fs.Bool("json", false, "print as JSON")
	if _, err := t.parse(fs, args, 0); err != nil {
		return err
	}
	picked, err := pickSections(*only)
	if err != nil {
		return err
	}
	if b.quick {
		b.slice = benchSliceQuick
	}
	r, err := b.run(ctx, picked, *dataDir)
	if err != nil {
		return err
	}
	if *out != "" {
		if err := r.storeIn(*out, *only == "" && !b.quick && !b.alone); err != nil {
			return err
		}
	}
	return t.deliver(result{Kind: "bench", Bench: r}, *asJSON, "", true)
}

// run measures the parts one after the other, each in a folder that goes with it.
func (b *bench) run(ctx context.Context, picked []section, dataDir string) (r *BenchResult, err error) {
	root, err := os.MkdirTemp(dataDir, "tillwire-bench-")
	if err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	began := time.Now()
	r = &BenchResult{
		Date: began.UTC().Truncate(time.Second), Quick: b.quick, Version: b.Version + vcs(), Go: runtime.Version(), Machine: thisMachine(root),
	}
	for i, s := range picked {
		b.errorf("%s [%d/%d] %s: %s\n", time.Now().Format(time.TimeOnly), i+1, len(picked), s.name, s.about)
		if b.dir = filepath.Join(root, s.name); os.Mkdir(b.dir, 0o700) != nil {
			return nil, fmt.Errorf("make folder %s", b.dir)
		}
		if err := s.run(b, ctx); err != nil {
			return nil, fmt.Errorf("measure %s: %w", s.name, err)
		}
		if err := os.RemoveAll(b.dir); err != nil {
			return nil, fmt.Errorf("clear up after %s: %w", s.name, err)
		}
		r.Parts = append(r.Parts, s.name)
	}
	r.TookS, r.Rows = time.Since(began).Seconds(), b.rows
	return r, nil
}

func pickSections(only string) ([]section, error) {
	all := sections()
	if only == "" {
		return all, nil
	}
	var out []section
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(all, func(s section) bool { return s.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, usageError{fmt.Sprintf("--only %q is not one of %s", name, sectionNames())}
		}
		out = append(out, all[i])
	}
	return out, nil
}

// measure is one repetition's figure.
type measure func(ctx context.Context) (float64, error)

// turns takes all measures in turns, so that a noisy neighbour meets each of
// them, and returns one column per measure. The first is ours; with --alone it
// is the only one, and the other columns are empty.
func (b *bench) turns(ctx context.Context, ms ...measure) ([][]float64, error) {
	cols := make([][]float64, len(ms))
	if b.alone {
		ms = ms[:1]
	}
	for range b.reps {
		for i, m := range ms {
			x, err := m(ctx)
			if err != nil {
				return nil, err
			}
			cols[i] = append(cols[i], x)
		}
	}
	return cols, nil
}

// beside is a row of ours and a limit that were measured in turns; the ratio is
// taken within each turn.
func beside(name, unit string, ours []float64, of string, limit []float64) BenchRow {
	return BenchRow{Name: name, Unit: unit, Ours: spread(ours), Limit: spread(limit), Ratio: spread(combine(ours, limit, func(x, y float64) float64 { return x / y })), Of: of}
}

// combine takes two columns turn by turn.
func combine(xs, ys []float64, fn func(x, y float64) float64) []float64 {
	var out []float64
	for i := range min(len(xs), len(ys)) {
		if ys[i] != 0 {
			out = append(out, fn(xs[i], ys[i]))
		}
	}
	return out
}

// oneAfterTheOther is the rate of two parts that share what limits them: for
// each item the time of both.
func oneAfterTheOther(a, b float64) float64 { return 1 / (1/a + 1/b) }

// aimRatio fills in aim and verdict of a row whose ratio should reach least.
func (r *BenchRow) aimRatio(least float64) {
	r.Aim = fmt.Sprintf("ratio ≥ %.2f", least)
	if r.Ratio.N > 0 {
		met := r.Ratio.Median >= least
		r.Met = &met
	}
}

// aimMost fills in aim and verdict of a figure that should stay below most.
func (r *BenchRow) aimMost(most float64) {
	r.Aim, r.Less = fmt.Sprintf("≤ %s %s", figure(most), r.Unit), true
	if r.Ours.N > 0 {
		met := r.Ours.Median <= most
		r.Met = &met
	}
}

func (r *BenchRow) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// row takes a finished row, and tells whoever waits.
func (b *bench) row(r BenchRow) {
	b.rows = append(b.rows, r)
	b.errorf("         %s: %s", r.Name, r.Ours.word(r.Unit))
	if r.Ratio.N > 0 {
		b.errorf(", %s", r.Ratio.word("×"))
	}
	b.errorf("\n")
}

// absent says which peer could not be asked, and why. With --alone nobody is.
func (b *bench) absent(r BenchRow, err error) {
	if b.alone {
		return
	}
	r.note("not measured: %v", err)
	b.row(r)
}
