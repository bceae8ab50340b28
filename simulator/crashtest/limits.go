package crashtest

import "time"

// The bounds of the campaigns.
const (
	readyMax      = 20 * time.Second // for a program to get ready
	healMax       = 60 * time.Second // from the end of a fault to the next 201
	answerMax     = 10 * time.Second // for one answer
	drainMax      = 60 * time.Second // for the aggregator to have everything
	toolMax       = 30 * time.Second // for mount, umount and their like
	tills         = 4                // concurrent tills of an agent
	generationMax = 500              // kills after which a fresh folder is begun: what must be remembered stays small
	killWithin    = 25 * time.Millisecond
	workersMax    = 2 // agents killed at the same time
	sector        = 512
	groupsMin     = 240  // recorded groups of appends
	groupsMax     = 4000 // of which a trace takes some 400 MB
	passesMax     = 8    // over a recording, until enough states were found
	statesPerOpen = 64   // crash states of which one also has to take a write
	wordsMax      = 2000
)
