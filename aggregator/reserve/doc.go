// Package reserve is the reservation book: who holds how much of which position,
// for how long, and what happens next. It is pure: times come in, changes come
// out.
//
// Promises: a decision looks at the stock and takes it in one step of the one
// writer, so that nothing is promised twice; a hold ends at its expiry for every
// reader without anybody sweeping; every call is idempotent by its caller's id;
// what the book holds of a position is exactly the sum over its live lines, and
// never below zero. Changes carry the whole reservation after them, so that a
// replay applies and never decides.
//
// It does not know stock, policies or stores' links: Stock tells, at the moment
// of the decision.
package reserve
