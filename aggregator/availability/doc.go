// Package availability is the read model: what is available where, kept in
// memory and read without locks.
//
// Promises: an answer for one SKU is consistent in itself (its totals are those
// of one moment); a reader never waits for the writer, nor the writer for
// readers; an answer says how old its knowledge of each location is. One
// goroutine writes. It is a copy: after a restart it is filled from the ledger's
// fold, and it stops at being asked by SKU.
package availability
