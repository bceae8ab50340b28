// Package webhook tells subscribers what changed: CloudEvents over HTTP, signed by
// Standard Webhooks' three headers.
//
// Promises: each subscriber hears the newest value of every key that changed, at
// least once, in messages of one at a time; a receiver that is slow or away costs a
// bounded set of keys, never a queue of messages; what was not taken before this
// process ended is found in the ledger's log again; secrets are derived from the
// data folder's key and kept nowhere. It stops at meaning: a message carries absolute
// numbers, so that one heard twice changes nothing.
package webhook
