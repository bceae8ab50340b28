package release

import "time"

const (
	downloadsMax   = 16               // at once; further ones are told to come again
	retryAfterS    = "30"             //
	downloadLasts  = time.Hour        //
	tickEvery      = 15 * time.Second //
	stepMax        = 25               // agents asked in one tick
	underWayMax    = 50               // asked, neither running it nor failed
	failedShareMax = 0.05             // of those asked; more stop the rollout
	failedLeast    = 3                // failures that can be chance
	namesMax       = 5000             // stores and regions in one rollout
)
