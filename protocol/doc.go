// Package protocol is what is on the wire: canonical events, records, frames,
// control messages, topics, HTTP documents and answers, and their limits. It is
// pure: no I/O, no clock, no goroutines, no logs. Where both programs must agree
// on something, it stands here; where one program decides, it does not.
package protocol
