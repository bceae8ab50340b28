// Package marketplace tells a marketplace how much there is of each listing.
//
// The policy gateway decides what is told when; this room speaks the marketplace's
// language: Amazon's Selling Partner API, by listing (patchListingsItem) or by supply
// source (batchInventory). It promises that the newest number of a listing arrives
// within the rate that Amazon allows, and that what Amazon says about it is looked at:
// unknown fields are reported, refusals become dead letters. It takes no orders.
package marketplace
