//go:build !windows

package update

import (
	"context"
	"fmt"
	"os"
	"syscall"
)

// handOver replaces this process, which keeps its id: the service manager notices
// nothing. It returns only when it fails.
func handOver(_ context.Context, path, slot string) error {
	env, err := handed(slot)
	if err != nil {
		return err
	}
	err = syscall.Exec(path, append([]string{path}, os.Args[1:]...), env) //nolint:gosec // its digest was verified just now
	return fmt.Errorf("%w: %w", errNotStarted, err)
}

// Restart begins anew with the installed program, which decides again who is to
// run. It returns only when it fails; the service manager does the same then.
func Restart() error {
	path := os.Getenv(installedVar)
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	return fmt.Errorf("start %s: %w", path, syscall.Exec(path, append([]string{path}, os.Args[1:]...), cleared())) //nolint:gosec // the path of this process's first start
}

// Stop is closed where the process above asks a program in a slot to end: never,
// where there is none above.
func Stop() <-chan struct{} { return nil }
