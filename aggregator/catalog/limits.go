package catalog

// Bounds of the book beside protocol's.
const (
	kitLinesMax  = 256       // lines that a kit comes to, down to what has stock: a document of 1000 kits stays bounded
	namesMax     = 100       // versions of an item of which some differ by name or category only
	readingsMax  = 1000      // … and of those that read documents otherwise
	versionsMax  = 4_000_000 // of all items
	pathShown    = 8
	blockMax     = 512 // SKUs of one block of an index
	shards       = 32768
	shardsPage   = 128 // of one page, which is copied with a shard of it
	pages        = shards / shardsPage
	chunkVersion = 2
)
