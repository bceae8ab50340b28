// Package trace tells the way of one document: from the register through the
// agent's journal and the ledger to what followed from it. It promises that each
// hop comes from the record of that hop, not from a log file that may be gone, and
// says whose clock told the time. It stops at documents that never reached the
// aggregator: their agent knows of them.
package trace
