// Package mending deals with what could not take effect, many at a time and by
// itself: it tries again what heals with time, as a source's policy says, decides
// what people select in bounded steps, and stops a source that parks too much until
// a person resumes it.
//
// Promises: a step decides at most 500 exceptions, each by itself, and says how to
// go on; attempts by policy come ever less often and end; a source that is paused
// stays so over a restart, and loses nothing, since its sender keeps what is not
// taken; agents are never paused. It decides nothing of one exception: that is the
// writer's.
package mending
