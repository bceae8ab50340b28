package reserve

// Bounds of the book.
const (
	rememberUS   = 7 * 86_400 * 1_000_000 // what is over is kept that long for repeats of its id
	closedMax    = 1_000_000              // … and no more than so many
	shards       = 4096                   // checkpoint chunks, by hash of the id
	usPerS       = 1_000_000
	chunkVersion = 1
	listMax      = 1000
)
