package ingest

// Bounds of the door. Frames that do not fit are answered busy and come again.
const (
	queueItemsMax    = 4096
	queueBytesMax    = 64 << 20
	preparedMax      = 32 // frames whose records are read ahead of the writer: some 0.5 MiB each
	batchEventsMax   = 8192
	batchItemsMax    = 4096
	batchItemsHand   = 4  // by hand
	bulkEvery        = 64 // items, of which one is bulk whatever else waits
	batchBytesMax    = 8 << 20
	drainBacklog     = 2_000 // a HELLO with more than this waiting is a drain
	drainStaggerMS   = 15    // start_after per drain already going on
	drainStaggerMax  = 30_000
	checkpointEvents = 250_000     // and at least as many as there are positions: what a checkpoint costs is theirs
	holdsLingerUS    = 100_000     // between two tellings of one store's holds
	holdsPartBytes   = 40 << 10    // about, of one part of a store's holds
	waitersMax       = 10_000      // reads that wait for a write to be shown
	headKeptAfterUS  = 10_000_000  // of a stuck store: its head is written by itself
	hashChunks       = 64          // chunks of positions hashed at once ahead of a copy: 20 ms
	hashStepsMax     = 10_000      // before a copy begins all the same
	raisesMax        = 8           // times that agents may raise the cloud generation while one process runs
	generationLeap   = 1 << 20     // most that an agent may raise it by: the numbers must not run out
	turnsEveryUS     = 1_000_000   // how often the drains' middle is looked for
	paceHalf         = 250         // ms between frames of a younger drain, while the queue is half full
	paceFull         = 1_000       // … and three quarters
	leaseBits        = 32          // of a lease that count HELLOs; the generation stands above
	numberMax        = 1 << 62     // seqs, epochs and leases that an agent may claim: they must not run out
	holdsHeldMax     = 20_000      // SKUs held at one store that its agent is told
	copiesWindowUS   = 600_000_000 // boot_ids that come back within it are copies
	copiesReturns    = 3           // times, without a fork
	copiesSeenMax    = 8
	welcomeUS        = 30_000_000 // that a WELCOME may take: younger sessions are not told that they are none
	copiesBesideMax  = 4          // marks beside an agent's own

	escrowReadsMax = 200        // entries read for what a store sold while it was dark, per broken promise
	sourcesMax     = 50_000     // entries read for the sources of one ERP document
	sourcesShown   = 1_000      // … and shown of one line
	reverseDocsMax = 2_000      // ERP documents looked through for one event
	reverseWait    = 50_000_000 // ns that this may take of the writer's time
	decideMax      = 500        // exceptions decided in one commit
	historyMax     = 50         // of what was done to one exception
	changesMax     = 200        // of one correction that are noted
	changeBytesMax = 2000       // of one of their values
)
