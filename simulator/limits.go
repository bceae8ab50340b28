package simulator

import "time"

// The bounds of the simulator. They keep a demo on a small machine honest and
// finite; none of them hides work that is owed.
const (
	StoresMax         = 4000                 // agents in one process
	SpeedMax          = 20_000               // of a story beside real time
	heartbeatPerStore = 8 * time.Millisecond // between two heartbeats of a store, each
	truthReal         = 10 * time.Second     // of real time are remembered too, at whatever pace
	assortmentMax     = 160                  // articles that one simulated store carries
	basketLinesMax    = 40                   // lines in one simulated basket
	sessionLinesMax   = 12                   // lines in one simulated count
	tillTimeout       = 20 * time.Second     // one POST, journal wait included
	tillRetriesMax    = 40                   // of 503, 507 and network errors, with back-off
	tillBackoffMax    = 2 * time.Second
	answerBytesMax    = 96 << 20 // any answer of the programs
	settleMax         = 180 * time.Second
	settlePerStore    = 60 * time.Millisecond // on top, each
	stopMax           = 30 * time.Second
	startMax          = 60 * time.Second // one program, from Run to Ready
	cutOffMin         = 75 * time.Second // a till cut off from its agent posts at least this late (> LateTolerance)
	countLagMean      = 6 * time.Second  // from the counting of a shelf to the arrival of the count
	countLagMax       = 40 * time.Second // and at most
	lastLookMax       = 2 * time.Second  // for the marks of all stores at the end of a fault
	truthHorizon      = 10 * time.Minute // movements kept to judge counts that arrive late; > cutOffMax + countLagMax
	cutOffMax         = 4 * time.Minute
	linesMax          = 1000 // lines of one document, as the contract says; longer ones are split
	bulkDocsMax       = 64   // documents in one POST /v1/events of a replay
	sourceLineMax     = 1 << 20
	sourceBytesMax    = 2 << 30 // decompressed size of a replayed file
	diffsShown        = 10
	diffsExplained    = 3
	idleConnsMax      = 800 // of tills; 4,000 agents take four descriptors each, and systems give 20,000
	tillsAtOnce       = 400 // requests of all tills
)
