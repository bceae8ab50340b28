// Package store is the home of what is on disk: the agent's journal and the
// aggregator's ledger. bbolt is used below here and nowhere else. The package
// itself holds nothing; see journal and ledger.
package store
