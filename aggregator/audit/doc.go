// Package audit keeps who did what: the trail of people's actions, newest last,
// bounded, in the ledger's facts.
//
// It promises that an entry which Record has answered is on disk, with a number
// that follows the one before, and that the newest 20,000 are kept: they are part
// of the ledger and so of its backups. An action is recorded when it is done or
// refused; at a crash between the two the action stands and its entry is missing,
// and the thing itself (a policy's version, an exception's note) still says who.
//
// It decides nothing and looks at no permission. The caller says what was done.
package audit
