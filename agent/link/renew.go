package link

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"tillwire/protocol"
)

// Renewal is the certificate that the link shows, and how the next one is come by.
type Renewal interface {
	Request(now time.Time) (csr []byte, due bool, err error)
	Take(r *protocol.Renewed) error
	Connected() error // what was shown last was let in
	Ends() (notAfter, renew time.Time)
}

// errRenewed ends a connection, so that the next one shows the new certificate.
var errRenewed = errors.New("certificate renewed")

// asking spaces requests that are refused, or not answered.
type asking struct {
	tries   int
	againUS int64 // of Link.now; no heartbeat asks before
}

// asked draws the pause behind a request: from a window that doubles with each, from
// two heartbeats to an hour, its upper half, so that neither an authority that refuses all
// nor one that comes back meets the chain in step. left is what the certificate has: the
// window is held to a share of it, so that who comes to the end, or is behind it, asks
// with each heartbeat.
func (a *asking) asked(nowUS int64, every, left time.Duration) {
	a.tries++
	w := min(every<<min(a.tries, 20), renewRestMax, left/renewRestShare)
	a.againUS = 0
	if w > every {
		a.againUS = nowUS + (w/2 + rand.N(w/2)).Microseconds() //nolint:gosec // jitter, not a secret
	}
}

// renew asks for the next certificate where it is due: at the start of a connection,
// whose dials have a pace of their own, and with heartbeats until it is answered, ever
// more rarely. A certificate that has ended is heard for this alone.
func (l *Link) renew(ctx context.Context, c *connection, first bool) {
	if l.o.Renewal == nil || !first && l.now() < l.asking.againUS {
		return
	}
	now := l.cloudNow()
	csr, due, err := l.o.Renewal.Request(now)
	if err == nil && !due {
		l.asking = asking{}
		return
	}
	end, _ := l.o.Renewal.Ends()
	l.asking.asked(l.now(), l.heartbeatEvery(), end.Sub(now))
	if err == nil {
		err = l.say(ctx, c, protocol.UpRenew, "", 1, &protocol.Renew{V: protocol.Version, CSR: string(csr)})
	}
	if err != nil {
		l.note("certificate cannot be renewed: " + clip(err.Error()))
	}
}

// cloudNow is the time by the aggregator's clock, as far as it is known: that is the
// clock by which certificates end.
func (l *Link) cloudNow() time.Time {
	offset, _, _ := l.clock.estimate()
	return l.o.Now().Add(time.Duration(offset) * time.Microsecond)
}

func (l *Link) takeRenewed(payload []byte) error {
	if l.o.Renewal == nil {
		return nil
	}
	var r protocol.Renewed
	if err := protocol.DecodeControl(payload, &r); err != nil {
		return l.unreadable(err)
	}
	if err := l.o.Renewal.Take(&r); err != nil {
		l.note(clip(err.Error()))
		return nil
	}
	l.asking = asking{}
	return errRenewed
}

// letIn settles the certificate that this connection has shown.
func (l *Link) letIn() {
	if l.o.Renewal == nil {
		return
	}
	if err := l.o.Renewal.Connected(); err != nil {
		l.note(clip(err.Error()))
	}
}
