package feed

import "time"

// The bounds of what feeds bring.
const (
	snapshotLinesMax  = 400_000   // lines of one statement: what 16 MiB of body can hold
	jobsMax           = 1000      // captures that can be asked for; the oldest is forgotten
	captureErrorsMax  = 20        // problems that a job keeps
	captureResultsMax = 100       // results that a job keeps
	sourcesMax        = 256       // sources that are shown; further ones work, unseen
	rawKeptMax        = 256 << 10 // bytes of a parked document that are kept; longer ones lose their rest, and with it the retry
	documentShownMax  = 16 << 10
	textShownMax      = 2 << 10
	parkedPerHourMax  = 1000 // documents of one source; what is beyond is refused
	reasonShownMax    = 500
	controlsMax       = 4096 // control numbers remembered of one source
	fileBytesMax      = 32 << 20
	filesPerLookMax   = 200 // further files wait for the next look
	pollDefault       = 2 * time.Second
	reasonsMax        = 200 // problems listed beside a file
	rateBuckets       = 6   // of ten seconds
)
