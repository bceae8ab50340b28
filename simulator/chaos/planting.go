package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Planting says which bugs to plant, and where the sources are.
type Planting struct {
	Source  string
	Bugs    []string // nil: all
	Workers int
	Race    bool // build as the race detector's tests are built
	Log     io.Writer
}

// plantedWithin is how long the simulation may look for one bug.
const plantedWithin = time.Minute

// Planted is what became of one bug.
type Planted struct {
	Name  string   `json:"name"`
	Files []string `json:"files"`
	sighting
}

type sighting struct {
	Found     bool    `json:"found"`
	Seed      uint64  `json:"seed,omitempty"`
	Seconds   float64 `json:"seconds"`
	StoreDays int     `json:"store_days"`
	What      string  `json:"what,omitempty"`
}

func (s sighting) encode(w io.Writer) error { return json.NewEncoder(w).Encode(s) }

// bugs lists the names in the order of the table.
func bugs() []string {
	var names []string
	for _, p := range plants {
		if !slices.Contains(names, p.bug) {
			names = append(names, p.bug)
		}
	}
	return names
}

// Plant builds one program that holds every bug behind a switch, and lets it hunt
// for each in turn.
func Plant(ctx context.Context, p Planting) ([]Planted, error) {
	dir, err := os.MkdirTemp("", "tillwire-planted-")
	if err != nil {
		return nil, fmt.Errorf("plant bugs: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // the system's temporary folder
	bin := filepath.Join(dir, "planted.exe")
	if err := p.build(ctx, dir, bin); err != nil {
		return nil, fmt.Errorf("plant bugs: %w", err)
	}
	names := bugs()
	if p.Bugs != nil {
		names = p.Bugs
	}
	if clean, err := hunt(ctx, bin, "", 1, 2*time.Second); err != nil || clean.Found {
		return nil, fmt.Errorf("plant bugs: the program fails with none switched on: %s: %w", clean.What, err)
	}
	out := make([]Planted, len(names))
	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	todo := make(chan int, len(names))
	for i := range names {
		todo <- i
	}
	close(todo)
	for range max(p.Workers, 1) {
		wg.Go(func() {
			for i := range todo {
				s, err := p.hunt(ctx, bin, names[i])
				mu.Lock()
				failed = errors.Join(failed, err)
				out[i] = Planted{Name: names[i], Files: filesOf(names[i]), sighting: s}
				if p.Log != nil {
					_, _ = fmt.Fprintf(p.Log, "planted: %-36s found %-5v %6.2f s %6d store-days  %s\n", names[i], s.Found, s.Seconds, s.StoreDays, s.What)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return out, failed
}

func filesOf(bug string) (files []string) {
	for _, p := range plants {
		if p.bug == bug && !slices.Contains(files, p.file) {
			files = append(files, p.file)
		}
	}
	return files
}

// hunt looks for a bug, and makes sure that it is the bug that was seen: the seed
// that fails with it must pass without.
func (p Planting) hunt(ctx context.Context, bin, bug string) (sighting, error) {
	began, days := time.Now(), 0
	for first := uint64(1); ; {
		s, err := hunt(ctx, bin, bug, first, plantedWithin-time.Since(began))
		days += s.StoreDays
		s.StoreDays, s.Seconds = days, time.Since(began).Seconds()
		if err != nil || !s.Found || s.Seed == 0 {
			return s, err
		}
		clean, err := hunt(ctx, bin, "", s.Seed, time.Millisecond)
		if err != nil || !clean.Found || clean.Seed != s.Seed {
			return s, err
		}
		first = s.Seed + 1
	}
}

// hunt lets the program look for a bug. A program that dies of its bug, by a panic,
// has found it too.
func hunt(ctx context.Context, bin, bug string, first uint64, within time.Duration) (sighting, error) {
	ctx, cancel := context.WithTimeout(ctx, within+30*time.Second)
	defer cancel()
	began := time.Now()
	cmd := exec.CommandContext(ctx, bin, "--first-failure", "--first", strconv.FormatUint(first, 10), "--minutes", fmt.Sprint(within.Minutes())) //nolint:gosec // what was built a moment ago
	cmd.Env = append(os.Environ(), "TILLWIRE_PLANTED="+bug)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var s sighting
	if json.Unmarshal(stdout.Bytes(), &s) == nil {
		return s, nil
	}
	if line, _, ok := strings.Cut(stderr.String(), "\n"); ok && bug != "" && (strings.HasPrefix(line, "panic:") || ctx.Err() != nil) {
		return sighting{Found: true, Seconds: time.Since(began).Seconds(), What: line}, nil
	}
	return s, fmt.Errorf("hunt %s: %w: %s", bug, err, stderr.String())
}

const plantedSwitch = `package %s

import "os"

var plantedBug = os.Getenv("TILLWIRE_PLANTED")

func planted(name string) bool { return plantedBug == name }
`

const plantedMain = `package main

import (
	"context"
	"fmt"
	"os"

	"tillwire/simulator/chaos"
)

func main() {
	if err := chaos.Command(context.Background(), os.Args[1:], nil, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`

// edited is a source file with all its edits. Each must still fit: a table that no
// longer speaks of the code as it is proves nothing.
func edited(file, text string) (string, error) {
	for _, p := range plants {
		if p.file != file {
			continue
		}
		if n := strings.Count(text, p.old); n != 1 {
			return "", fmt.Errorf("%s in %s: its text stands there %d times", p.bug, file, n)
		}
		text = strings.Replace(text, p.old, p.new, 1)
	}
	return text, nil
}

// build compiles the sources with the edited copies laid over them.
func (p Planting) build(ctx context.Context, dir, bin string) error {
	root, err := filepath.Abs(p.Source)
	if err != nil {
		return err
	}
	over := struct{ Replace map[string]string }{map[string]string{}}
	put := func(file, text string) error {
		at := filepath.Join(dir, fmt.Sprintf("%d-%s", len(over.Replace), path.Base(file)))
		over.Replace[filepath.Join(root, filepath.FromSlash(file))] = at
		return os.WriteFile(at, []byte(text), 0o600)
	}
	done := map[string]bool{}
	for _, x := range plants {
		if done[x.file] {
			continue
		}
		done[x.file] = true
		b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(x.file))) //nolint:gosec // of the repository named
		if err != nil {
			return err
		}
		text, err := edited(x.file, string(b))
		if err != nil {
			return err
		}
		if err := put(x.file, text); err != nil {
			return err
		}
		if room := path.Dir(x.file); !done[room] {
			done[room] = true
			if err := put(room+"/planted_switch.go", fmt.Sprintf(plantedSwitch, path.Base(room))); err != nil {
				return err
			}
		}
	}
	if err := put("simulator/chaos/planted/main.go", plantedMain); err != nil {
		return err
	}
	b, err := json.Marshal(over)
	if err != nil {
		return err
	}
	overlay := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlay, b, 0o600); err != nil {
		return err
	}
	args := []string{"build", "-buildvcs=false", "-overlay", overlay, "-o", bin}
	if p.Race {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "./simulator/chaos/planted")...) //nolint:gosec // the Go tool
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
