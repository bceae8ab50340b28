// Package release is what a new agent's program must prove before a shop runs it:
// a manifest signed by keys that the shop already trusts, newer than whatever it
// has seen, not expired, naming the program's exact bytes. It promises that who
// holds the line, the aggregator or a mirror, but not the keys, can withhold an
// update and nothing else. It stops at fetching, storing and starting programs.
package release
