// Package update replaces the agent's program by one that the aggregator wants and
// the release keys signed, and goes back when it does not prove itself. It promises
// that, whatever is killed and whenever, the next start runs a program that was
// whole, signed and either installed by a package or confirmed once. It stops at
// deciding what is wanted: desired state does.
package update
