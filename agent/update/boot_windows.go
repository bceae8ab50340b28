package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// exitRestart tells the process above that it must decide again.
const exitRestart = 86

// stopWithin is how long a program in a slot may take to end; then it is killed,
// and loses nothing: what was answered is on disk.
const stopWithin = 4 * time.Second

// handOver runs the program as a child, because Windows cannot replace a process
// and the service manager knows this one. The child ends when its stdin does.
func handOver(ctx context.Context, path, slot string) error {
	env, err := handed(slot)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, os.Args[1:]...) //nolint:gosec // its digest was verified just now
	cmd.Env, cmd.Stdout, cmd.Stderr = env, os.Stdout, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("%w: %w", errNotStarted, err)
	}
	cmd.Cancel, cmd.WaitDelay = in.Close, stopWithin
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: %w", errNotStarted, err)
	}
	err = cmd.Wait()
	var ended *exec.ExitError
	if errors.As(err, &ended) && ended.ExitCode() == exitRestart {
		return ErrRestart
	}
	return err
}

// Restart asks the process above to decide again.
func Restart() error {
	if FromSlot() == "" {
		return ErrRestart // there is none: the service manager starts us again
	}
	os.Exit(exitRestart)
	return nil
}

// Stop is closed when the process above wants this one to end.
func Stop() <-chan struct{} {
	if FromSlot() == "" {
		return nil
	}
	done := make(chan struct{})
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	return done
}
