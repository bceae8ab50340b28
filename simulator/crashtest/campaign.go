package crashtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Rig is what campaigns work with.
type Rig struct {
	Agent, Aggregator string   // programs
	Writer            []string // command that calls Write: the recorded process of crash states
	LazyFS            string   // program, where there is one
	Dir               string   // scratch folder
	Cycles            int      // 0 = the campaign's own
	Seed              uint64
	Log               io.Writer
}

// Campaign is one kind of fault.
type Campaign struct {
	Name, About string
	Cycles      int // in every test run
	Release     int // before a release
	run         func(ctx context.Context, r *Rig, res *Result) error
}

// Campaigns lists all, the portable ones first.
func Campaigns() []Campaign {
	return []Campaign{
		{"sigkill-agent", "kill -9 of the agent at random moments, also while it starts", 1000, 100_000, killAgent},
		{"sigkill-both", "kill -9 of agent and aggregator; at the end both must agree to the piece", 40, 5_000, killBoth},
		{"crash-states", "every prefix of the database's writes between two syncs, torn sectors and lost writes included", 20_000, 2_000_000, crashStates},
		{"restart", "kill -9 of an agent that holds many events: 200,000, or 1,000,000 from 20 cycles on", 3, 20, restart},
		{"rot", "the journal of a killed agent is damaged: bits, pages, its end, its beginning", 12, 1000, rot},
		{"fsync-eio", "fdatasync fails with EIO (strace)", 4, 200, injectEIO},
		{"write-enospc", "pwrite fails with ENOSPC (strace)", 4, 200, injectENOSPC},
		{"disk-full", "a small volume fills up and gets room again, without a restart", 5, 200, diskFull},
		{"read-only", "the file system turns read-only under the agent and is mounted anew", 3, 100, readOnly},
		{"memory-limit", "a memory limit kills the agent under load", 5, 200, memoryLimit},
		{"power-cut", "LazyFS forgets all that was not synced", 50, 10_000, powerCut},
	}
}

// errSkip is why this machine cannot run a campaign.
type errSkip struct{ why string }

func (e errSkip) Error() string { return e.why }

func skip(format string, args ...any) error { return errSkip{fmt.Sprintf(format, args...)} }

// Run runs one campaign in a folder of its own. The result is whole also where
// the error is not nil.
func (c Campaign) Run(ctx context.Context, rig Rig) (*Result, error) {
	res := &Result{Campaign: c.Name}
	if rig.Cycles <= 0 {
		rig.Cycles = c.Cycles
	}
	if rig.Log == nil {
		rig.Log = io.Discard
	}
	dir, err := os.MkdirTemp(rig.Dir, c.Name+"-")
	if err != nil {
		return res, fmt.Errorf("make scratch folder: %w", err)
	}
	rig.Dir = dir
	started := time.Now()
	err = c.run(ctx, &rig, res)
	res.close(started)
	var no errSkip
	if errors.As(err, &no) {
		res.Skipped, res.Note = true, "skipped: "+no.why
		err = nil
	}
	if err == nil {
		err = res.Err()
	}
	if err != nil {
		return res, fmt.Errorf("%w; kept for analysis: %s", err, dir)
	}
	return res, os.RemoveAll(dir)
}

// need says which program of a Debian package is missing.
func need(program, debian string) error {
	if runtime.GOOS != "linux" {
		return skip("needs Linux")
	}
	if _, err := exec.LookPath(program); err != nil {
		return skip("%s is missing; apt-get install %s", program, debian)
	}
	return nil
}

// needTrace asks for strace, and for the right to trace.
func needTrace(ctx context.Context) error {
	if err := need("strace", "strace"); err != nil {
		return err
	}
	if err := tool(ctx, "strace", "-f", "-qq", "-o", os.DevNull, "true"); err != nil {
		return skip("this machine lets nobody trace: %v", err)
	}
	return nil
}

func needRoot() error {
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		return skip("needs root on Linux")
	}
	return nil
}

// tool runs a small system program.
func tool(ctx context.Context, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, toolMax)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // fixed programs
	if err != nil {
		return fmt.Errorf("%s %s: %w: %.300s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (r *Rig) sub(name string) (string, error) {
	dir := filepath.Join(r.Dir, name)
	return dir, os.MkdirAll(dir, 0o700)
}
