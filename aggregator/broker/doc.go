// Package broker is the aggregator's embedded MQTT 3.1.1 broker: one listener,
// one hook, no state that matters.
//
// Promises: nobody is heard before the token is verified; an agent speaks and
// listens under its own prefix only; one hostile packet, connection or address
// costs itself and never the process; Publish and the hook never wait for a
// network. It stops at bytes: what they mean is ingest's business, and a
// message that it accepted may still be lost with the process, because truth
// is in the agent's journal and in the ledger.
package broker
