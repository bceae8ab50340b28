package simulator

import (
	"sync"
	"sync/atomic"
	"time"
)

// runClock is the time of a run. The story has its own, which runs faster than the
// machine's; its pace may change, it never goes back. Documents carry the story's
// time where agents and aggregator go by this clock too, and the machine's where
// one of them is a process that knows no other.
type runClock struct {
	machine bool // documents carry the machine's time

	mu  sync.Mutex // guards writing
	now atomic.Pointer[pace]
}

// pace is a straight piece of story time.
type pace struct {
	base  time.Time // the story's
	since time.Time // the machine's at base
	rate  float64
}

func (p *pace) at(machine time.Time) time.Time {
	return p.base.Add(time.Duration(float64(machine.Sub(p.since)) * p.rate))
}

func newRunClock(story time.Time, rate float64, machine bool) *runClock {
	c := &runClock{machine: machine}
	c.now.Store(&pace{base: story, since: time.Now(), rate: rate})
	return c
}

// story is the time in the story.
func (c *runClock) story() time.Time { return c.now.Load().at(time.Now()) }

// stamp is the time that documents carry, before a store's own clock bends it.
func (c *runClock) stamp() time.Time {
	if c.machine {
		return time.Now()
	}
	return c.story()
}

func (c *runClock) rate() float64 { return c.now.Load().rate }

// setRate changes the pace from here on.
func (c *runClock) setRate(rate float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.now.Store(&pace{base: c.now.Load().at(now), since: now, rate: rate})
}

// skipTo lets the story stand at a later moment.
func (c *runClock) skipTo(story time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, now := c.now.Load(), time.Now()
	if at := p.at(now); at.Before(story) {
		c.now.Store(&pace{base: story, since: now, rate: p.rate})
	}
}

// real is how long a span of the story takes on the machine.
func (c *runClock) real(story time.Duration) time.Duration {
	return time.Duration(float64(story) / c.rate())
}

// pacer finds the pace at which the machine keeps up. It cruises as fast as tills
// and live lines allow, and all but holds the story where they have fallen behind
// it, until they have caught up.
type pacer struct {
	clock  *runClock
	most   float64
	cruise float64
	held   bool
}

const (
	paceEvery    = 100 * time.Millisecond
	paceLateS    = 0.4 // real seconds at cruising pace that tills may be late: beyond, the story is held
	paceCaughtS  = 0.1
	paceBehindS  = 2.0 // seconds of work that may wait on lines which are up
	paceSlower   = 0.8
	paceFaster   = 1.05
	paceHold     = 0.02 // of the cruising pace
	virtualStart = 60.0
)

// step judges the last moments: how late tills were on the mean, in the story, and
// how many seconds of work wait though their line is up.
func (p *pacer) step(late time.Duration, behindS float64) {
	lateS := late.Seconds() / p.cruise
	switch {
	case p.held:
		p.held = lateS > paceCaughtS || behindS > paceBehindS/2
	case lateS > paceLateS || behindS > paceBehindS:
		p.held = true
		p.cruise = max(1, p.cruise*paceSlower)
	case lateS < paceCaughtS && behindS < paceBehindS/2:
		p.cruise = min(p.most, p.cruise*paceFaster)
	}
	rate := p.cruise
	if p.held {
		rate *= paceHold
	}
	p.clock.setRate(rate)
}
