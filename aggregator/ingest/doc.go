// Package ingest is the aggregator's one writer: it takes hellos, frames and
// feed documents, folds them with merge, commits one ledger transaction per
// batch across all stores, and only then answers.
//
// Promises: an ack is sent after the commit that it speaks of; a gap is never
// closed by time; one bad record is parked by itself and never blocks its
// store; queues are bounded, and what does not fit is refused where the sender
// sees it. It stops at the ledger: who is late and why is fleet's business.
package ingest
