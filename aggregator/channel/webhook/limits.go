package webhook

import "time"

// Bounds of outbound webhooks.
const (
	subscriptionsMax = 256
	batchLook        = 4096 // changed SKUs read at once
	triesRefused     = 3    // of a message that its receiver calls wrong, before it is put aside
	backoffFirst     = time.Second
	backoffMax       = 5 * time.Minute
	pauseAfter       = 72 * time.Hour // of nothing but failures
	keepEvery        = 5 * time.Second
	overlapUsual     = 24 * time.Hour // that an old secret signs beside its successor
	overlapMax       = 7 * 24 * time.Hour
	toldMax          = 200_000 // keys of one subscriber whose last numbers are remembered
)
