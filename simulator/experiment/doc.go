// Package experiment measures what rules are worth: the four ways to read a count
// while sales arrive late, and what a risk buffer costs and saves. Worlds are
// drawn from a seed and know their own truth; our side is the real merge, the real
// learner and the real buffer.
//
// It promises that equal seeds give equal tables. It does not model what it says
// that it leaves out: theft, wrong counts, customers who come back.
package experiment
