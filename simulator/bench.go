package simulator

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
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
	Met   *bool    `json:"met"` // nil: no aim, or not measured
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
	rows  []BenchRow
}

// section is a part that --only names.
type section struct {
	name string
	run  func(b *bench, ctx context.Context) error
}

func sections() []section {
	return []section{
		{"journal", (*bench).journal},
		{"http", (*bench).http},
		{"merge", (*bench).merge},
		{"reads", (*bench).reads},
		{"agent", (*bench).agent},
		{"fleet", (*bench).fleet},
	}
}

const (
	benchReps       = 3
	benchSlice      = time.Second
	benchSliceQuick = 200 * time.Millisecond
)

func (t *Terminal) bench(ctx, _ context.Context, args []string) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	out := fs.String("out", "", "`folder` for DATE.json, DATE.md and latest.json")
	quick := fs.Bool("quick", false, "shorter and coarser: under a minute")
	only := fs.String("only", "", "comma-separated `names`: journal, http, merge, reads, agent, fleet")
	dataDir := fs.String("data-dir", "", "`folder` whose disk is measured (default: the system's temporary one)")
	asJSON := fs.Bool("json", false, "print as JSON")
	if _, err := t.parse(fs, args, 0); err != nil {
		return err
	}
	picked, err := pickSections(*only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(*dataDir, "tillwire-bench-")
	if err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{Terminal: t, dir: dir, reps: benchReps, slice: benchSlice, quick: *quick}
	if *quick {
		b.slice = benchSliceQuick
	}
	began := time.Now()
	for _, s := range picked {
		t.errorf("%s measuring %s …\n", time.Now().Format(time.TimeOnly), s.name)
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("measure %s: %w", s.name, err)
		}
	}
	r := &BenchResult{
		Date: began.UTC().Truncate(time.Second), TookS: time.Since(began).Seconds(), Quick: *quick,
		Version: t.Version + vcs(), Go: runtime.Version(), Machine: thisMachine(dir), Rows: b.rows,
	}
	if *out != "" {
		if err := r.storeIn(*out); err != nil {
			return err
		}
	}
	return t.deliver(result{Kind: "bench", Bench: r}, *asJSON, "", true)
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
			return nil, usageError{fmt.Sprintf("--only %q is not journal, http, merge, reads, agent or fleet", name)}
		}
		out = append(out, all[i])
	}
	return out, nil
}

// measure is one repetition's figure.
type measure func(ctx context.Context) (float64, error)

// beside takes ours and the limits in turns, so that a noisy neighbour meets
// them all, and keeps the ratio of each turn. Several limits: the slowest
// counts, which is the least that the path must cost.
func (b *bench) beside(ctx context.Context, ours measure, limits ...measure) (o, l, ratio Spread, err error) {
	var os, ls, rs []float64
	for range b.reps {
		x, err := ours(ctx)
		if err != nil {
			return o, l, ratio, err
		}
		os = append(os, x)
		least := 0.0
		for _, limit := range limits {
			y, err := limit(ctx)
			if err != nil {
				return o, l, ratio, err
			}
			if least == 0 || y < least {
				least = y
			}
		}
		if least > 0 {
			ls = append(ls, least)
			rs = append(rs, x/least)
		}
	}
	return spread(os), spread(ls), spread(rs), nil
}

// aimRatio fills in aim and verdict of a row whose ratio should reach least.
func (r *BenchRow) aimRatio(least float64) {
	r.Aim = fmt.Sprintf("ratio ≥ %.2f", least)
	met := r.Ratio.Median >= least
	r.Met = &met
}

// aimMost fills in aim and verdict of a figure that should stay below most.
func (r *BenchRow) aimMost(most float64) {
	r.Aim = fmt.Sprintf("≤ %s %s", figure(most), r.Unit)
	met := r.Ours.Median > 0 && r.Ours.Median <= most
	r.Met = &met
}

func (b *bench) row(r BenchRow) { b.rows = append(b.rows, r) }

// vcs is the commit this binary was built from, where Go recorded it.
func vcs() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	out := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			out += " " + s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			out += " (with local changes)"
		}
	}
	return out
}

func thisMachine(dir string) Machine {
	m := Machine{OS: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(), Disk: filepath.Dir(dir)}
	if f, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(f)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m.CPU = strings.TrimSpace(v)
				break
			}
		}
	}
	if f, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(f), "MemTotal: %d kB", &kb); err == nil {
			m.Memory = kb << 10
		}
	}
	return m
}

// storeIn writes DATE.json, DATE.md, and latest.json.
func (r *BenchResult) storeIn(dir string) error {
	base := filepath.Join(dir, r.Date.Format("2006-01-02-1504"))
	res := result{Kind: "bench", Bench: r}
	var md strings.Builder
	r.Print(&md)
	return errors.Join(res.store(base+".json"), res.store(filepath.Join(dir, "latest.json")), writeFile(base+".md", []byte(md.String())))
}

// Print writes one table, in Markdown that reads well as plain text.
func (r *BenchResult) Print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "# Tillwire benchmark, %s\n\n", r.Date.Format("2006-01-02 15:04 MST"))
	_, _ = fmt.Fprintf(w, "%s, %d cores, %s memory, %s, %s; tillwire %s; took %.0f s%s.\n", r.Machine.CPU, r.Machine.Cores, bytesWord(r.Machine.Memory),
		r.Machine.OS, r.Go, r.Version, r.TookS, map[bool]string{true: "; quick, so coarse"}[r.Quick])
	_, _ = fmt.Fprint(w, "Median (least–most) of interleaved repetitions; the ratio is taken within each.\n\n")
	_, _ = fmt.Fprintln(w, "| figure | ours | beside | limit | ratio | aim | met |\n|---|---|---|---|---|---|---|")
	for _, row := range r.Rows {
		limit, ratio, met := "–", "–", "–"
		if row.Limit.N > 0 {
			limit, ratio = row.Limit.word(row.Unit), row.Ratio.word("×")
		}
		if row.Met != nil {
			met = map[bool]string{true: "yes", false: "**no**"}[*row.Met]
		}
		_, _ = fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %s |\n", row.Name, row.Ours.word(row.Unit), row.Of, limit, ratio, row.Aim, met)
	}
	_, _ = fmt.Fprintln(w)
	for _, row := range r.Rows {
		for _, n := range row.Notes {
			_, _ = fmt.Fprintf(w, "- %s: %s\n", row.Name, n)
		}
	}
}

func (s Spread) word(unit string) string {
	if s.N == 0 {
		return "not measured"
	}
	if s.N == 1 {
		return figure(s.Median) + " " + unit
	}
	return fmt.Sprintf("%s %s (%s–%s)", figure(s.Median), unit, figure(s.Min), figure(s.Max))
}

// figure writes three digits that matter.
func figure(x float64) string {
	switch {
	case x >= 100:
		return grouped(int64(x + 0.5))
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	default:
		return fmt.Sprintf("%.2f", x)
	}
}
