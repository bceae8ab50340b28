package inbox

import "time"

// The bounds of the folder and of a file.
const (
	pollDefault     = 2 * time.Second
	fileBytesMax    = 64 << 20
	filesPerPollMax = 1000 // further files wait for the next look
	batchEvents     = 200  // documents journaled as one group
	reasonsMax      = 1000 // problems listed in one .reason.json; the rest is counted
	retryMin        = time.Second
	retryMax        = 30 * time.Second
)
