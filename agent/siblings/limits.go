package siblings

import "time"

const (
	// AskTimeout bounds one question, and so by how much a cut can be wrong: a
	// sale at the sibling while the question was on its way may fall on either
	// side. A person takes longer to put a counted article back.
	AskTimeout = 300 * time.Millisecond
	// restAfterFailure keeps counts of a thousand lines from waiting for a till
	// that is switched off.
	restAfterFailure = 10 * time.Second

	// PeersMax is protocol.CutsMax less the own journal.
	PeersMax = 63
	// MomentsMax is how many moments one question holds; a count may ask several.
	MomentsMax   = 256
	bodyBytesMax = 16 << 10
	// SecretBytesMin of the shop's secret: 128 bits, as hex or any text.
	SecretBytesMin = 16

	readTimeout  = 5 * time.Second
	idleTimeout  = 2 * time.Minute
	headerBytes  = 4 << 10
	connsPerPeer = 4
)
