package simulator

import (
	"fmt"
	"os"
	"path/filepath"
)

// fresh makes an empty folder for one repetition; all go with the bench's own.
func (b *bench) fresh(name string) (string, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	return dir, nil
}

// program finds another program of the build beside this one, or in bin/.
func findProgram(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own path: %w", err)
	}
	for _, p := range []string{filepath.Join(filepath.Dir(self), name), filepath.Join("bin", name)} {
		for _, ext := range []string{"", ".exe"} {
			if st, err := os.Stat(p + ext); err == nil && st.Mode().IsRegular() {
				return filepath.Abs(p + ext)
			}
		}
	}
	return "", fmt.Errorf("%s is not beside this program nor in bin/: run `make build` first", name)
}
