package chaos

import "time"

// The bounds of a run. Times are microseconds of the simulated clock.
const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
	day    = 24 * hour

	epochUS = 1_795_000_000 * second // when every run begins
	decade  = 10 * 365 * day

	storesMax    = 4
	daysMax      = 3
	skusPerAgent = 6
	segment      = 16 // records per journal segment: small, so that trims are many
	healWithin   = 40 * minute
	stepsMax     = 3_000_000 // events of one run; more is a livelock
	traceMax     = 48        // lines of a printed trace
	queuedMax    = 100_000   // documents that wait at one till
	flightsMax   = 20_000    // messages under way
	refeedAfter  = 3 * minute
	retention    = 4 * hour
	shrinkRuns   = 400
	shrinkFor    = 20 * time.Second
	gcPercent    = 1600    // of the command's process
	memoryMax    = 1 << 30 // bytes of heap from which on it collects as it must
)
