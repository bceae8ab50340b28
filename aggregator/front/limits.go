package front

import "time"

// Bounds of a connection before net/http has it.
const (
	bufferBytes   = 8 << 10 // of requests read ahead; more goes to net/http
	answerKept    = 64 << 10
	headerTimeout = 5 * time.Second // for the rest of a request that has begun
	idleTimeout   = 2 * time.Minute
	deadlineSlack = 20 * time.Second // idle deadlines are renewed this rarely
	connsMax      = 20_000           // served here at once; one more is closed
	wordBytesMax  = 64               // of a SKU or location
)
