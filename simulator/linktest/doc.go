// Package linktest holds agent/link, aggregator/broker, aggregator/ingest and
// the two databases to the promises of the sync protocol, all of them real, over
// loopback TCP: nothing lost, nothing counted twice, whatever the line, the
// broker or either disk does. It has tests only, and stops at the positions:
// documents, HTTP and pages are tested elsewhere.
package linktest
