// Package merge folds events into stock positions. It is the one place that
// knows what a sale, a count or a transfer does to a number.
//
// It is pure: no I/O of its own, no clock, no goroutines, no randomness. The
// same log folds to the same positions on every machine, and because each rule
// is a function of the set of events, not of their order, any order of arrival
// folds to the same positions as well (see the permutation test). It stops at
// deciding: making a batch durable is the ledger's part, answering the agent is
// ingest's.
package merge
