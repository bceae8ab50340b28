// Package front stands before net/http on the aggregator's port and answers the
// hot calls, the availability of a SKU or of some hundreds, by itself.
//
// Promises: what it answers is what the API would have answered; whatever it is
// not sure about (another call, an odd header, a large body, a refused key) it hands to
// net/http with every byte that was read, and never touches again. It stops at
// recognising requests: numbers, keys and hosts are judged by the caller.
package front
