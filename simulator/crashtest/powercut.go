package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// lazyFS finds the program that forgets what was not synced: TILLWIRE_LAZYFS, the
// path, or the folder of our own programs.
func lazyFS(beside string) string {
	for _, name := range []string{os.Getenv("TILLWIRE_LAZYFS"), "lazyfs", filepath.Join(beside, "lazyfs")} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	return ""
}

// powerCut kills the agent at a random moment and makes its file system forget all
// that was not synced, then starts it again.
func powerCut(ctx context.Context, r *Rig, res *Result) error {
	if r.LazyFS == "" {
		return skip("no LazyFS; `make lazyfs` builds it, TILLWIRE_LAZYFS names its program")
	}
	if err := errors.Join(needRoot(), need("fusermount3", "fuse3"), need("mkfifo", "coreutils")); err != nil {
		return err
	}
	if !exists("/dev/fuse") {
		return skip("no /dev/fuse")
	}
	z, err := mountLazy(ctx, r)
	if err != nil {
		return err
	}
	plan, err := r.plan("agent")
	if err != nil {
		return errors.Join(err, z.end())
	}
	plan.dir = filepath.Join(z.dir, "data")
	rng := rand.New(rand.NewPCG(r.Seed, 17))
	c, l := newCrew(plan.addr), newLedger(plan.dir)
	for n := range r.Cycles {
		if err = z.cut(ctx, plan, c, l, rng, res); err != nil {
			err = fmt.Errorf("seed %d, cut %d: %w", r.Seed, n, err)
			break
		}
		res.Cycles++
	}
	if res.Note == "" {
		res.Note = "LazyFS forgets what was not synced at the moment of the kill"
	}
	return errors.Join(err, z.end())
}

type lazy struct {
	dir      string
	fifo     *os.File
	done     *bufio.Reader
	doneFile *os.File
	cmd      *exec.Cmd
	words    *tail
}

func mountLazy(ctx context.Context, r *Rig) (*lazy, error) {
	z := &lazy{words: &tail{}}
	var err error
	if z.dir, err = r.sub("volume"); err != nil {
		return nil, err
	}
	root, err := r.sub("behind")
	if err != nil {
		return nil, err
	}
	faults, done, conf := filepath.Join(r.Dir, "faults"), filepath.Join(r.Dir, "done"), filepath.Join(r.Dir, "lazyfs.toml")
	if err := tool(ctx, "mkfifo", faults, done); err != nil {
		return nil, err
	}
	text := fmt.Sprintf("[faults]\nfifo_path=%q\nfifo_path_completed=%q\n[cache]\napply_eviction=false\n[cache.simple]\ncustom_size=\"0.25GB\"\nblocks_per_page=1\n[filesystem]\nlog_all_operations=false\nlogfile=%q\n",
		faults, done, filepath.Join(r.Dir, "lazyfs.log"))
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// Open for both, so that neither side waits for the other.
	if z.doneFile, err = os.OpenFile(done, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	z.done = bufio.NewReader(z.doneFile)
	z.cmd = exec.Command(r.LazyFS, z.dir, "--config-path", conf, "-o", "allow_other", "-o", "modules=subdir", "-o", "subdir="+root, "-f") //nolint:gosec // named by the user
	z.cmd.Stdout, z.cmd.Stderr = z.words, z.words
	if err := z.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start LazyFS: %w", err)
	}
	up := func() bool {
		b, err := os.ReadFile("/proc/self/mounts")
		return err == nil && strings.Contains(string(b), " "+z.dir+" ")
	}
	if err := await(ctx, readyMax, "LazyFS is mounted", up); err != nil {
		_ = z.cmd.Process.Kill()
		return nil, skip("%v: %s", err, z.words)
	}
	if z.fifo, err = os.OpenFile(faults, os.O_RDWR, 0); err != nil {
		return nil, errors.Join(err, z.end())
	}
	return z, nil
}

func (z *lazy) end() error {
	err := umount(z.dir)
	if err != nil {
		_ = z.cmd.Process.Kill()
	}
	_ = z.cmd.Wait() // it ends with its mount
	if z.fifo != nil {
		_ = z.fifo.Close()
	}
	return errors.Join(err, z.doneFile.Close())
}

// forget makes LazyFS drop what was not synced, and returns when it has.
func (z *lazy) forget(ctx context.Context) error {
	if _, err := z.fifo.WriteString("lazyfs::clear-cache\n"); err != nil {
		return fmt.Errorf("ask LazyFS: %w", err)
	}
	said := make(chan error, 1)
	go func() {
		_, err := z.done.ReadString('\n')
		said <- err
	}()
	select {
	case err := <-said:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (z *lazy) cut(ctx context.Context, plan agentPlan, c *crew, l *ledger, rng *rand.Rand, res *Result) error {
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
	selling, stop := context.WithTimeout(ctx, healMax)
	defer stop()
	done := make(chan struct{})
	go func() { defer close(done); c.sell(selling) }()
	t := time.NewTimer(time.Duration(20+rng.IntN(150)) * time.Millisecond)
	<-t.C
	err = p.kill()
	stop()
	<-done
	if err != nil {
		return err
	}
	if err := z.forget(ctx); err != nil {
		return err
	}
	return l.judge(ctx, c, res)
}
