// Package tryton posts to Tryton 6.0 over its JSON-RPC, and reads its articles and
// its stock.
//
// Promises: a document becomes one shipment, booked once, whatever is cut off,
// repeated or raced (see post.go); errors are told as what is to be done about them;
// articles and units are checked before a document is sent. It stops at what
// postings mean: the book decides that.
package tryton
