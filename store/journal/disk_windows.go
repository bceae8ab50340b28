package journal

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

var (
	errnoFull = []error{syscall.Errno(112), syscall.Errno(39), syscall.ENOSPC} // ERROR_DISK_FULL, ERROR_HANDLE_DISK_FULL

	procDiskFree = syscall.NewLazyDLL("kernel32.dll").NewProc("GetDiskFreeSpaceExW")
)

// diskFree tells the room for the service's account and the volume's size.
func diskFree(dir string) (free, total uint64, err error) {
	p, err := syscall.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("ask free space of %s: %w", dir, err)
	}
	r, _, errno := procDiskFree.Call(uintptr(unsafe.Pointer(p)), uintptr(unsafe.Pointer(&free)), uintptr(unsafe.Pointer(&total)), 0)
	if r == 0 {
		return 0, 0, fmt.Errorf("ask free space of %s: %w", dir, errno)
	}
	return free, total, nil
}

// allocate reserves clusters: NTFS does so when the end of file moves.
func allocate(f *os.File, size int64) error { return f.Truncate(size) }

// syncDir does nothing: NTFS journals renames, and directories cannot be opened
// for syncing.
func syncDir(string) error { return nil }
