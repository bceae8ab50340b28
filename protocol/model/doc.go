// Package model holds the sync protocol as a Promela model, sync.pml, and the test
// that has Spin look at all of its states: no event that was answered 201 is lost
// while its disk lives, none counts twice, and what an agent takes for merged is.
// README.md says which state of the model is which in the code. It has no code of
// its own, and stops at safety: that a backlog ends is shown by simulation.
package model
