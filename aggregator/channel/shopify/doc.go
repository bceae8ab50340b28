// Package shopify takes a Shopify shop's webhooks: orders become reservations,
// fulfilments consume them, cancellations and refunds of what has not gone out give
// them back.
//
// It promises that a call counts once, in whatever order and however often it comes,
// that only calls signed with the shop's secret are believed, and that what cannot
// take effect is kept with its reason. It calls nobody.
package shopify
