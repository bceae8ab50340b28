package journal

import "time"

// The bounds of a journal. Options may lower or raise those named there.
const (
	segmentEventsDefault = 100_000   // events per segment bucket, the unit of trimming
	queueMaxDefault      = 1024      // Append calls waiting for the committer
	queueBytesMax        = 16 << 20  // event bytes waiting for the committer
	groupEventsMax       = 2048      // events in one transaction; one AppendAll call is never split
	groupBytesMax        = 4 << 20   // event bytes in one transaction, beyond which no further call joins
	indexMemMax          = 512       // events between two checkpoints: rebuilt by scan at open
	indexFanout          = 8         // runs of one size that are merged into one
	registersMax         = 256       // registers whose last write is remembered, newest win
	latencySamples       = 256       // commits over which fsync p99 is told
	readEventsMax        = 4096      // records in one Read
	scanBatch            = 256       // records copied per transaction by Scan
	inspectRetries       = 12        // looks at a page that another process may be writing, before it counts as damaged
	treeDepthMax         = 32        // levels of a tree of pages; 2^16 elements a page need 4
	salvageFillMax       = 1_000_000 // lost records that a salvage replaces by markers
	ballastDefault       = 64 << 20  // bytes
	retentionDefault     = 35 * 24 * time.Hour
	strikesMax           = 2                      // commits in a row that meet damage before the file is set aside
	lingerShare          = 2                      // of a commit's time: so long a group waits for those expected
	lingerMax            = 500 * time.Microsecond // and no longer
	roomShare            = 8                      // of the file: that part of it again is laid ahead in zeros
	roomMin              = 64 << 10               // bytes laid ahead at least
	roomMax              = 256 << 10              // and at most
	lockTimeout          = 2 * time.Second
	marksLinger          = 500 * time.Millisecond // SetMerged reaches the disk this late at most
	diskEvery            = time.Second            // free space is asked at most this often
	diskIdle             = 10 * time.Second       // and this often while all is well
	retryMin             = 100 * time.Millisecond // first pause between attempts to reopen
	retryMax             = 5 * time.Second

	diskFullPercent  = 95 // used space from which ErrFull is answered
	diskRoomPercent  = 94 // used space under which appends are accepted again
	diskSparePercent = 90 // used space under which the ballast is laid again
)
