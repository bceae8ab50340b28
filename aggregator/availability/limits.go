package availability

// Bounds of the read model.
const (
	changesKept = 1 << 16 // SKU changes that a slow follower may be behind
	searchMax   = 1000    // SKUs that one search returns

	usPerS           = 1_000_000
	bufferAgeMaxUS   = 28 * 86400 * int64(usPerS) // older knowledge costs no larger buffer
	neverCountedDays = 365                        // what never was counted is trusted like this
	alphaMin         = 0.5                        // below, a service level is none
)
