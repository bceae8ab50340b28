//go:build unix

package backup

import (
	"os"
	"syscall"
)

// sameVolume tells whether two folders lie on one file system; false where it
// cannot be told.
func sameVolume(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	if errA != nil || errB != nil {
		return false
	}
	s, okA := x.Sys().(*syscall.Stat_t)
	t, okB := y.Sys().(*syscall.Stat_t)
	return okA && okB && s.Dev == t.Dev
}
