package crashtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memoryLimit runs the agent in a memory control group. Under the first limit it
// must live and serve; then the limit is drawn tighter while it works, until the
// kernel kills it, and it is started again.
func memoryLimit(ctx context.Context, r *Rig, res *Result) error {
	g, err := newGroup()
	if err != nil {
		return err
	}
	defer g.remove()
	plan, err := r.plan("agent")
	if err != nil {
		return err
	}
	plan.wrap = []string{"sh", "-c", `echo $$ > "$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}
	rng := rand.New(rand.NewPCG(r.Seed, 13))
	l := newLedger(plan.dir)
	c := newCrew(plan.addr)
	peak := int64(0)
	for n := range r.Cycles {
		if err := g.limit(memoryEnough); err != nil {
			return err
		}
		if err := g.squeeze(ctx, plan, c, rng, res); err != nil {
			return fmt.Errorf("cycle %d: %w", n, err)
		}
		peak = max(peak, g.read(g.peakFile))
		if err := l.judge(ctx, c, res); err != nil {
			return fmt.Errorf("cycle %d: %w", n, err)
		}
		res.Cycles++
	}
	res.Note = fmt.Sprintf("serves within %d MiB, highest use %d MiB; then killed by the kernel %d times", int64(memoryEnough)>>20, peak>>20, g.kills)
	if g.kills == 0 {
		return errors.New("the kernel never killed the agent: nothing was tested")
	}
	return nil
}

const (
	memoryEnough = 64 << 20        // bytes in which the agent must serve
	squeezeMax   = 3 * time.Second // for the kernel to kill
)

// squeeze lets an agent work, then takes its memory away until it dies.
func (g *group) squeeze(ctx context.Context, plan agentPlan, c *crew, rng *rand.Rand, res *Result) error {
	p, err := plan.start()
	if err != nil {
		return err
	}
	defer p.kill() //nolint:errcheck // it is dead already, but for errors on the way
	ready, err := p.awaitReady(ctx)
	if err != nil {
		return err
	}
	res.recovered(ready)
	selling, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); c.sell(selling) }()
	t := time.NewTimer(time.Duration(100+rng.IntN(200)) * time.Millisecond)
	<-t.C
	if !p.alive() {
		return fmt.Errorf("it ended within %d MiB: %s", int64(memoryEnough)>>20, p.words)
	}
	err = await(ctx, squeezeMax, "the kernel kills the agent", func() bool {
		g.tighten()
		return !p.alive()
	})
	if err == nil {
		g.kills++
	} else { // it pages its program in and out instead of dying
		err = p.kill()
	}
	stop()
	<-done
	return err
}

// group is a memory control group, version 1 or 2.
type group struct {
	dir, limitFile, useFile, peakFile string
	kills                             int // by the kernel
}

// tighten sets the limit as low as the kernel lets: version 1 refuses one below
// what it cannot take back at once.
func (g *group) tighten() {
	if g.limit(1<<20) != nil {
		_ = g.limit(g.read(g.useFile))
	}
}

func newGroup() (*group, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	name := "tillwire-crash-" + strconv.Itoa(os.Getpid())
	for _, g := range []group{
		{"/sys/fs/cgroup/memory/" + name, "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", 0},
		{"/sys/fs/cgroup/" + name, "memory.max", "memory.current", "memory.peak", 0},
	} {
		if os.Mkdir(g.dir, 0o755) != nil { //nolint:gosec // the kernel's modes
			continue
		}
		if g.limit(memoryEnough) == nil {
			return &g, nil
		}
		_ = os.Remove(g.dir)
	}
	return nil, skip("no memory control group may be made here")
}

func (g *group) limit(bytes int64) error {
	err := os.WriteFile(filepath.Join(g.dir, g.limitFile), []byte(strconv.FormatInt(bytes, 10)), 0o600)
	if err != nil {
		return fmt.Errorf("limit memory: %w", err)
	}
	return nil
}

func (g *group) read(file string) int64 {
	b, err := os.ReadFile(filepath.Join(g.dir, file))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func (g *group) remove() {
	deadline := time.Now().Add(2 * time.Second) // a dead process leaves it a moment later
	for errors.Is(os.Remove(g.dir), os.ErrExist) || exists(g.dir) {
		if time.Now().After(deadline) {
			return
		}
		t := time.NewTimer(10 * time.Millisecond)
		<-t.C
	}
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }
