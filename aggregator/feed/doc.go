// Package feed turns what outer systems send (WMS, ERP, commerce, 3PL) into
// canonical events, and hands them to the same door as a store's journal.
//
// Promises: each document of a call or file is judged by itself and answered by
// itself; documents for one location keep their order; a statement of any length is
// taken as one. What cannot be taken is parked as it came, with its reason, and read
// again on request; only what is beyond the bounds, or holds card data, is refused
// and not kept. A file that appears in a watched folder is taken once, whenever the
// process dies in between. It keeps no state but counters: dedupe, sequence and
// durability are the door's.
package feed
