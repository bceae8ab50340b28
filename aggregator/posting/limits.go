package posting

// Bounds of the book.
const (
	KeyLen       = 16      // the shortest reference field among the ERPs that we know: SAP's ReferenceDocument
	LinesMax     = 200     // of a document: Tryton's cost per line rises beyond
	docsMax      = 200_000 // kept in memory, settled ones included; the oldest settled go first
	DueMax       = 10_000  // documents that wait; beyond it movements go on being netted, nothing is cut
	countSources = 64      // entries that a count's line names; more are counted only
	rowShards    = 4096    // checkpoint chunks of rows
	docShards    = 4096    // … and of documents
	metaChunk    = rowShards + docShards
	chunkVersion = 1
	reasonBytes  = 500
	codeBytes    = 64
	erpIDBytes   = 200
	whoBytes     = 200
	noteBytes    = 500
	erpsMax      = 64
	lineBytesMax = 1 << 20 // of a change
)
