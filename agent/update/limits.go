package update

import "time"

const (
	trialStartsMax = 2                // of a new program that was not confirmed
	confirmWithin  = 10 * time.Minute // a new program proves itself, or the one before comes back
	triesMax       = 3                // of one release on this host
	tryAgainAfter  = 6 * time.Hour
	lookEvery      = 15 * time.Minute // for what is wanted and was not had
	firstLookMax   = 2 * time.Minute  // a chain does not ask at one moment
	failedKept     = 8
	stateBytesMax  = 64 << 10
	answerWithin   = 30 * time.Second
	fetchWithin    = 60 * time.Minute // of a whole program
	stallAfter     = 60 * time.Second // without stallBytes the line is given up
	stallBytes     = 64 << 10
	reasonBytesMax = 256
)
