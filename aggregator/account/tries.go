package account

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// tries bounds how often passwords are tried. Per name it counts by address, so
// that a stranger who guesses does not lock the person out.
type tries struct {
	mu  sync.Mutex // guards what follows
	by  map[string]*rate.Limiter
	all *rate.Limiter
}

func newTries() *tries {
	return &tries{by: map[string]*rate.Limiter{}, all: perMinute(triesOverAll)}
}

func perMinute(n int) *rate.Limiter { return rate.NewLimiter(rate.Limit(float64(n)/60), n) }

func (t *tries) take(name, from string, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := address(from)
	// the address first: what it may not try spends nothing of a name's or of all
	return t.of("a "+at, triesPerAddress).AllowN(now, 1) && t.of("n "+at+" "+name, triesPerName).AllowN(now, 1) && t.all.AllowN(now, 1)
}

func (t *tries) of(key string, n int) *rate.Limiter {
	l := t.by[key]
	if l == nil {
		if len(t.by) >= triesTracked {
			clear(t.by) // a flood of names; what is over all still holds
		}
		l = perMinute(n)
		t.by[key] = l
	}
	return l
}

// forgive starts a name's count anew after the right password.
func (t *tries) forgive(name, from string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.by, "n "+address(from)+" "+name)
}
