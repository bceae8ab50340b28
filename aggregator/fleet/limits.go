package fleet

import "time"

// The bounds of what is kept, and the thresholds of judging that no option sets.
const (
	AgentsPerStoreMax   = 64      // more are refused and counted: a token is being misused
	StoresMax           = 100_000 // the same for stores nobody configured
	StandingMax         = 1_000   // standing incidents of the whole chain
	registersMax        = 200     // registers shown of one heartbeat
	countersMax         = 100     // counters kept of one heartbeat
	textBytesMax        = 300     // error texts and versions that agents send
	fineSamples         = 360     // 10 s each: one hour
	coarseSamples       = 1440    // 1 min each: a day
	fineEveryUS         = 10_000_000
	coarseEveryUS       = 60_000_000
	flowsMax            = 1_024       // connections to other systems of which a day is kept: 8.6 KB each
	bandEveryUS         = 300_000_000 // fleet history: 5 min each
	bandColumns         = 288         // a day
	rateWindow          = 10          // publications over which events/s is averaged
	skewSamples         = 8           // heartbeats over which the least delay is taken
	refusalWindowUS     = 600_000_000 // a refusal is news for 10 min
	refusalsBeforeAlarm = 3
	helloSettleUS       = 5_000_000
	clockSkewMaxUS      = 120_000_000
	diskLowBytes        = 1 << 30
	fsyncSlowUS         = 500_000
)

// Defaults of Options.
const (
	DefaultPublish    = time.Second
	DefaultStuckAfter = time.Minute
	DefaultDrainAfter = 30 * time.Second
	DefaultPOSSilent  = 30 * time.Minute
	DefaultFeedSilent = 26 * time.Hour // a nightly feed, and two hours of patience
)
