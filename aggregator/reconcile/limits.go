package reconcile

import "tillwire/protocol"

// Bounds of the book. Beyond a bound of rows a tenth of a location's is dropped
// at once, so that a row costs little at the bound as well.
const (
	locationRowsMax    = 100_000
	rowsMax            = 2_000_000
	pairsMax           = 200_000 // sources of locations, and locations
	dropShare          = 10      // one in so many
	residuesMax        = 100_000
	residueDecidedMax  = 100_000
	pageMax            = 1000
	exceptionsMax      = 1000 // parts of one parked statement
	changeRowsMax      = 500  // of one change, so that it fits into a record whatever the SKUs
	residueIDBytesMax  = 16 + 3*protocol.IDBytesMax + protocol.NameBytesMax + protocol.SKUBytesMax
	noteBytesMax       = 500
	whoBytesMax        = 200
	snapshotIDBytesMax = 2 * protocol.IDBytesMax // a document's id and the number of its part
	cyclesMax          = 1_000_000
	momentMaxUS        = 253402300799_000_000 // the end of the year 9999
)

// Where rules state nothing.
const (
	agreeCyclesUsual  = 2
	zeroShareMaxUsual = 0.2
	zeroKeysMinUsual  = 20
)

// Checkpoint chunks: rows by hash, then locations, then what was decided of
// residues, then the book itself.
const (
	chunkVersion  = 1
	rowShards     = 16384
	placeShards   = 256
	residueShards = 64
	placeChunk    = rowShards
	residueChunk  = placeChunk + placeShards
	bookChunk     = residueChunk + residueShards
)
