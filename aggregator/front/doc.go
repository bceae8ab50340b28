// Package front stands before net/http on the aggregator's port and answers the
// one hot call, a SKU's availability, by itself.
//
// Promises: what it answers is what the API would have answered; whatever it is
// not sure about (another call, an odd header, a body, a refused key) it hands to
// net/http with every byte that was read, and never touches again. It stops at
// recognising requests: numbers, keys and hosts are judged by the caller.
package front
