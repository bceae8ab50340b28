package simulator

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
)

// residentBytes is this process's resident memory now and at its peak. Where
// the system has no /proc, it is what the Go runtime holds.
func residentBytes() (now, peak int64) {
	if now, peak, ok := residentOf("self"); ok {
		return now, peak
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys - m.HeapReleased), int64(m.Sys)
}

// mappedBytes is the part of resident memory that files back: journals mapped by
// bbolt, which the system may drop at any time. 0 where it is not told.
func mappedBytes() int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == "RssFile:" {
			kb, _ := strconv.ParseInt(string(f[1]), 10, 64)
			return kb << 10
		}
	}
	return 0
}

// residentOf reads /proc/PID/status.
func residentOf(pid string) (now, peak int64, ok bool) {
	b, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, 0, false
	}
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) < 2 {
			continue
		}
		kb, err := strconv.ParseInt(string(f[1]), 10, 64)
		if err != nil {
			continue
		}
		switch string(f[0]) {
		case "VmRSS:":
			now = kb << 10
		case "VmHWM:":
			peak = kb << 10
		}
	}
	return now, peak, now > 0
}

// cpuSeconds is processor time of this process so far; 0 where it is not told.
func cpuSeconds() float64 {
	b, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	f := bytes.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(string(f[11]), 64)
	system, _ := strconv.ParseFloat(string(f[12]), 64)
	return (user + system) / clockTicks
}

// clockTicks per second are the unit of /proc on every Linux we know of.
const clockTicks = 100
