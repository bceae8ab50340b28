// Package simulator is a fleet of real agents with an oracle that knows the
// truth. It runs the agent's own package once per store, with a journal on disk
// and MQTT over loopback TCP, against the real aggregator; sells baskets whose
// rhythm follows a real grocery profile, or replays files of real sales; breaks
// links; and says at the end, computed from its own record of what was
// acknowledged, how many events were lost, doubled, or led to a wrong stock.
//
// It promises that the verdict shares no code with the merge: the oracle sums
// documents as the tills sent them, and reads the chain over its public HTTP
// API only. It stops at the program boundary: no fault is injected inside the
// agent or the aggregator, only in time, in links and in what tills say.
package simulator
