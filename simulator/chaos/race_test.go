//go:build race

package chaos

// raced says that tests are built with the race detector: what they build shares
// its compiled packages.
const raced = true
