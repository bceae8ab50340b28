package audit

// Bounds of the trail.
const (
	Kept          = 20_000 // entries; the oldest goes
	stateBytesMax = 4 << 10
	textBytesMax  = 500
	PageMax       = 1000
)
