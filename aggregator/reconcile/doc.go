// Package reconcile judges what outer systems state of stock against the book:
// who is the record of a location's quantities, which statement becomes an
// anchor, which is kept as a row of drift, and what a person decides of it. It is
// pure.
//
// Promises: a statement of a system that is not the record never moves stock;
// nothing is taken on an uncertain cut before it was stated several times in a
// row or approved; an older statement, and one that would zero much of a
// location, is refused; each judgement is made once and is a change that the
// caller journals, so that the same changes make the same book; rows are bounded,
// and what is dropped is counted.
//
// It knows neither the ledger nor the positions: the caller says what the book
// had at a statement's cut, and journals the anchors.
package reconcile
