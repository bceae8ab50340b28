package fleet

import "strconv"

// Ago says a duration as people do, with two units at most.
func Ago(us int64) string {
	s := us / 1e6
	switch {
	case s < 0:
		return "0 s"
	case s < 60:
		return strconv.FormatInt(s, 10) + " s"
	case s < 3600:
		return strconv.FormatInt(s/60, 10) + " min"
	case s < 86400:
		return strconv.FormatInt(s/3600, 10) + " h " + two(s%3600/60) + " min"
	}
	return strconv.FormatInt(s/86400, 10) + " d " + strconv.FormatInt(s%86400/3600, 10) + " h"
}

func two(n int64) string {
	if n < 10 {
		return "0" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

// Count writes n with thousands separated: 12,480.
func Count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// plural writes "1 event", "312 events".
func plural(n uint64, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return Count(n) + " " + one + "s"
}

// wait writes "1 event waits", "312 events wait".
func wait(n uint64) string {
	if n == 1 {
		return "1 event waits"
	}
	return Count(n) + " events wait"
}
