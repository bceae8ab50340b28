// Package reserve is the reservation book: who holds how much of which position,
// for how long, and what happens next. It is pure: times come in, changes come
// out.
//
// Promises: a decision looks at the stock and takes it in one step of the one
// writer, so that nothing is promised twice; a hold ends at its expiry for every
// reader without anybody sweeping; every call is idempotent by its caller's id;
// what the book holds of a position is exactly the sum over its live lines, and
// never below zero; what it decides it can read back. Changes carry the whole
// reservation after them, so that a replay applies and never decides, and a
// checkpoint with the log behind it is the book.
//
// It asks of its caller: one goroutine; times that never fall from call to call; a
// change that is applied, or dropped, before the next decision; and in a replay
// the times that the log says.
//
// It does not know stock, policies or stores' links: Stock tells, at the moment
// of the decision. It does not undo a collection when its sale is voided: the
// goods are back on the shelf by the void itself, and the order is its channel's.
package reserve
