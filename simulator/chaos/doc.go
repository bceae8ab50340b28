// Package chaos runs the whole way of a sale, from the till to the ledger, inside
// one goroutine with simulated disks, networks, clocks and processes, breaks all of
// them, heals them, and compares the end with an oracle that shares no code with
// the merge. The journal's planning, sealing, verifying, marks and salvage, the
// link with its session, the frames' bytes, the ingest with its session and the
// merge are the production code; what is simulated ends at bbolt, MQTT and TCP.
//
// It promises that a seed is a run: the same seed does the same, step by step, on
// any machine. A failure names the command that repeats it. It stops at the file
// systems, sockets and schedulers of real machines: crashtest and linktest break
// those.
package chaos
