package marketplace

import "time"

// Bounds.
const (
	toldMax      = 500_000 // listings whose last number is remembered
	batchMax     = 10      // of batchInventory
	tokenSpare   = time.Minute
	loginAgainIn = 30 * time.Second
)
