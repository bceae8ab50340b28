// Package fleet keeps what is known of every store and agent of the chain and
// judges it: who is online, who is stuck, who is draining and until when, whose
// till has gone quiet, what a person must do about it.
//
// It promises that a number it shows is either known or said to be unknown, that
// a store that went silent is never shown as fresh, and that one input costs the
// same whether the chain has 4 stores or 4,000. Judging is pure (*_core.go): facts
// and a moment in, a verdict and the moment at which it could change out. Readers
// get immutable snapshots and never wait for a writer.
//
// Flows keeps, beside that, how the connections to other systems went; judging them
// is their own.
//
// It does not own the link, the ledger or HTTP: the aggregator calls its hooks,
// api and web read its snapshots. It keeps nothing on disk; marks of the ledger
// bring it back after a restart, and standing incidents (events that are gone)
// are handed to Options.Keep, to be given back through Restore.
package fleet
