package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Compared is two builds side by side, on one machine in one run, in turns.
type Compared struct {
	Date    time.Time `json:"date"`
	TookS   float64   `json:"took_s"`
	Old     string    `json:"old"`
	New     string    `json:"new"`
	Turns   int       `json:"turns"`
	Machine Machine   `json:"machine"`
	Rows    []Change  `json:"rows"`
}

// Change is one figure of both builds.
type Change struct {
	Name    string  `json:"name"`
	Unit    string  `json:"unit"`
	Old     Spread  `json:"old"`
	New     Spread  `json:"new"`
	Delta   float64 `json:"delta"` // of the medians; 0.1: the new one is 10 % larger
	P       float64 `json:"p"`     // that chance alone separates them so far
	Verdict string  `json:"verdict"`
}

// Verdicts on a change.
const (
	changeBetter = "better"
	changeWorse  = "worse"
	changeNoise  = "noise"
	changeSame   = "same"
	changeOnly   = "only in one"
	changeFew    = "too few turns"
)

const (
	compareTurns    = 6 // four a side are the least from which p < 0.05 can come
	compareTurnsMax = 100
	compareP        = 0.05
)

func (t *Terminal) compare(ctx, _ context.Context, args []string) error {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	only := fs.String("only", "", "comma-separated `names` of the bench's parts; default: all that both know")
	turns := fs.Int("turns", compareTurns, "times that each build is measured")
	quick := fs.Bool("quick", false, "shorter and coarser")
	out := fs.String("out", "", "`folder` for compare-DATE.json and .md")
	asJSON := fs.Bool("json", false, "print as JSON")
	dirs, err := t.parse(fs, args, 2)
	if err != nil {
		return err
	}
	if *turns < 1 || *turns > compareTurnsMax {
		return usageError{fmt.Sprintf("--turns %d is not between 1 and %d", *turns, compareTurnsMax)}
	}
	if _, err := pickSections(*only); err != nil {
		return err
	}
	began := time.Now()
	var sides [2]*side
	for i, dir := range dirs {
		if sides[i], err = newSide(ctx, dir, *only, *quick); err != nil {
			return err
		}
	}
	for n := range *turns {
		order := []int{0, 1}
		if n%2 == 1 { // whoever comes second meets a warmer machine: change places
			order = []int{1, 0}
		}
		for _, i := range order {
			t.errorf("%s turn %d of %d: %s\n", time.Now().Format(time.TimeOnly), n+1, *turns, sides[i].dir)
			if err := sides[i].measure(ctx); err != nil {
				return err
			}
		}
	}
	c := compareSides(sides[0], sides[1])
	c.Date, c.TookS, c.Turns, c.Machine = began.UTC().Truncate(time.Second), time.Since(began).Seconds(), *turns, thisMachine(os.TempDir()+"/x")
	if *out != "" {
		var md strings.Builder
		c.Print(&md)
		base := filepath.Join(*out, "compare-"+c.Date.Format("2006-01-02-1504"))
		if err := errors.Join((&result{Kind: "compare", Compared: c}).store(base+".json"), writeFile(base+".md", []byte(md.String()))); err != nil {
			return err
		}
	}
	return t.deliver(result{Kind: "compare", Compared: c}, *asJSON, "", true)
}

// side is one build, and what its bench told in every turn.
type side struct {
	dir, version string
	args         []string
	names        []string // of rows, in the order of the bench
	units        map[string]string
	less         map[string]bool
	values       map[string][]float64
}

// newSide looks whether a build can be measured. One from before --alone measures
// its limits too, which takes longer and changes nothing.
func newSide(ctx context.Context, dir, only string, quick bool) (*side, error) {
	program, err := filepath.Abs(filepath.Join(dir, "tillwire-simulator"))
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(program); err != nil {
		return nil, usageError{fmt.Sprintf("%s holds no tillwire-simulator; name the bin folders of two builds", dir)}
	}
	s := &side{dir: dir, units: map[string]string{}, less: map[string]bool{}, values: map[string][]float64{}}
	version, err := exec.CommandContext(ctx, program, "version").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	s.version = strings.TrimPrefix(strings.TrimSpace(string(version)), "tillwire-simulator ")
	help, err := exec.CommandContext(ctx, program, "bench", "--help").Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for the flags of its bench: %w", program, err)
	}
	s.args = []string{program, "bench", "--json"}
	if bytes.Contains(help, []byte("-alone")) {
		s.args = append(s.args, "--alone")
	}
	if quick {
		s.args = append(s.args, "--quick")
	}
	if only != "" {
		s.args = append(s.args, "--only", only)
	}
	return s, nil
}

// measure runs the build's bench once. Its programs stand beside it.
func (s *side) measure(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, s.args[0], s.args[1:]...) //nolint:gosec // a build of ours
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run bench of %s: %w: %s", s.dir, err, tail(msg.String()))
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return fmt.Errorf("read bench of %s: %w", s.dir, err)
	}
	if r.Bench == nil {
		return fmt.Errorf("read bench of %s: no bench is in it", s.dir)
	}
	for _, row := range r.Bench.Rows {
		if row.Ours.N == 0 {
			continue
		}
		if _, known := s.units[row.Name]; !known {
			s.names = append(s.names, row.Name)
		}
		s.units[row.Name], s.less[row.Name] = row.Unit, row.Less || lessUnit(row.Unit)
		s.values[row.Name] = append(s.values[row.Name], row.Ours.Median)
	}
	return nil
}

// tail is the end of what a program said.
func tail(s string) string {
	const bytesMax = 600
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-bytesMax):]
}

// lessUnit tells units of which less is better, for builds whose rows do not.
func lessUnit(unit string) bool { return !strings.HasSuffix(unit, "/s") }

// compareSides judges every figure that both builds measured, and names the others.
func compareSides(a, b *side) *Compared {
	c := &Compared{Old: a.version, New: b.version}
	for _, name := range a.names {
		old, now := a.values[name], b.values[name]
		ch := Change{Name: name, Unit: a.units[name], Old: spread(old), New: spread(now), P: 1}
		if len(now) == 0 {
			ch.Verdict = changeOnly
		} else {
			ch.judge(old, now, b.less[name])
		}
		c.Rows = append(c.Rows, ch)
	}
	for _, name := range b.names {
		if len(a.values[name]) == 0 {
			c.Rows = append(c.Rows, Change{Name: name, Unit: b.units[name], New: spread(b.values[name]), P: 1, Verdict: changeOnly})
		}
	}
	return c
}

func (c *Change) judge(old, now []float64, less bool) {
	if c.Old.Median != 0 {
		c.Delta = c.New.Median/c.Old.Median - 1
	}
	c.P = rankP(old, now)
	switch {
	case c.Old == c.New && c.Old.Min == c.Old.Max:
		c.Verdict = changeSame
	case len(old) < 4 || len(now) < 4:
		c.Verdict = changeFew
	case c.P >= compareP:
		c.Verdict = changeNoise
	case (c.Delta > 0) == less:
		c.Verdict = changeWorse
	default:
		c.Verdict = changeBetter
	}
}

// rankP is the exact two-sided p of the Mann-Whitney U test: of all the ways to
// deal these values to two hands, the share that separates them at least as far.
// Ties count half. The number of ways is bounded by counting, not by listing:
// ways[k][u] is how many hands of k have u.
func rankP(xs, ys []float64) float64 {
	n, m := len(xs), len(ys)
	if n == 0 || m == 0 {
		return 1
	}
	twice := 0 // of U, so that ties stay whole numbers
	for _, x := range xs {
		for _, y := range ys {
			switch {
			case x > y:
				twice += 2
			case x == y:
				twice++
			}
		}
	}
	far := math.Abs(float64(twice)/2 - float64(n*m)/2)
	ways := uWays(n, m)
	var all, as float64
	for u, w := range ways {
		all += w
		if math.Abs(float64(u)-float64(n*m)/2) >= far-1e-9 {
			as += w
		}
	}
	return as / all
}

// uWays counts for each U in how many ways n of n+m ranks give it: the
// coefficients of the Gaussian binomial, built one factor at a time.
func uWays(n, m int) []float64 {
	ways := make([]float64, n*m+1)
	ways[0] = 1
	for i := 1; i <= n; i++ {
		for u := n * m; u >= m+i; u-- { // times 1 − q^(m+i)
			ways[u] -= ways[u-m-i]
		}
		for u := i; u <= n*m; u++ { // divided by 1 − q^i
			ways[u] += ways[u-i]
		}
	}
	return ways
}

// Print writes the comparison as a table.
func (c *Compared) Print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "# Two builds side by side, %s\n\n", c.Date.Format("2006-01-02 15:04 MST"))
	_, _ = fmt.Fprintf(w, "old %s, new %s; %s, %d cores; each measured %d times, in turns; took %.0f s.\n", c.Old, c.New, c.Machine.CPU, c.Machine.Cores, c.Turns, c.TookS)
	_, _ = fmt.Fprintf(w, "Median (least–most). p: Mann-Whitney U, two-sided; noise: p ≥ %s.\n\n", strconv.FormatFloat(compareP, 'g', -1, 64))
	_, _ = fmt.Fprintln(w, "| figure | old | new | change | p | verdict |\n|---|---|---|---|---|---|")
	for _, r := range c.Rows {
		delta, p, verdict := "–", "–", r.Verdict
		if r.Verdict != changeOnly {
			delta, p = fmt.Sprintf("%+.1f %%", r.Delta*100), fmt.Sprintf("%.3f", r.P)
		}
		if verdict == changeWorse || verdict == changeBetter {
			verdict = "**" + verdict + "**"
		}
		_, _ = fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s |\n", r.Name, r.Old.word(r.Unit), r.New.word(r.Unit), delta, p, verdict)
	}
}
