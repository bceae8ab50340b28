package fleet

import (
	"sync"

	"tillwire/protocol"
)

// Flows keeps how the connections to other systems went: how far behind, what
// waited and what passed, a sample a minute for a day. It begins when this process
// did, and is safe for concurrent use.
type Flows struct {
	mu   sync.Mutex // guards all below
	by   map[string]*flow
	atUS int64 // minute of the newest samples; 0: none
}

// Flow is how a connection stands.
type Flow struct {
	Name  string  // protocol.FlowConnector and its name, …
	LagS  float64 // age of the oldest that waits
	Waits uint64
	Moved uint64 // all that passed so far; what it grew by in a minute is the rate
}

type flow struct {
	past  ring[flowSample]
	moved uint64 // at the newest sample
	atUS  int64  // its minute
}

// flowSample is one minute of a connection.
type flowSample struct{ lagDS, waits, moved uint16 } // packed: tenths of seconds; what waits; what passed

// unseen stands for a minute in which nobody looked: this process slept, or the
// clock was set.
var unseen = flowSample{0xffff, 0xffff, 0xffff}

// Due tells whether a minute of which nothing is kept has begun.
func (f *Flows) Due(nowUS int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return nowUS-nowUS%coarseEveryUS > f.atUS
}

// Sample takes how all connections stand, once a minute; within one it does
// nothing. Of a connection that is new only its count is remembered: its first
// sample is that of the next minute. One that is not among all is forgotten. More
// than flowsMax are not kept.
func (f *Flows) Sample(nowUS int64, all []Flow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	at := nowUS - nowUS%coarseEveryUS
	if at <= f.atUS {
		return
	}
	f.atUS = at
	if f.by == nil {
		f.by = map[string]*flow{}
	}
	for i := range all {
		x := &all[i]
		s := f.by[x.Name]
		switch {
		case s != nil && s.atUS == at: // two of one name: the first counts
		case s != nil:
			s.take(at, x)
		case len(f.by) < flowsMax:
			f.by[x.Name] = &flow{moved: x.Moved, atUS: at}
		}
	}
	for name, s := range f.by {
		if s.atUS != at {
			delete(f.by, name)
		}
	}
}

// take pushes a sample, and what stands for the minutes that were missed before it.
func (s *flow) take(at int64, x *Flow) {
	missed := min((at-s.atUS)/coarseEveryUS-1, coarseSamples)
	for range missed {
		s.past.push(unseen, coarseSamples)
	}
	grew := x.Moved // it counts from the start again
	if x.Moved >= s.moved {
		grew = x.Moved - s.moved
	}
	if missed > 0 {
		grew /= uint64(missed + 1) // of more than a minute
	}
	s.past.push(flowSample{pack(uint64(min(max(x.LagS, 0), 1e12)*10 + .5)), pack(x.Waits), pack(grew)}, coarseSamples)
	s.moved, s.atUS = x.Moved, at
}

// History is a connection's last day, oldest first; minutes in which nobody looked
// are left out.
func (f *Flows) History(name string) []protocol.FlowPoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.by[name]
	if s == nil {
		return nil
	}
	out := make([]protocol.FlowPoint, 0, len(s.past.at))
	s.past.each(func(back int, x flowSample) {
		if x != unseen {
			out = append(out, protocol.FlowPoint{AtS: (s.atUS - int64(back)*coarseEveryUS) / 1e6, LagS: float64(unpack(x.lagDS)) / 10, Waits: unpack(x.waits), PerMin: unpack(x.moved)})
		}
	})
	return out
}
