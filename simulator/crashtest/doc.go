// Package crashtest breaks real processes on a real machine: the agent's and the
// aggregator's own programs are killed, their disks fill up, fail, turn
// read-only, forget what was not synced, or run out of memory, while tills post
// sales over HTTP; and every possible crash of recorded writes of the real
// database is enumerated.
//
// It promises that each campaign judges by what tills were told: every 201 must
// stand in the journal under its number, once, and the chain must verify. It
// stops at one machine: lines between machines are broken in the simulator's
// other rooms.
package crashtest
