package orders

import "time"

// Bounds of one agent's orders.
const (
	openMax      = 20 // commands without a result
	keptMax      = 100
	reasonBytes  = 500
	resendUS     = 10_000_000 // at most so often, however often heartbeats come
	ValidDefault = time.Hour  // of a command
	ValidMax     = 30 * 24 * time.Hour
)
