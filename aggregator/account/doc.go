// Package account keeps the people who look at the ops UI and decide there: local
// accounts with hashed passwords, people of an OpenID Connect provider, and the
// sessions of both.
//
// It promises that a password is kept as an argon2id hash and nowhere else, that a
// session is kept as the hash of its secret, that an account which is removed or
// whose password or role is changed has no session left, and that trying passwords
// is bounded per name, per address and over all. It survives a restart: both lists
// are files of the data folder, replaced whole. Any number of programs may change
// the accounts; one, the aggregator, keeps sessions.
//
// It decides who somebody is and which role they have. What a role may do is said
// where it is done: in web and api.
package account
