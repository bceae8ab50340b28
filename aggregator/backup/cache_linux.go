package backup

import (
	"os"

	"golang.org/x/sys/unix"
)

// dropCache makes the next read come from the disk or the mount, as far as the
// system follows the advice.
func dropCache(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }
