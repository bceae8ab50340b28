// Package bolt is the embedded ledger: one bbolt file, one writer, any number
// of readers.
//
// It promises what the contract in package ledger says, and besides: a commit
// is one transaction and one fsync; every value carries a checksum over its key
// and itself, which each read verifies; damage is reported as ledger.ErrCorrupt
// with what was got and wanted, never repaired by deletion; memory is bounded
// by IDsHot ids, some 11 bits for each id ever committed, and the marks.
//
// It stops at the file: it does not know what events mean, takes no backups,
// and one process at a time may write (others may read while none does).
// FORMAT.md beside the contract draws the file.
package bolt
