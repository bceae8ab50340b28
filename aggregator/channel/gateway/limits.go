package gateway

// Bounds of what is kept for one partner.
const (
	PendingMax = 100_000 // keys that wait; who has no room must find more some other way
	driftMax   = 100     // fields that one partner added
	agesKept   = 4096    // newest acceptances, of which the percentiles are told
	flightMax  = 8       // calls of one bucket at once
	itemsMax   = 200_000 // keys whose calls of the day are counted

	ghostUS      = 10_000_000 // that a call without answer may still arrive
	backoffUS    = 1_000_000  // after the first 429 without Retry-After, or the first failure of a key
	backoffMaxUS = 300_000_000
	failureUS    = 250_000 // pause of a bucket after the first failure in a row
	failureMaxUS = 30_000_000
	rateFloor    = 1.0 / 60 // calls per second that no 429 takes away
	usPerS       = 1_000_000
	usPerDay     = 86_400 * usPerS
)
