package link

import (
	"context"
	"testing"
	"time"

	"tillwire/protocol"
)

// refusing is a certificate that is due, and that nobody renews.
type refusing struct {
	end time.Time
}

func (r refusing) Request(time.Time) ([]byte, bool, error) { return []byte("csr"), true, nil }
func (r refusing) Take(*protocol.Renewed) error            { return nil }
func (r refusing) Connected() error                        { return nil }
func (r refusing) Ends() (time.Time, time.Time)            { return r.end, r.end.AddDate(0, 0, -10) }

// asks works a link's heartbeats for so long, and tells when it asked, in µs.
func asks(t *testing.T, left, long time.Duration) (at []int64) {
	t.Helper()
	var now int64
	began := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	o := stillOptions(t)
	o.Now = func() time.Time { return began.Add(time.Duration(now) * time.Microsecond) }
	o.Renewal = refusing{began.Add(left)}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	l.mono = func() int64 { return now }
	c := &connection{lost: make(chan struct{}), out: make(chan outgoing, 1), quit: make(chan struct{})}
	for first := true; now < long.Microseconds(); first = false {
		l.renew(context.Background(), c, first)
		select {
		case <-c.out:
			at = append(at, now)
		default:
		}
		now += spread(l.heartbeatEvery()).Microseconds()
	}
	return at
}

// TestRefusedRenewals: a host that is refused asks ever more rarely, and with each
// heartbeat when its certificate comes to its end.
func TestRefusedRenewals(t *testing.T) {
	const left = 9 * 24 * time.Hour
	at := asks(t, left, left+time.Hour)
	beats := 0
	for i := 1; i < len(at); i++ {
		pause := time.Duration(at[i]-at[i-1]) * time.Microsecond
		togo := left - time.Duration(at[i])*time.Microsecond
		switch {
		case pause > renewRestMax+20*time.Second:
			t.Errorf("%s without a request", pause)
		case i < 4 && pause > 2*time.Minute+20*time.Second:
			t.Errorf("request %d comes after %s: an answer that was lost is asked for soon", i, pause)
		case togo > 25*time.Hour && i > 8 && pause < renewRestMax/2:
			t.Errorf("%s before the end two requests are %s apart", togo, pause)
		case togo < 5*time.Minute && pause > 20*time.Second:
			t.Errorf("%s before the end two requests are %s apart", togo, pause)
		}
		if togo < 0 {
			beats++
		}
	}
	if beats < 200 || len(at) > 2000 {
		t.Errorf("%d requests, %d of them in the hour behind the end", len(at), beats)
	}
}

// TestAChainIsNotRefusedInStep: hosts that begin to ask in one moment spread.
func TestAChainIsNotRefusedInStep(t *testing.T) {
	const hosts, hours = 400, 6
	var perMinute [hours * 60]int
	for range hosts {
		for _, us := range asks(t, 9*24*time.Hour, hours*time.Hour) {
			perMinute[us/60_000_000]++
		}
	}
	for m, n := range perMinute[4*60:] { // 400 in 45 minutes: 8.9
		if n > 30 {
			t.Errorf("%d of %d hosts ask in minute %d", n, hosts, m+4*60)
		}
	}
}
