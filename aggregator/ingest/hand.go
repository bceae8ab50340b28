package ingest

import "time"

// ByHand opens an ingest that has no goroutine: its caller says when it works, by
// Turn, and Run is never called. All between a message and its answer is the code
// of an ingest that runs. Simulations, which own the time, use it. One goroutine
// does.
func ByHand(o Options) (*Ingest, error) {
	i, err := Open(o)
	if err != nil {
		return nil, err
	}
	i.hand = true
	i.expiry = time.NewTimer(time.Hour)
	i.expiry.Stop()
	return i, nil
}

// Turn takes what waits, commits and answers. worked is false where nothing waited.
// After an error the ledger must be reopened.
func (i *Ingest) Turn() (worked bool, err error) {
	for {
		it, ok := i.queue.take()
		if !ok {
			if err := i.land(); err != nil {
				i.fail(err)
				return true, err
			}
			return worked, nil
		}
		if err := i.batch(it); err != nil {
			return true, err
		}
		worked = true
	}
}
