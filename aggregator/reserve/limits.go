package reserve

import "tillwire/protocol"

// Bounds of the book.
const (
	rememberUS   = 7 * 86_400 * 1_000_000 // what is over is kept that long for repeats of its id
	closedMax    = 1_000_000              // … and no more than so many, the oldest go first
	liveMax      = 4_000_000              // reservations that hold stock: about 600 B each
	shards       = 1 << 16                // checkpoint chunks, by hash of the id
	usPerS       = 1_000_000
	chunkVersion = 2
	listMax      = 1000

	// A change is the body of one journaled event: what is not sure to be read
	// back must not be decided. Reasons grow on the way, so that a request gets
	// half of what a record holds.
	requestBytesMax = 96 << 10
	recordBytesMax  = 200 << 10 // below protocol.RecordBytesMax, with the event around it
	linesMax        = 8192      // no record of so many bytes has more
	reasonBytesMax  = 120       // of a store's own words

	conflictsMax     = 4096       // changes of one look at conflicts; the rest follows with the next
	resourceWithinUS = 60_000_000 // what was rejected longer ago stays rejected: its channel was told
	namesMax         = 4096       // channels and groups of which one copy is kept
	deadSlotsMin     = 32         // a roster is compacted when so many, and half of it, are gone
	touchedMin       = 4096       // touched positions are made unique beyond it
	greedyCellsMax   = 100_000    // positions looked at to spare a split
)

// The bounds leave room for each other.
const _ = uint(protocol.RecordBytesMax - recordBytesMax - 4096)
