package api

import "time"

// Bounds of the port.
const (
	validMaxS        = 30 * 86400 // seconds that a command may wait to be begun
	explainLinesMax  = 1000
	explainLines     = 200 // shown unless the caller asks otherwise
	pageMax          = 1000
	controlBodyMax   = 64 << 10
	noteBytesMax     = 500
	bulkMax          = 500 // exceptions decided by one call
	pollWait         = 25 * time.Second
	changesMax       = 1000
	streamsMax       = 1000
	streamPing       = 15 * time.Second
	keysTracked      = 4096
	ratePerSecond    = 20_000 // per key
	rateBurst        = 40_000
	enrolmentDefault = 24 * time.Hour
	enrolmentMax     = 24 * time.Hour
	locationsMax     = 1000
	atpDaysMax       = 365
	overlapMaxS      = 7 * 86400 // that an old webhook secret signs beside the new one
	itemsMax         = 5000      // items in one list
)
