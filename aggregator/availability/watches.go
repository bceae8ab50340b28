package availability

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"tillwire/protocol"
)

// What keeps a caller from following.
var (
	ErrTooManySubscribers = errors.New("too many subscribers follow")
	ErrTooManyWatches     = errors.New("states are kept for too many channels and locations already")
	ErrFilter             = errors.New("the filter names too many SKUs or locations")
	ErrStopped            = errors.New("the feed has stopped")
)

// watch is a channel's view, of the chain or of one location, whose states are
// kept for every SKU.
//
//	new ── a whole pass of the sweep ──▶ live ── the follower fell behind ──▶ new
//
// Until it is live, states are taken down silently; from then on each difference
// is an event.
type watch struct {
	channel  string
	location protocol.StoreID // "" is the chain
	slot     int              // of entry.states
	live     atomic.Bool
	since    atomic.Uint64 // batch from which on it is live

	pass uint64 // the pass of the sweep that makes it live; 0 = to be set. The follower's.

	refs   int   // subscribers; guarded by watches.mu
	idleUS int64 // since when there is none; guarded by watches.mu
}

// watches are those that somebody wants, by slot.
type watches struct {
	mu    sync.Mutex // guards what follows
	slots []*watch   // nil = free
	subs  int
	rev   atomic.Uint64 // counts changes of slots
}

// join counts a subscriber in.
func (w *watches) join() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.subs >= subscribersMax {
		return ErrTooManySubscribers
	}
	w.subs++
	return nil
}

// leave counts a subscriber out, and its watches.
func (w *watches) leave(list []*watch, nowUS int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subs--
	for _, x := range list {
		w.release(x, nowUS)
	}
}

// take finds or makes the watches of a subscriber.
func (w *watches) take(channel string, locations []protocol.StoreID) ([]*watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*watch
	for _, loc := range append([]protocol.StoreID{""}, locations...) {
		x := w.find(channel, loc)
		if x == nil {
			for _, taken := range list {
				w.release(taken, 0)
			}
			return nil, ErrTooManyWatches
		}
		x.refs++
		list = append(list, x)
	}
	return list, nil
}

// find is the watch of a view, made where there is none. nil: all slots are
// wanted.
func (w *watches) find(channel string, loc protocol.StoreID) *watch {
	free, idle := -1, -1
	for i, x := range w.slots {
		switch {
		case x == nil:
			free = i
		case x.channel == channel && x.location == loc:
			return x
		case x.refs == 0 && (idle < 0 || x.idleUS < w.slots[idle].idleUS):
			idle = i
		}
	}
	if free < 0 && len(w.slots) < watchesMax {
		free = len(w.slots)
		w.slots = append(w.slots, nil)
	}
	if free < 0 {
		free = idle
	}
	if free < 0 {
		return nil
	}
	x := &watch{channel: channel, location: loc, slot: free}
	w.slots[free] = x
	w.rev.Add(1)
	return x
}

func (w *watches) release(x *watch, nowUS int64) {
	if x.refs--; x.refs == 0 {
		x.idleUS = nowUS
	}
}

// expire frees watches that nobody came back for.
func (w *watches) expire(nowUS int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, x := range w.slots {
		if x != nil && x.refs == 0 && nowUS-x.idleUS > watchIdle.Microseconds() {
			w.slots[i] = nil
			w.rev.Add(1)
		}
	}
}

// copy is the list as it stands, without the free slots.
func (w *watches) copy() (list []*watch, rev uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.slots), func(x *watch) bool { return x == nil }), w.rev.Load()
}
