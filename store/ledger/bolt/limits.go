package bolt

import (
	"time"

	"tillwire/protocol"
)

// The bounds of this backend. What exceeds one is refused with its name; none
// is reached by a caller that keeps to the contract.
const (
	segmentEntries = 100_000  // positions in one bucket of the log
	blockBytes     = 16_000   // entries are gathered into values of this size
	arenaKeepMax   = 64 << 20 // bytes of a batch's buffer kept for the next
	scanEntries    = 1000     // entries copied in one read transaction of Scan
	scanBytesMax   = 4 << 20  // and their bytes
	listRowsMax    = 1000     // rows looked at in one read transaction of a listing

	dumpKeyMax   = 4 << 10  // bytes of a key in a dump
	dumpValueMax = 80 << 20 // and of its value
	loadBytesMax = 16 << 20 // loaded in one transaction

	entryLinksMax  = 1 << 16 // links of one entry
	recordBytesMax = protocol.RecordBytesMax
	chunkBytesMax  = 64 << 20  // one chunk of a checkpoint
	factKeyMax     = 1024      // bytes of a fact's name
	exceptionIDMax = 512       // bytes of an exception's id, state, code
	exceptionsPage = 1000      // Filter.Limit when none is given
	exceptionsMax  = 10_000    // the largest page
	defaultIDsHot  = 128 << 10 // event ids kept in memory before they are sealed into a run
	idsHotMin      = 16

	runChunkIDs    = 128      // ids under one checksum: what a lookup reads
	runValueChunks = 8        // such chunks in one stored value of a run
	runFanIn       = 4        // runs of one tier that are merged into one of the next
	runTiersMax    = 20       // 4^20 × IDsHot ids
	mergeStepIDs   = 16 << 10 // ids written in one transaction of a merge: bounds its pause
	mergeStepParts = 32       // parts of its filter written in one transaction
	buryParts      = 128      // parts of dead runs deleted in one transaction
	fencesPerPart  = 4096     // ids in one stored part of a run's fences
	mergeCredit    = 2        // ids a tier's merge may move per id committed
	bloomPartBytes = 64 << 10

	fillAppend    = 0.95 // of pages in buckets that only grow at their end
	openTimeout   = 2 * time.Second
	growBytesMin  = 64 << 10
	growBytesMax  = 64 << 20
	mapAheadBytes = 64 << 30 // address space that the file may grow into before it is mapped anew
	formatVersion = 1
)
