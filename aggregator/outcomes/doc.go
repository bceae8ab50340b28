// Package outcomes adds up how well the chain's numbers and promises held: what
// counts found against the book, what was oversold, what people had to decide, how
// long documents took, and which promises were kept; by week, store and channel.
// It is pure.
//
// Promises: the same steps make the same book, whether they are told live or by a
// replay, with a checkpoint in between or not; a step costs a few additions; what
// is kept is bounded, and what is dropped is counted. It decides nothing.
//
// It knows neither the ledger nor the positions: the caller says what the merge
// and the other books saw.
package outcomes
