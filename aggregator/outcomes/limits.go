package outcomes

// Bounds of the book.
const (
	weeksKept    = 60
	rowsMax      = 120_000 // of all weeks: some 60 MiB where each has a sync window
	weekRowsMax  = 30_000  // of one week; what is beyond goes under no name
	countedMax   = 200_000 // count lines that late movements may still correct: some 20 MiB
	countedForUS = 7 * dayUS
	textMax      = 4096   // of a store's or channel's name in a chunk
	reportRows   = 20_000 // of one answer

	dayUS  = 86_400_000_000
	weekUS = 7 * dayUS
	// mondayUS is the first Monday of 1970.
	mondayUS = 4 * dayUS
)

// Chunk numbers are on disk.
const (
	chunkVersion = 1
	weekSlots    = 64 // chunk of a week: its number by this; more than are kept
	countedChunk = 1024
	countedSlots = 4096
	bookChunk    = countedChunk + countedSlots
)
