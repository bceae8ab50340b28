//go:build !unix

package backup

import (
	"path/filepath"
	"strings"
)

// sameVolume tells whether two folders lie on one drive or share.
func sameVolume(a, b string) bool {
	return strings.EqualFold(filepath.VolumeName(a), filepath.VolumeName(b))
}
