package chaos

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Page is the report: what was broken, on purpose, and what it cost. What was not
// run is nil and says so; it is never a zero.
type Page struct {
	Title      string    `json:"title"`
	MadeAt     time.Time `json:"made_at"`
	Machine    string    `json:"machine"`
	Simulation *Result   `json:"simulation,omitempty"`
	Planted    []Planted `json:"planted,omitempty"`
	Crashes    []Crash   `json:"crashes"`
	Drains     []Drain   `json:"drains,omitempty"`
}

// Crash is the row of one campaign that breaks real programs, as `crash --results`
// stores it.
type Crash struct {
	Campaign   string `json:"campaign"`
	About      string `json:"about,omitempty"`
	Cycles     int    `json:"cycles"`
	Acked      uint64 `json:"acked"`
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	RecoveryMS struct {
		P50 float64 `json:"p50"`
		P99 float64 `json:"p99"`
		Max float64 `json:"max"`
	} `json:"recovery_ms"`
	Note    string  `json:"note,omitempty"`
	Skipped bool    `json:"skipped,omitempty"`
	TookS   float64 `json:"took_s"`
	Ran     bool    `json:"ran"`
}

// Drain is a chain that came back at once, as `experiment drain --out` stores it.
type Drain struct {
	Stores     int     `json:"stores"`
	Documents  int     `json:"documents_per_store"`
	Journaled  uint64  `json:"journaled"`
	Lost       uint64  `json:"lost"`
	Duplicated uint64  `json:"duplicated"`
	Diverged   uint64  `json:"diverged"`
	Drained    bool    `json:"drained"`
	RightP99S  float64 `json:"right_p99_s"`
	AllS       float64 `json:"all_drained_s"`
	EventsPerS float64 `json:"events_per_s"`
	HeadHeap   uint64  `json:"aggregator_heap_peak_bytes"`
}

func newPage(known []Crash) *Page {
	return &Page{
		Title: "Tillwire: what was broken on purpose, and what came of it", MadeAt: time.Now().UTC().Truncate(time.Second),
		Machine: fmt.Sprintf("%s/%s, %d CPUs, %s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()), Crashes: known,
	}
}

// rowBytesMax is more than any row has; other files are not read whole.
const rowBytesMax = 1 << 20

// gather reads the rows that other commands stored in a folder; "" has none.
func (p *Page) gather(dir string) error {
	if dir == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return fmt.Errorf("read rows: %w", err)
	}
	slices.Sort(files)
	for _, file := range files {
		if st, err := os.Stat(file); err != nil || st.Size() > rowBytesMax {
			continue
		}
		b, err := os.ReadFile(file) //nolint:gosec // of the folder named
		if err != nil {
			return fmt.Errorf("read rows: %w", err)
		}
		if strings.HasPrefix(filepath.Base(file), "drain-") {
			var d Drain
			if err := json.Unmarshal(b, &d); err != nil {
				return fmt.Errorf("read row %s: %w", file, err)
			}
			p.Drains = append(p.Drains, d)
			continue
		}
		var c Crash
		if json.Unmarshal(b, &c) != nil || c.Campaign == "" {
			continue // another command's
		}
		if i := slices.IndexFunc(p.Crashes, func(k Crash) bool { return k.Campaign == c.Campaign }); i >= 0 {
			c.About, c.Ran = p.Crashes[i].About, !c.Skipped
			p.Crashes[i] = c
		}
	}
	return nil
}

// Finish writes the page, and the same as JSON beside it; "" writes none.
func (p *Page) Finish(file, results string) error {
	if file == "" {
		return nil
	}
	if err := p.gather(results); err != nil {
		return err
	}
	html, err := p.html()
	if err != nil {
		return err
	}
	j, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // a report is for everybody
		return fmt.Errorf("write report: %w", err)
	}
	beside := strings.TrimSuffix(file, filepath.Ext(file)) + ".json"
	return errors.Join(os.WriteFile(file, html, 0o644), os.WriteFile(beside, append(j, '\n'), 0o644)) //nolint:gosec // as above
}

//go:embed report.html
var reportHTML string

var reportPage = template.Must(template.New("report").Funcs(template.FuncMap{
	"n": grouped, "ms": milliseconds, "f1": func(v float64) string { return fmt.Sprintf("%.1f", v) }, "mib": func(v uint64) uint64 { return v >> 20 },
	"bar": bar, "days": func(d int) string { return grouped(uint64(max(d, 0))) }, "i": func(n int) string { return grouped(uint64(max(n, 0))) },
}).Parse(reportHTML))

func (p *Page) html() ([]byte, error) {
	var b bytes.Buffer
	if err := reportPage.Execute(&b, p); err != nil {
		return nil, fmt.Errorf("write report: %w", err)
	}
	return b.Bytes(), nil
}

// Headline says it all in a sentence.
func (p *Page) Headline() string {
	var broken []string
	add := func(n int, one, many string) {
		switch {
		case n == 1:
			broken = append(broken, "1 "+one)
		case n > 1:
			broken = append(broken, fmt.Sprintf("%d %s", n, many))
		}
	}
	if p.Simulation != nil {
		add(len(p.Simulation.Failures), "seed of the simulation broke a promise", "seeds of the simulation broke promises")
	}
	add(len(p.Planted)-p.Found(), "planted bug was not found", "planted bugs were not found")
	crashes, drains := 0, 0
	for i := range p.Crashes {
		if c := &p.Crashes[i]; c.Lost > 0 || c.Duplicated > 0 {
			crashes++
		}
	}
	for i := range p.Drains {
		if !p.Drains[i].OK() {
			drains++
		}
	}
	add(crashes, "crash campaign lost or doubled documents", "crash campaigns lost or doubled documents")
	add(drains, "drain did not end right", "drains did not end right")
	switch {
	case broken != nil:
		return strings.Join(broken, "; ") + "."
	case p.Simulation == nil && p.Planted == nil && p.CrashesRun() == 0 && p.Drains == nil:
		return "Nothing was run."
	}
	return "Every promise was kept, in all that was run."
}

// OK says whether nothing failed.
func (p *Page) OK() bool {
	return strings.HasPrefix(p.Headline(), "Every promise")
}

// Found counts the planted bugs that were.
func (p *Page) Found() (n int) {
	for i := range p.Planted {
		if p.Planted[i].Found {
			n++
		}
	}
	return n
}

// CrashesRun counts the campaigns that ran, CrashCycles their faults.
func (p *Page) CrashesRun() (n int) {
	for i := range p.Crashes {
		if p.Crashes[i].Ran {
			n++
		}
	}
	return n
}

// CrashCycles are the faults of all campaigns that ran.
func (p *Page) CrashCycles() (n int) {
	for i := range p.Crashes {
		if p.Crashes[i].Ran {
			n += p.Crashes[i].Cycles
		}
	}
	return n
}

// OK says whether the chain came back whole.
func (d *Drain) OK() bool { return d.Drained && d.Lost+d.Duplicated+d.Diverged == 0 }

// Promise is one line of the table of promises.
type Promise struct{ Letter, Text string }

// Promises are what every run is judged by; the letters stand in its README.
func (p *Page) Promises() []Promise {
	return []Promise{
		{"A", "What a till was told is kept stands in the ledger; what a store is told is merged is on the ledger's disk."},
		{"B", "It stands there once."},
		{"D", "Every position is the shelf's, also when the ledger is folded anew from its checkpoint and from its first entry."},
		{"E", "Queues, windows and messages under way are bounded."},
		{"F", "Forty minutes after the last fault nothing waits."},
		{"P", "Rules of the protocol: nothing is trimmed that the newest backup does not hold; an id with another body is refused."},
	}
}

// FaultRow is one kind of fault of the simulation.
type FaultRow struct {
	Name string
	Fate
}

// FaultRows are the kinds in their order; those that never struck are absent.
func (r *Result) FaultRows() []FaultRow {
	var rows []FaultRow
	for _, name := range faultNames {
		if f, ok := r.Faults[name]; ok {
			rows = append(rows, FaultRow{name, f})
		}
	}
	return rows
}

// PlantedRows are the bugs, those not found first, then by the time it took.
func (p *Page) PlantedRows() []Planted {
	rows := slices.Clone(p.Planted)
	slices.SortStableFunc(rows, func(a, b Planted) int {
		switch {
		case a.Found != b.Found && !a.Found:
			return -1
		case a.Found != b.Found:
			return 1
		}
		return int(math.Copysign(1, a.Seconds-b.Seconds))
	})
	return rows
}

// Catchers says how many bugs each promise caught.
func (p *Page) Catchers() string {
	by := map[string]int{}
	for i := range p.Planted {
		if letter, _, ok := strings.Cut(p.Planted[i].What, " at "); ok && p.Planted[i].Found && len(letter) == 1 {
			by[letter]++
		}
	}
	var out []string
	for _, l := range slices.Sorted(maps.Keys(by)) {
		out = append(out, fmt.Sprintf("%s caught %d", l, by[l]))
	}
	return strings.Join(out, ", ")
}

// bar is the width of a time on a logarithmic scale from 1 ms to eight hours, in percent.
func bar(ms float64) string {
	return fmt.Sprintf("%.0f", 100*min(max(math.Log10(max(ms, 1))/math.Log10(2.88e7), 0.01), 1))
}

func milliseconds(ms float64) string {
	switch {
	case ms <= 0:
		return "0"
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", max(ms, 1))
	case ms < 120_000:
		return fmt.Sprintf("%.1f s", ms/1000)
	}
	return fmt.Sprintf("%.0f min", ms/60_000)
}

// grouped writes thousands apart.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
