// Package aggregator assembles the chain's side: broker, ingest, ledger, read
// model, fleet, APIs and ops UI. It wires and owns lifetimes; what each part
// promises stands in its own package.
package aggregator
