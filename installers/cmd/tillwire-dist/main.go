// Command tillwire-dist makes what a release consists of: programs for every
// platform, packages, manual pages and completions, a list of parts and checksums.
// It promises the same bytes for the same sources, whatever the folder and the
// time, as long as nothing is signed. `make dist` calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// programs in the order of a sale.
var programs = []string{"agent", "aggregator", "simulator"}

// targets are where a store, a chain or a developer may run us.
var targets = []target{
	{"linux", "amd64"},
	{"linux", "arm64"},
	{"windows", "amd64"},
	{"windows", "arm64"},
	{"darwin", "amd64"},
	{"darwin", "arm64"},
}

type target struct{ os, arch string }

func (t target) String() string { return t.os + "/" + t.arch }

// program is the name of a program's file.
func (t target) program(name string) string {
	if t.os == "windows" {
		return "tillwire-" + name + ".exe"
	}
	return "tillwire-" + name
}

// dist is one run.
type dist struct {
	root, out string
	stage     string // work in progress, in out, removed at the end
	version   string // as programs print it
	numbers   string // as packages want it: digits and dots
	at        time.Time
	targets   []target
	nfpm      string
	sign      string
	draft     bool // compress little: for tests
	log       io.Writer
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "tillwire-dist:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stderr io.Writer) error {
	f := flag.NewFlagSet("tillwire-dist", flag.ContinueOnError)
	f.SetOutput(stderr)
	d := &dist{log: stderr}
	f.StringVar(&d.root, "root", ".", "`folder` of the sources")
	f.StringVar(&d.out, "out", "dist", "`folder` for the release; what is in it is removed")
	f.StringVar(&d.version, "version", "", "`version`; default: of git")
	f.StringVar(&d.nfpm, "nfpm", ".bin/nfpm", "`program` that makes deb and rpm")
	f.StringVar(&d.sign, "sign", os.Getenv("SIGN"), "`program` that signs, called as PROGRAM exe|msi|sums FILE; default: $SIGN; see installers/sign.sh")
	f.BoolVar(&d.draft, "draft", false, "compress little and fast: to try things, not to give away")
	only := f.String("only", "", "`list` of targets, e.g. linux/amd64,windows/amd64; default: all")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if err := d.prepare(ctx, *only); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"programs", d.build},
		{"manual and completions", d.manual},
		{"list of parts", d.sbom},
		{"archives", d.archives},
		{"deb and rpm", d.packages},
		{"msi", d.msi},
		{"checksums", d.sums},
	} {
		began := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		_, _ = fmt.Fprintf(d.log, "dist: %-22s %5.1f s\n", step.name, time.Since(began).Seconds())
	}
	return os.RemoveAll(d.stage)
}

// prepare finds out what is to be made, and clears the place for it.
func (d *dist) prepare(ctx context.Context, only string) error {
	for _, p := range []*string{&d.root, &d.out} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	if !filepath.IsAbs(d.nfpm) {
		d.nfpm = filepath.Join(d.root, d.nfpm)
	}
	for _, t := range targets {
		if only == "" || slices.Contains(strings.Split(only, ","), t.String()) {
			d.targets = append(d.targets, t)
		}
	}
	if len(d.targets) == 0 {
		return fmt.Errorf("--only %q names none of %v", only, targets)
	}
	if err := d.findVersion(ctx); err != nil {
		return err
	}
	d.stage = filepath.Join(d.out, ".stage")
	if err := emptied(d.out); err != nil {
		return err
	}
	return os.MkdirAll(d.stage, 0o755) //nolint:gosec // a release is for everybody
}

// emptied makes a folder that holds nothing, and refuses one that holds what no
// release does.
func emptied(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if n := e.Name(); !strings.HasPrefix(n, "tillwire") && !strings.HasPrefix(n, "SHA256SUMS") && n != ".stage" {
			return fmt.Errorf("--out %s holds %s, which is of no release; name an empty folder", dir, n)
		}
	}
	return os.RemoveAll(dir)
}

// findVersion reads version and time of the sources: the commit's, so that two
// builds of it are alike.
func (d *dist) findVersion(ctx context.Context) (err error) {
	if d.version == "" {
		if d.version, err = d.git(ctx, "describe", "--tags", "--always", "--dirty"); err != nil {
			return fmt.Errorf("%w; name the version with --version", err)
		}
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		if epoch, err = d.git(ctx, "log", "-1", "--format=%ct"); err != nil {
			return fmt.Errorf("%w; set SOURCE_DATE_EPOCH", err)
		}
	}
	s, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil || s < 1 {
		return fmt.Errorf("SOURCE_DATE_EPOCH %q is not a number of seconds", epoch)
	}
	d.at = time.Unix(s, 0).UTC()
	count := "0"
	if _, ok := packageVersion(d.version, count); !ok {
		if count, err = d.git(ctx, "rev-list", "--count", "HEAD"); err != nil {
			return fmt.Errorf("%w; name a version such as 1.2.3 with --version", err)
		}
	}
	d.numbers, _ = packageVersion(d.version, count)
	return nil
}

// packageVersion makes three numbers of a version: those of its tag, and for what
// git calls otherwise 0.0 and the number of commits, so that later is greater.
// MSI compares numbers only.
func packageVersion(version, commits string) (numbers string, tagged bool) {
	base, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	parts := strings.Split(base, ".")
	if len(parts) == 3 && !slices.ContainsFunc(parts, func(p string) bool {
		n, err := strconv.ParseUint(p, 10, 16)
		return err != nil || strconv.FormatUint(n, 10) != p
	}) && rest == "" {
		return base, true
	}
	return "0.0." + commits, false
}

func (d *dist) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...) //nolint:gosec // words of ours
	cmd.Dir = d.root
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// call runs a program of the trade, and shows what it says where it fails.
func (d *dist) call(ctx context.Context, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // programs that the caller named
	cmd.Dir = d.root
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(program), err, out)
	}
	return nil
}
