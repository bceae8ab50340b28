//go:build !linux && !windows

package journal

import (
	"errors"
	"os"
	"syscall"
)

var errnoFull = []error{syscall.ENOSPC}

func diskFree(string) (free, total uint64, err error) {
	return 0, 0, errors.New("free space is not known on this system")
}

func allocate(f *os.File, size int64) error { return writeZeros(f, size) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
