package journal

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var errnoFull = []error{syscall.ENOSPC, syscall.EDQUOT}

// diskFree tells the room for unprivileged writers and the size that goes with
// it, as df does.
func diskFree(dir string) (free, total uint64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("ask free space of %s: %w", dir, err)
	}
	size := uint64(st.Bsize)
	return st.Bavail * size, (st.Blocks - st.Bfree + st.Bavail) * size, nil
}

// allocate reserves blocks without writing them, where the filesystem can.
func allocate(f *os.File, size int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, syscall.EOPNOTSUPP) || errors.Is(err, syscall.ENOSYS) {
		return writeZeros(f, size)
	}
	return err
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	err = d.Sync()
	if e := d.Close(); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
