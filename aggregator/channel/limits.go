package channel

import "time"

// Bounds that all channels share.
const (
	deadLettersMax   = 200 // of one partner; the oldest go, and are counted
	deadDocumentMax  = 16 << 10
	deadReasonMax    = 500
	divergencesMax   = 5000
	orderPartsMax    = 500 // fulfilments and cancellations of one order
	ReplyBytesMax    = 1 << 20
	CallTimeout      = 15 * time.Second
	RetryAfterMax    = time.Hour
	errorTextMax     = 300
	seenDocumentsMax = 4096
	sourceLook       = 1024            // changed articles read at once
	keepEvery        = 5 * time.Second // how often progress is kept
	idleWait         = time.Hour       // a lane that owes nothing is left alone; whatever is put wakes it
)
