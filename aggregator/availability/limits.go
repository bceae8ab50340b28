package availability

// Bounds of the read model.
const (
	changesKept = 1 << 16 // SKU changes that a slow follower may be behind
	searchMax   = 1000    // SKUs that one search returns
)
