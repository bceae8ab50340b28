package simulator

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
)

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

// storeIn writes DATE.json and DATE.md, and latest.json where the run was whole.
func (r *BenchResult) storeIn(dir string, whole bool) error {
	base := filepath.Join(dir, r.Date.Format("2006-01-02-1504"))
	res := result{Kind: "bench", Bench: r}
	var md strings.Builder
	r.Print(&md)
	err := errors.Join(res.store(base+".json"), writeFile(base+".md", []byte(md.String())))
	if whole {
		err = errors.Join(err, res.store(filepath.Join(dir, "latest.json")))
	}
	return err
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
