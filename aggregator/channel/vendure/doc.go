// Package vendure keeps a Vendure shop and the chain's stock together, over Vendure's
// GraphQL API alone.
//
// Orders become reservations, fulfilments consume them, cancellations give them back.
// Stock goes out as absolute numbers:
//
//	stock on hand told = what the channel may sell + what we hold for this shop's orders
//
// so that what Vendure may sell is right whether or not we have heard of its newest
// order. What Vendure shows otherwise is found by reading it, told as a divergence,
// and set right. It promises the newest number and no echo of its own writes; a hook
// makes it fast, and nothing depends on one.
package vendure
