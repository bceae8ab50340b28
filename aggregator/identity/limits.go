package identity

import "time"

const (
	rootLife     = 20 * 365 * 24 * time.Hour
	issuingLife  = 10 * 365 * 24 * time.Hour
	serverLife   = 90 * 24 * time.Hour
	backdateMax  = 24 * time.Hour // clocks of shops are wrong by hours more often than one thinks
	csrBytesMax  = 8 << 10
	fileBytesMax = 256 << 10
	chainMax     = 4 // certificates that a peer may show
	reasonMax    = 200
	// tellExpiry is how long before its end an authority's certificate is spoken of.
	tellExpiry = 180 * 24 * time.Hour
)

// Lifetime is how long an agent's certificate is good, where nothing else is set;
// agents renew at about two thirds of it, each at a moment of its own.
const Lifetime = 30 * 24 * time.Hour

// Grace is how long behind its end a certificate still serves to renew itself.
const Grace = 90 * 24 * time.Hour
