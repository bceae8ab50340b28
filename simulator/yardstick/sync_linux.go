package yardstick

import (
	"fmt"
	"os"
	"syscall"
)

// datasync flushes the data, not the times, of a file whose size stays.
func datasync(f *os.File) error {
	if err := syscall.Fdatasync(int(f.Fd())); err != nil {
		return fmt.Errorf("fdatasync: %w", err)
	}
	return nil
}
