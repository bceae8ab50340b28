// Package intake is the port of the points of sale: documents come in over
// HTTP, are checked whole, journaled, and answered when they are on disk.
//
// It promises that 201 and 200 mean durable, that a refused document leaves
// nothing behind, that every refusal names the field and the remedy, and that a
// page or program in a browser elsewhere cannot write. It also keeps the shop's
// own stock, folded from the journal, and a page for whoever stands in the shop.
// It stops at the journal: it does not know the link, only what it is told of
// its state, and decides nothing about other shops.
package intake
