package front

import "time"

// Bounds of a connection before net/http has it.
const (
	bufferBytes   = 8 << 10          // of a request, head and body; a larger one goes to net/http
	connsMax      = 256              // served here at once; further ones go to net/http
	wholeTimeout  = 5 * time.Second  // for the rest of a request that has begun; then net/http waits for it
	idleTimeout   = 2 * time.Minute  // between requests
	writeTimeout  = time.Minute      // for an answer, at least deadlineSlack less
	deadlineSlack = 20 * time.Second // deadlines are renewed this rarely
	closeTimeout  = time.Second      // for an answer that is being written at Close
	closeWait     = 3 * time.Second  // for documents that are being journaled at Close
)
