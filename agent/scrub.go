package agent

import (
	"context"
	"errors"
	"time"

	"tillwire/store/journal"
)

const (
	scrubEvery = 24 * time.Hour        // between two looks at every retained event
	scrubPause = 10 * time.Millisecond // between two batches, so that tills do not feel it
	scrubBatch = 256                   // events
)

// scrub reads every retained event now and then: bits rot where nobody reads. The
// journal verifies what is read, and sets itself aside and salvages where that
// meets damage, so that it is found while the aggregator still has what was lost.
func (a *Agent) scrub(ctx context.Context, every, pause time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		start := a.deps.Now()
		n, err := a.scrubOnce(ctx, pause)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.deps.Log.Warn().Err(err).Uint64("events", n).Msg("journal not verified to its head")
		default:
			a.deps.Log.Info().Uint64("events", n).Int64("dur_ms", a.deps.Now().Sub(start).Milliseconds()).Msg("journal verified")
		}
	}
}

func (a *Agent) scrubOnce(ctx context.Context, pause time.Duration) (events uint64, err error) {
	wait := time.NewTicker(pause)
	defer wait.Stop()
	err = a.journal.Scan(1, func(uint64, int64, []byte) error {
		if events++; events%scrubBatch != 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wait.C:
			return nil
		}
	})
	if errors.Is(err, journal.ErrClosed) {
		err = nil
	}
	return events, err
}
