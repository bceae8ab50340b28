package crashtest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// working is an agent at work: it runs, tills sell, and its journal is looked at.
type working struct {
	p    *process
	c    *crew
	l    *ledger
	stop func() // ends the sales
}

func work(ctx context.Context, plan agentPlan, res *Result) (*working, error) {
	p, err := plan.start()
	if err != nil {
		return nil, err
	}
	if _, err := p.awaitReady(ctx); err != nil {
		return nil, errors.Join(err, p.kill())
	}
	w := &working{p: p, c: newCrew(plan.addr), l: newLedger(plan.dir)}
	selling, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); w.c.sell(selling) }()
	w.stop = func() { cancel(); <-done }
	if _, err := w.c.awaitAck(ctx, time.Now()); err != nil {
		return nil, errors.Join(err, w.end(ctx, res))
	}
	return w, nil
}

// end stops tills and agent, and judges.
func (w *working) end(ctx context.Context, res *Result) error {
	w.stop()
	if err := w.p.kill(); err != nil {
		return err
	}
	return w.l.judge(context.WithoutCancel(ctx), w.c, res)
}

func injectEIO(ctx context.Context, r *Rig, res *Result) error {
	return inject(ctx, r, res, "fdatasync", "EIO", http.StatusServiceUnavailable)
}

func injectENOSPC(ctx context.Context, r *Rig, res *Result) error {
	return inject(ctx, r, res, "pwrite64", "ENOSPC", http.StatusInsufficientStorage)
}

// inject makes a system call of the working agent fail for a while, again and
// again. Tills must be refused with the right status meanwhile, and served again
// when the disk does its work, by the same process.
func inject(ctx context.Context, r *Rig, res *Result, call, errno string, want int) error {
	if err := needTrace(ctx); err != nil {
		return err
	}
	plan, err := r.plan("agent")
	if err != nil {
		return err
	}
	w, err := work(ctx, plan, res)
	if err != nil {
		return err
	}
	for range r.Cycles {
		if err = w.inject(ctx, res, call, errno, want); err != nil {
			break
		}
		res.Cycles++
	}
	if err == nil && !w.p.alive() {
		err = fmt.Errorf("the agent ended: %s", w.p.words)
	}
	res.Note = fmt.Sprintf("%d answers %d while %s failed with %s; one process throughout", w.c.count(want), want, call, errno)
	return errors.Join(err, w.end(ctx, res))
}

func (w *working) inject(ctx context.Context, res *Result, call, errno string, want int) error {
	before := w.c.count(want)
	cmd := exec.CommandContext(ctx, "strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace="+call, "-e", "inject="+call+":error="+errno, "-p", strconv.Itoa(w.p.cmd.Process.Pid)) //nolint:gosec // fixed
	words := &tail{}
	cmd.Stderr = words
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start strace: %w", err)
	}
	refused := await(ctx, healMax, fmt.Sprintf("tills are answered %d", want), func() bool { return w.c.count(want) > before })
	var acked int
	if refused == nil { // 200 ms of a disk that fails: nothing may be acked that is new
		hold := time.NewTimer(200 * time.Millisecond)
		<-hold.C
		w.c.mu.Lock()
		acked = len(w.c.acked)
		w.c.mu.Unlock()
	}
	_ = cmd.Process.Signal(os.Interrupt) // strace lets go of the agent and ends
	_ = cmd.Wait()                       // by the signal
	since := time.Now()
	if refused != nil {
		return fmt.Errorf("%w: %s", refused, words)
	}
	took, err := w.c.awaitAck(ctx, since)
	if err != nil {
		return fmt.Errorf("%w behind %d acked: %s", err, acked, w.p.words)
	}
	res.recovered(took)
	return nil
}

// plan is an agent in a folder of the rig.
func (r *Rig) plan(name string) (agentPlan, error) {
	dir, err := r.sub(name)
	if err != nil {
		return agentPlan{}, err
	}
	addr, err := freePort()
	return agentPlan{program: r.Agent, dir: dir, addr: addr}, err
}
