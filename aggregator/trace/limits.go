package trace

import "time"

const (
	entriesMax   = 3_000_000 // of the log, read for an id that does not say where to look
	chunk        = 100_000   // read at a time, newest chunk first
	documentsMax = 50        // that one id speaks of
	idBytesMin   = 4         // a shorter text is in too many documents
	idBytesMax   = 128
	searchMax    = 10 * time.Second
	exceptionMax = 1000 // looked at for an id
)
