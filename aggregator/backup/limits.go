package backup

import "time"

const (
	manifestFormat   = 1
	manifestBytesMax = 64 << 20 // 100,000 journals take 20 MB
	copiesMax        = 100_000  // manifests looked at in one folder
	windowMax        = 8 << 20  // of zstd: memory of whoever reads a copy back
	orphanAge        = time.Hour
	scrubAfter       = 7 * 24 * time.Hour // a shared segment is read back again after this
	scrubsMax        = 50                 // in one run
	hookOutputMax    = 2 << 10            // bytes kept of what the command said
	firstAfter       = 2 * time.Second    // the first copy of a process that is due
	retryMin         = 10 * time.Second
	retryMax         = 15 * time.Minute
)
