// Package identity is the chain's own certificate authority and the book of who
// holds which certificate. It issues the broker's certificate and those of agents,
// judges the ones that peers show, and forgets no revocation that was kept.
//
// Promises: a certificate is believed only while the book names its key, so that a
// new enrolment or a revocation ends what was issued before, whatever is written in
// it; an issuing key leaves the folder never. It stops at the network: the broker
// asks it, and cutting a connection is the caller's.
package identity
