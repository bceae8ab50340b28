package simulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
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

// simulatorProgram is this program, for parts of a measurement that want a
// process of their own.
func simulatorProgram() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own path: %w", err)
	}
	return self, nil
}

// cpuOf is the CPU time that a process has used so far, of all its threads.
// Where the system has no /proc it is 0, and nothing is told per core.
func cpuOf(pid int) (all time.Duration, err error) {
	all, _, err = cpuParts(pid)
	return all, err
}

// cpuParts is cpuOf, and what of it the system has used for the process.
func cpuParts(pid int) (all, kernel time.Duration, err error) {
	if runtime.GOOS != "linux" {
		return 0, 0, nil
	}
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, 0, fmt.Errorf("read cpu time: %w", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // behind the name, which may hold blanks
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0, 0, fmt.Errorf("read cpu time: %q is not like /proc/PID/stat", b)
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	const tick = time.Second / cpuTicks
	return time.Duration(user+system) * tick, time.Duration(system) * tick, errors.Join(err1, err2)
}

// cpuTicks per second are what Linux counts CPU time of processes in, everywhere.
const cpuTicks = 100
