package link

import (
	"math/rand/v2"
	"time"
)

// backoff spaces dials by full jitter: uniform over a window that doubles with
// each failure. After a long outage the whole chain comes back at once; then
// the window is never narrower than LongOutageSpread.
type backoff struct {
	t     Timing
	tries int
}

// next draws a pause; outage is how long the link has been down.
func (b *backoff) next(outage time.Duration) time.Duration {
	return rand.N(b.window(outage)) + 1 //nolint:gosec // jitter, not a secret
}

func (b *backoff) window(outage time.Duration) time.Duration {
	w := min(b.t.ReconnectCap, b.t.ReconnectMin<<min(b.tries, 20))
	if outage > b.t.LongOutage {
		w = max(w, b.t.LongOutageSpread)
	}
	return max(w, time.Millisecond)
}

// was tells how long the last connection lasted; 0 where there was none.
func (b *backoff) was(up time.Duration) {
	if up >= b.t.StableAfter {
		b.tries = 0
		return
	}
	b.tries++
}
