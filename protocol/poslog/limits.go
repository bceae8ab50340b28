package poslog

// The bounds of one file.
const (
	bytesMaxDefault = 64 << 20 // Options.BytesMax
	depthMax        = 48       // elements within elements
	nodesMax        = 200_000  // elements of one transaction
	attrsMax        = 64       // attributes of one element
	problemsMax     = 1000     // transactions reported one by one
	piecesMax       = 10_000   // pieces of one barcode label in one line
	linesMax        = 100_000  // item lines of one transaction; split at the wire's 1000
)
