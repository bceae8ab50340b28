package crashtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// mounted runs fn with a volume mounted on a folder of the rig.
func (r *Rig) mounted(ctx context.Context, fn func(dir string) error, args ...string) error {
	if err := needRoot(); err != nil {
		return err
	}
	dir, err := r.sub("volume")
	if err != nil {
		return err
	}
	if err := tool(ctx, "mount", append(args, dir)...); err != nil {
		return skip("this machine mounts nothing here: %v", err)
	}
	err = fn(dir)
	return errors.Join(err, umount(dir))
}

// umount waits until nobody uses the volume.
func umount(dir string) error {
	var err error
	deadline := time.Now().Add(readyMax)
	for time.Now().Before(deadline) {
		if err = tool(context.Background(), "umount", dir); err == nil {
			return nil
		}
		t := time.NewTimer(20 * time.Millisecond)
		<-t.C
	}
	return err
}

// diskFull fills a small volume until the agent answers 507, makes room, and
// demands that it takes sales again by itself.
func diskFull(ctx context.Context, r *Rig, res *Result) error {
	return r.mounted(ctx, func(dir string) error {
		plan, err := r.plan("agent")
		if err != nil {
			return err
		}
		plan.dir, plan.ballastMiB = filepath.Join(dir, "data"), 2
		w, err := work(ctx, plan, res)
		if err != nil {
			return err
		}
		filler := filepath.Join(dir, "filler")
		for range r.Cycles {
			if err = w.fill(ctx, filler, res); err != nil {
				break
			}
			res.Cycles++
		}
		if err == nil && !w.p.alive() {
			err = fmt.Errorf("the agent ended: %s", w.p.words)
		}
		res.Note = fmt.Sprintf("%d answers 507, one process throughout; volume of 48 MiB, ballast of 2 MiB", w.c.count(http.StatusInsufficientStorage))
		return errors.Join(err, w.end(ctx, res))
	}, "-t", "tmpfs", "-o", "size=48m", "tmpfs")
}

func (w *working) fill(ctx context.Context, filler string, res *Result) error {
	before := w.c.count(http.StatusInsufficientStorage)
	f, err := os.Create(filler) //nolint:gosec // on our volume
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte{'x'}, 1<<20)
	for err == nil { // somebody else's data takes all that is left
		_, err = f.Write(block)
	}
	_ = f.Close()
	full := await(ctx, healMax, "tills are answered 507", func() bool { return w.c.count(http.StatusInsufficientStorage) > before })
	if full == nil {
		hold := time.NewTimer(100 * time.Millisecond)
		<-hold.C
	}
	since := time.Now()
	if err := errors.Join(full, os.Remove(filler)); err != nil {
		return err
	}
	took, err := w.c.awaitAck(ctx, since)
	if err != nil {
		return fmt.Errorf("%w: %s", err, w.p.words)
	}
	res.recovered(took)
	return nil
}

// readOnly lets the file system abort, as ext4 does over an error of its disk: it
// turns read-only under the agent's hands. Then it is mounted anew, and the agent,
// still the same process, must take sales again.
func readOnly(ctx context.Context, r *Rig, res *Result) error {
	if err := need("mkfs.ext4", "e2fsprogs"); err != nil {
		return err
	}
	image := filepath.Join(r.Dir, "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(image, 64<<20); err != nil {
		return err
	}
	if err := tool(ctx, "mkfs.ext4", "-q", image); err != nil {
		return err
	}
	mount := []string{"-o", "loop,errors=remount-ro", image}
	return r.mounted(ctx, func(dir string) error {
		plan, err := r.plan("agent")
		if err != nil {
			return err
		}
		plan.dir = filepath.Join(dir, "data")
		w, err := work(ctx, plan, res)
		if err != nil {
			return err
		}
		for range r.Cycles {
			if err = w.abort(ctx, dir, mount, res); err != nil {
				break
			}
			res.Cycles++
		}
		if err == nil && !w.p.alive() {
			err = fmt.Errorf("the agent ended: %s", w.p.words)
		}
		res.Note = fmt.Sprintf("%d answers 503, one process throughout; ext4 on a loop device, aborted and mounted anew", w.c.count(http.StatusServiceUnavailable))
		return errors.Join(err, w.end(ctx, res))
	}, mount...)
}

func (w *working) abort(ctx context.Context, dir string, mount []string, res *Result) error {
	before := w.c.count(http.StatusServiceUnavailable)
	if err := tool(ctx, "mount", "-o", "remount,abort", dir); err != nil {
		return err
	}
	refused := await(ctx, healMax, "tills are answered 503", func() bool { return w.c.count(http.StatusServiceUnavailable) > before })
	if err := umount(dir); err != nil { // the agent lets go of its file while it cannot write
		return errors.Join(refused, err)
	}
	if err := tool(ctx, "e2fsck", "-p", mount[len(mount)-1]); err != nil {
		// e2fsck says 1 for "errors corrected": the mount tells whether it is sound
		_ = err
	}
	if err := tool(ctx, "mount", append(mount, dir)...); err != nil {
		return err
	}
	since := time.Now()
	if refused != nil {
		return refused
	}
	took, err := w.c.awaitAck(ctx, since)
	if err != nil {
		return fmt.Errorf("%w: %s", err, w.p.words)
	}
	res.recovered(took)
	return nil
}
