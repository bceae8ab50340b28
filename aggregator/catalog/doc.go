// Package catalog is the item master that the numbers depend on: units of
// measure and bills of materials. It is pure.
//
// Promises: every change is a version with who, when and its place in the
// ledger's log; a document is read with the version that was known when it was
// merged, for ever, so that a replay and an explanation read it as it was read
// first; kits cannot contain themselves and come to few lines; an article that
// nobody described moves all the same; a Set never changes, and readers on other
// goroutines need no lock.
//
// It does not know stock. Names and categories are for people and policies.
package catalog
