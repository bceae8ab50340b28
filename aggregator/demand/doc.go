// Package demand learns how fast each position sells, from the sales that are
// merged, and says how much may have been sold where nobody has heard from a
// store for a while: the risk buffer. It is pure.
//
// Promises: six bytes per position; the order of sales does not matter beyond
// rounding; a buffer is the least quantity that demand stays within with the
// asked probability, under the model written at Buffer; no demand, or no age,
// means no buffer.
//
// It does not know stock. What it learns decides no book number, only how much of
// it is promised.
package demand
