// Package gateway decides what a partner is told next, and when: the newest value of
// each key that changed, in batches, never faster than the partner allows.
//
// It is pure: times come in as arguments and calls are made by others. It promises
// that a partner that keeps the bucket it published never sees a call too many,
// however long calls take on their way; that a key is owed until it was accepted or
// refused for good; and that what failed is tried again alone. It does not know what
// a value is, nor who the partner is.
package gateway
