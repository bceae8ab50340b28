// Package backup makes copies of the ledger that a store may trust its past to, and
// makes a ledger of a copy again.
//
// It promises that a copy which is listed was read back from where it lies, with
// every checksum, before it was listed; that nothing slow happens while the ledger
// waits; that full segments of the log are written once and shared by all later
// copies, so that a copy costs what changed and not what is; that a restore never
// overwrites a ledger; and that who is told "safe" is told of a copy whose command
// hook, where there is one, has ended well.
//
// It stops at the folder: it does not know what events mean, does not carry copies
// anywhere itself (a mount or the hook does), and one process writes to a folder.
package backup
