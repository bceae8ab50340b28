package front

import "time"

// Bounds of a connection before net/http has it.
const (
	bufferBytes   = 8 << 10         // of requests read ahead; more goes to net/http
	answerBytes   = 64 << 10        // of answers gathered for one write; a longer answer goes alone
	headerTimeout = 5 * time.Second // for a whole request, from its first byte
	writeTimeout  = time.Minute     // for an answer, of which deadlineSlack may be gone
	idleTimeout   = 2 * time.Minute
	closeTimeout  = time.Second // for an answer that is being written at Close
	deadlineSlack = 20          // seconds: idle deadlines are renewed this rarely
	connsMax      = 20_000      // served here at once; one more is closed
	wordBytesMax  = 64          // of a SKU or location
)
