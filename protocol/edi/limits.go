package edi

// The bounds of one file.
const (
	interchangesMax = 100
	segmentsMax     = 500_000
	elementsMax     = 100 // of one segment
	componentsMax   = 20  // of one element
	messagesMax     = 10_000
	linesMax        = 100_000 // of one message; longer than a document they are journaled in parts
	isaBytes        = 106     // an ISA segment has one length
)
