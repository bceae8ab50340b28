package mending

import "time"

// Bounds.
const (
	stepMax      = 500    // exceptions of one step
	previewMax   = 20_000 // looked at for a preview or a list of causes
	examplesMax  = 5
	healMax      = 1_000   // exceptions that one round of policies tries
	arrivedMax   = 100_000 // articles that came between two rounds
	sourcesMax   = 1_000   // sources of which parked documents are counted
	healEvery    = 15 * time.Second
	reasonMax    = 500
	firstDefault = time.Minute
	mostDefault  = time.Hour
	timesDefault = 50
)
