// Package link carries an agent's journal to its aggregator over MQTT 3.1.1 and
// brings back how far it is merged.
//
// Promises: records are offered in their order, byte for byte, from behind what
// the aggregator said it has merged; the merged mark moves only by an Ack of
// the current epoch and lease whose hash chain equals the journal's own; a
// connection that breaks anywhere costs repetition, never an event. It stops at
// the journal: it neither journals nor trims, and what is offered twice is the
// aggregator's to recognise.
package link
