package link

import (
	"context"
	"errors"
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

// renew asks for the next certificate where it is due: at the start of a connection
// and with every heartbeat, until it is answered. A certificate that has ended is
// heard for this alone.
func (l *Link) renew(ctx context.Context, c *connection) {
	if l.o.Renewal == nil {
		return
	}
	csr, due, err := l.o.Renewal.Request(l.cloudNow())
	if err == nil && due {
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
