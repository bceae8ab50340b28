// Package poster works the queues of ERP documents: order, rate, retries, closed
// periods, parking. What is owed it is told by the ledger (aggregator/posting), what
// became of it it has journaled there.
//
// Promises: a document is brought to an end, posted or parked, or is tried again; one
// store's trouble holds up no other; an ERP that is away is waited for. It stops at
// the ERP's own language, which connectors (tryton, generic) speak, and at being
// exactly once, which they promise by the document's reference.
package poster
