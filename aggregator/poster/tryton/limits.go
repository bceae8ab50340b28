package tryton

import "time"

// Bounds of one conversation.
const (
	answerBytesMax = 64 << 20         // of one answer
	pageMax        = 1000             // records asked for at once
	productsMax    = 2_000_000        //
	errorBytesMax  = 4 << 10          // read of an answer that is no JSON
	warningsMax    = 8                // of one call, answered
	roundsMax      = 6                // of search and create, until a race is over
	callTimeout    = 90 * time.Second // of one call: a shipment of 200 lines takes seconds
	refusedMax     = 2                // times that a step must be refused to count
	raceWait       = 100 * time.Millisecond
	refreshEvery   = 30 * time.Second // at most, because of unknown articles
)
