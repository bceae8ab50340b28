package link

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestDialsOfAChainAreSpread has 400 links lose their aggregator for an hour, in
// fake time. No window is wider than 120 s; after a minute none is narrower than
// 30 s, so that no second sees more than a small share of the chain; and each link
// says when it will try again.
func TestDialsOfAChainAreSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const links = 400
		var mu sync.Mutex
		perSecond := map[int]int{}
		last := make([]time.Time, links)
		var longest time.Duration
		began := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		var all []*Link
		var wg sync.WaitGroup
		for n := range links {
			o := stillOptions(t)
			o.Dial = func(context.Context, string, string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				now := time.Now()
				if !last[n].IsZero() {
					longest = max(longest, now.Sub(last[n]))
				}
				last[n] = now
				perSecond[int(now.Sub(began)/time.Second)]++
				return nil, errors.New("refused")
			}
			l, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, l)
			wg.Go(func() { _ = l.Run(ctx) })
		}
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		for n, l := range all {
			s := l.Status()
			if wait := time.Until(s.NextTry); s.Connected || wait <= 0 || wait > 121*time.Second || s.DialErrors < 20 {
				t.Errorf("link %d: next try in %s, %d dials", n, wait, s.DialErrors)
			}
		}
		time.Sleep(30 * time.Minute)
		stop()
		wg.Wait()
		worst := 0
		for second, n := range perSecond {
			if second > 120 {
				worst = max(worst, n)
			}
		}
		// 400 links at a mean distance of 60 s are 7 dials a second.
		if longest > 121*time.Second || worst > 30 || perSecond[0] < links {
			t.Errorf("longest pause %s, %d dials in one second of the outage, %d at once at the start", longest, worst, perSecond[0])
		}
		t.Logf("longest pause %s, at most %d of %d dials in one second", longest.Round(time.Second), worst, links)
	})
}

// TestFirstDialAfterALongOutage: a machine that slept, or whose line was dead for
// more than a minute, does not come back in the same second as all others.
func TestFirstDialAfterALongOutage(t *testing.T) {
	var timing Timing
	timing.setDefaults()
	buckets := [3]int{}
	for range 3000 {
		b := backoff{t: timing}
		b.was(2 * time.Hour) // the connection before was a good one
		d := b.next(timing.LongOutage + time.Second)
		if d > timing.LongOutageSpread+1 {
			t.Fatalf("first dial after %s", d)
		}
		buckets[min(int(d*3/timing.LongOutageSpread), 2)]++
	}
	for _, n := range buckets {
		if n < 850 || n > 1150 {
			t.Errorf("not uniform over 30 s: %v", buckets)
		}
	}
	b := backoff{t: timing}
	for range 20 {
		b.was(timing.StableAfter - time.Second) // never stable
	}
	if w := b.window(0); w != timing.ReconnectCap {
		t.Errorf("window %s, want the cap", w)
	}
	if b.was(timing.StableAfter); b.window(0) != timing.ReconnectMin {
		t.Errorf("window %s after a stable connection", b.window(0))
	}
}
