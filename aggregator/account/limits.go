package account

import "time"

// Bounds of accounts, sessions and tries.
const (
	UsersMax          = 1000
	sessionsMax       = 5000 // beyond, the one that ends first goes
	sessionsPerPerson = 20
	nameBytesMax      = 64
	PasswordBytesMin  = 10
	passwordBytesMax  = 256
	sessionLasts      = 12 * time.Hour
	fileBytesMax      = 8 << 20
	lockWait          = 5 * time.Second
	lockStale         = 30 * time.Second // whoever made it is dead
	lookEvery         = time.Second      // at a file that another program may have changed

	// Tries of passwords, then what comes back each minute.
	triesPerName    = 10 // from one address
	triesPerAddress = 30
	triesOverAll    = 200
	triesTracked    = 4096
	hashesAtOnce    = 2 // each takes 19 MiB and some 30 ms

	// OpenID Connect.
	pendingMax   = 1000
	pendingLasts = 10 * time.Minute
	providerWait = 10 * time.Second
)
