// Package posting turns what the ledger merged into ERP documents. It is pure, and a
// function of the log: it nets movements per store, article, business day and class,
// cuts documents from them, and holds what became of each.
//
// Promises: the sum of what is netted and what was cut of a position is its stock;
// the same log gives the same documents under the same keys; a document never changes
// once an ERP may have heard of it; after a restore nothing is cut before a person
// says so. It stops at sending, which is aggregator/poster's, and at journaling, which
// is ingest's.
package posting
