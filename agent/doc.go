// Package agent assembles one shop's agent: the POS port (intake), the file
// inbox, the journal, and the link to the aggregator. It wires and owns
// lifetimes; what each part promises stands in its own package.
package agent
