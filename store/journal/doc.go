// Package journal keeps one agent's events on disk until the aggregator has
// merged them and they may be trimmed.
//
// It promises that a Receipt means the record is on disk (fsync returned), that
// sequence numbers run 1, 2, 3, … without a gap and are never used twice within
// one file, that an event id is journaled once while its record is retained,
// that record times rise strictly, and that no damaged byte is handed out: each
// record carries a CRC32C and the hash chain over all records before it.
//
// It stops at the disk: it does not know the network, does not judge documents
// and keeps no stock. One goroutine per journal writes; all methods may be
// called from any goroutine. FORMAT.md draws the file, README.md the failures.
package journal
