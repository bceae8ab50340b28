// Package safetest loses ledgers: the real aggregator is killed, its database is
// deleted and made again of a copy, and the journals of real agents, trimmed as far
// as they were told was safe, must bring back everything.
//
// It promises the two watermarks as facts, and that where less than a verified
// backup was trusted the loss is named to the number. It stops at one machine: that
// a copy survives its folder is the operator's.
package safetest
