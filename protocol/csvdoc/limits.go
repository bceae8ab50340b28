package csvdoc

// The bounds of one file.
const (
	linesMax     = 1_000_000
	cellBytesMax = 64 << 10
	columnsMax   = 200
)
