package policy

// Bounds of the book.
const (
	policiesMax  = 100_000 // that have not ended
	endedMax     = 20_000  // ended ones whose versions are still known
	versionsMax  = 100     // of one policy
	versionsAll  = 400_000 // of all, about half a KB each
	shards       = 4096    // checkpoint chunks, by hash of the policy's id
	bookChunk    = shards  // … and one of the book itself
	chunkVersion = 2
)
