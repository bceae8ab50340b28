package availability

import "time"

// Bounds of the read model.
const (
	changesKept = 1 << 16 // SKU changes that a slow follower may be behind
	searchMax   = 1000    // SKUs that one search returns
	waitersMax  = 10_000  // callers that wait for their own writes

	usPerS           = 1_000_000
	bufferAgeMaxUS   = 28 * 86400 * int64(usPerS) // older knowledge costs no larger buffer
	neverCountedDays = 365                        // what never was counted is trusted like this
	alphaMin         = 0.5                        // below, a service level is none

	subscribersMax  = 4096
	watchesMax      = 256              // (channel, location) pairs whose states are kept
	filterSKUsMax   = 10_000           // that one subscriber names
	filterPlacesMax = 64               // locations that one subscriber names
	watchIdle       = 10 * time.Minute // a watch outlives its last subscriber, who may come back

	batchesKept   = 1024                  // that a slow subscriber may be behind
	batchItemsAll = 1 << 18               // SKUs and events in all of them
	batchSKUsMax  = 2048                  // changed SKUs in one of them
	batchSKUsMin  = 64                    // that much also where many watches make many events of each
	catchUpMax    = 64                    // batches in one turn of the follower
	feedPace      = 25 * time.Millisecond // between two batches
	sweepEvery    = 250 * time.Millisecond
	sweepPass     = 240     // ticks in which all SKUs are looked at again: a minute
	sweepCells    = 125_000 // cells that one tick looks at: a few milliseconds
)
