// Package orders does what the aggregator wants of one agent: it applies desired
// state whole or not at all, and carries commands out once, whatever is told again.
// Accepting a command and its result are events of the journal, so that neither a
// restart nor a dead line loses them. It promises that nothing is begun after its
// time, and that what it keeps is bounded. It stops at its func options: the link,
// the journal and the bundle's contents belong to the agent.
package orders
