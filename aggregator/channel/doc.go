// Package channel is what the connectors to commerce and marketplaces have in
// common: what waits to be told (the newest value per key, bounded), how old it was
// when a partner accepted it, what cannot take effect and why, orders that become
// reservations, and the guard that keeps calls off our own network.
//
// Each partner has a room of its own below this one; they do not know each other.
// Nothing here calls anybody: it promises that state which must outlive the process
// is in the ledger before it is acted upon.
package channel
