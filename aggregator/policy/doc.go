// Package policy is the book of what is held back from sale, and how hard:
// safety stock, thresholds, fences, buffers, escrow, sourcing. It is pure.
//
// Promises: every change is a version with who and when, none is forgotten while
// its policy lives (the newest 100 per policy); a position's values follow from
// the policies alone, by one order of precedence; an explanation names the policy
// and version behind each value; resolution is compiled into immutable tables
// that any goroutine may read.
//
// It knows neither stock nor demand.
package policy
