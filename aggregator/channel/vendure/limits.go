package vendure

import "time"

// Bounds.
const (
	ordersPage     = 100
	variantsPage   = 100
	variantsMax    = 500_000
	batchUsual     = 50
	rateUsual      = 20.0 // mutations per second
	burstUsual     = 5
	pollUsual      = 15 * time.Second
	reconcileUsual = 10 * time.Minute
	divergencesMax = 500
	cursorOverlap  = 2 * time.Minute // orders' times are of Vendure's clock, in seconds
	hookTolerance  = 5 * time.Minute
	secondLook     = time.Second // after a difference was seen
	errorPause     = 5 * time.Second
)
