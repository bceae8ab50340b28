package intake

import "time"

// The bounds of the port. Bodies and lines are bounded by protocol's limits.
const (
	headerTimeout  = 5 * time.Second  // from connect to the end of the headers
	readTimeout    = 30 * time.Second // to the end of the body
	writeTimeout   = 60 * time.Second // to the end of the answer, journaling included
	idleTimeout    = 2 * time.Minute  // of a kept connection
	headerBytesMax = 16 << 10
	pooledBytesMax = 64 << 10 // larger body buffers are not kept for reuse
	inFlightMax    = 512      // requests with a body at one time: 512 MiB at the very worst

	stockQueryMax  = 100     // SKUs in one GET /v1/stock
	stockSKUsMax   = 200_000 // SKUs folded locally; more are told to be unknown
	stockEvery     = time.Second
	stockWait      = 2 * time.Second // a read waits this long at most to catch up with the journal
	recentEvents   = 8192            // ids remembered to find a void's original
	pendingVoids   = 4096            // voids whose original was not seen yet
	cutScanMax     = 200_000         // records walked back to a count's cut
	stockBatchMax  = 5000            // records folded under one lock
	clockAheadWarn = 2 * time.Minute // occurred_at beyond our clock that earns a warning
	retryAfterS    = 1

	holdPartsMax   = 1000    // parts of one desired state
	holdAnswersMax = 10_000  // holds whose answers are remembered
	holdBodyMax    = 4 << 10 // of an answer to a task
	holdReasonMax  = 200
	recallWait     = 10 * time.Second // for the journal to take what a restored aggregator lacks

	pageTasksMax = 20 // of the status page; GET /v1/holds has them all

	registersMax        = 1000             // registers whose clocks are learnt
	registerGaps        = 64               // documents of each that are remembered
	registerKnown       = 3                // documents from which on its clock is known
	registerKnownUS     = 8 * 3600_000_000 // how long a document tells of it
	registerErrorMinUS  = 1_000_000
	registerSpreadMaxUS = 30_000_000
	registerDoubtUS     = 5_000_000 // odd documents in a row that agree so closely are the clock's
)
