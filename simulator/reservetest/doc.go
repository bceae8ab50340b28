// Package reservetest proves that reservations are linearisable per position: the
// real aggregator program is asked by concurrent clients over HTTP, killed with
// SIGKILL and started again on its data, and porcupine judges the history.
//
// It holds tests only. What it does not show: several aggregators on one ledger,
// which this version does not have.
package reservetest
