package availability

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"tillwire/protocol"
)

// What keeps a caller from waiting.
var (
	ErrTooManyWaiting = errors.New("too many callers wait for their own writes")
	ErrNewEpoch       = errors.New("the journal has begun a new epoch; whether it holds that event is not known here")
)

// arrived lets callers wait until readers can see what they wrote. The writer
// pays an atomic store, and a lock only while somebody waits.
type arrived struct {
	position atomic.Uint64
	marks    sync.Map // protocol.Origin → *mark

	waiting atomic.Int64 // callers in waiters
	mu      sync.Mutex   // guards waiters
	waiters map[protocol.Origin]map[*waiter]struct{}
}

// ofPosition is where callers stand that wait for a position of the ledger.
var ofPosition protocol.Origin

// mark is how far a journal is applied. Only the writer stores; seq is 0 while
// epoch changes, so that nobody reads the seq of one with the epoch of another.
type mark struct{ epoch, seq atomic.Uint64 }

func (k *mark) read() (epoch, seq uint64) {
	for {
		epoch, seq = k.epoch.Load(), k.seq.Load()
		if k.epoch.Load() == epoch {
			return epoch, seq
		}
	}
}

// waiter is one caller; there reports whether its wait is over.
type waiter struct {
	there func() (bool, error)
	done  chan error // holds one
}

// Applied tells that everything up to the ledger's position pos can be read. It
// is called after Apply, by its goroutine; positions never go back.
func (m *Model) Applied(pos uint64) {
	a := &m.arrived
	if pos > a.position.Load() {
		a.position.Store(pos)
		a.tell(ofPosition)
	}
}

// AppliedMark tells that a journal's events up to seq can be read. It is called
// after Apply, by its goroutine.
func (m *Model) AppliedMark(o protocol.Origin, epoch, seq uint64) {
	a := &m.arrived
	x, ok := a.marks.Load(o)
	if !ok {
		x, _ = a.marks.LoadOrStore(o, &mark{})
	}
	k := x.(*mark)
	if k.epoch.Load() != epoch {
		k.seq.Store(0)
		k.epoch.Store(epoch)
	}
	k.seq.Store(seq)
	a.tell(o)
}

// AppliedPosition is the ledger's position up to which everything can be read.
func (m *Model) AppliedPosition() uint64 { return m.arrived.position.Load() }

// WaitApplied waits until everything up to pos can be read, or ctx ends.
func (m *Model) WaitApplied(ctx context.Context, pos uint64) error {
	a := &m.arrived
	return a.wait(ctx, ofPosition, func() (bool, error) { return a.position.Load() >= pos, nil })
}

// WaitMark waits until a journal's event can be read, or ctx ends: also for a
// journal that nobody has heard of yet.
func (m *Model) WaitMark(ctx context.Context, o protocol.Origin, epoch, seq uint64) error {
	a := &m.arrived
	return a.wait(ctx, o, func() (bool, error) {
		x, ok := a.marks.Load(o)
		if !ok {
			return false, nil
		}
		at, have := x.(*mark).read()
		if at > epoch {
			return false, ErrNewEpoch
		}
		return at == epoch && have >= seq, nil
	})
}

// wait looks, counts itself among the waiting, and looks again: a writer that did
// not see the count had stored before the second look.
func (a *arrived) wait(ctx context.Context, o protocol.Origin, there func() (bool, error)) error {
	if ok, err := there(); ok || err != nil {
		return err
	}
	w := &waiter{there: there, done: make(chan error, 1)}
	a.mu.Lock()
	if a.waiting.Load() >= waitersMax {
		a.mu.Unlock()
		return ErrTooManyWaiting
	}
	if a.waiters == nil {
		a.waiters = map[protocol.Origin]map[*waiter]struct{}{}
	}
	if a.waiters[o] == nil {
		a.waiters[o] = map[*waiter]struct{}{}
	}
	a.waiters[o][w] = struct{}{}
	a.waiting.Add(1)
	a.mu.Unlock()
	defer a.leave(o, w)
	if ok, err := there(); ok || err != nil {
		return err
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *arrived) leave(o protocol.Origin, w *waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.drop(o, w)
}

// drop takes a caller off the list, once; mu is held.
func (a *arrived) drop(o protocol.Origin, w *waiter) {
	of := a.waiters[o]
	if _, ok := of[w]; !ok {
		return
	}
	delete(of, w)
	a.waiting.Add(-1)
	if len(of) == 0 {
		delete(a.waiters, o)
	}
}

// tell wakes the callers whose wait is over.
func (a *arrived) tell(o protocol.Origin) {
	if a.waiting.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for w := range a.waiters[o] {
		if ok, err := w.there(); ok || err != nil {
			w.done <- err
			a.drop(o, w)
		}
	}
}
