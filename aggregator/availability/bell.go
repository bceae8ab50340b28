package availability

import "sync/atomic"

// bell wakes whoever waits, and costs an atomic swap where nobody does.
type bell struct{ p atomic.Pointer[chan struct{}] }

// wait is a channel that closes at the next chime. Whoever takes it before they
// look misses nothing.
func (b *bell) wait() <-chan struct{} {
	for {
		if c := b.p.Load(); c != nil {
			return *c
		}
		c := make(chan struct{})
		if b.p.CompareAndSwap(nil, &c) {
			return c
		}
	}
}

func (b *bell) chime() {
	if c := b.p.Swap(nil); c != nil {
		close(*c)
	}
}
