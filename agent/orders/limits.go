package orders

import "time"

// Bounds of orders.
const (
	queueMax    = 16  // commands that wait for the worker; what it drops comes again
	endedMax    = 200 // results that are remembered; the aggregator keeps 100 commands
	reasonBytes = 500
	doMax       = 2 * time.Minute // one command
)
