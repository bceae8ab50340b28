// Package availability is the read model: what may be promised where, kept in
// memory and read without locks.
//
// Promises: an answer for one SKU is consistent in itself (its totals are those
// of one moment; a kit's parts are read one after another); a reader never waits
// for the writer, nor the writer for readers or subscribers; an answer says how
// old its knowledge of each location is, and takes off what may have been sold
// since; Promise and the answers are one arithmetic; a state that a subscriber
// was told, or read at its reset, is the state until it is told another. One
// goroutine writes.
//
// It is a copy: after a restart it is filled from the ledger's fold. It decides
// nothing, does not let holds expire (the writer publishes what has), and stops
// at being asked by SKU.
package availability
