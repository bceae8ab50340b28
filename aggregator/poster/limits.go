package poster

import "time"

// Bounds of the sender.
const (
	batchDocs      = 1024            // documents asked for at once
	backoffFirst   = time.Second     // after an error that may heal
	backoffMost    = 5 * time.Minute //
	attemptsMax    = 12              // of one document, while the ERP answers others: then it is parked
	tick           = time.Second     // how often the book is asked for what is due
	callTimeout    = 2 * time.Minute // of one document
	closedEvery    = time.Minute     // how long the last closed day is believed
	errorBytes     = 500
	resultAttempts = 100 // to journal a result, before the process is given up
)
