package link

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"tillwire/protocol"
)

// ask is something that another part of the agent wants of the link.
type ask struct {
	replay  uint64 // first seq; 0: none
	topic   string
	payload []byte
	done    chan<- error // capacity 1
}

// errLater says that a replay was not answered with a new epoch: the aggregator
// does not know the word, or is away.
var errLater = errors.New("aggregator did not open a new epoch")

// takeDesired passes a desired state on, and says at once what became of it.
func (l *Link) takeDesired(ctx context.Context, c *connection, payload []byte) error {
	var d protocol.Desired
	if err := protocol.DecodeControl(payload, &d); err != nil {
		return l.unreadable(err)
	}
	if l.o.Desired != nil {
		l.o.Desired(&d)
		l.beat(ctx, c)
	}
	return nil
}

func (l *Link) takeCommand(payload []byte) error {
	var c protocol.Command
	if err := protocol.DecodeControl(payload, &c); err != nil {
		return l.unreadable(err)
	}
	if l.o.Command != nil {
		l.o.Command(&c)
	}
	return nil
}

// take does what is asked, between two messages.
func (l *Link) take(ctx context.Context, c *connection, a ask) error {
	var err error
	if a.replay != 0 {
		err = l.step(ctx, c, Input{Kind: onReplay, First: a.replay})
	} else {
		err = l.publish(ctx, c, a.topic, 1, a.payload)
	}
	a.done <- err
	return err
}

func (l *Link) ask(ctx context.Context, a ask) error {
	done := make(chan error, 1)
	a.done = done
	select {
	case l.asks <- a: // while there is a connection only
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Replay offers the journal again from a seq, under a new epoch. It returns when
// the aggregator has opened that. What is asked is not forgotten by then: a later
// session may still do it.
func (l *Link) Replay(ctx context.Context, from uint64) error {
	before := l.Status().Counts.Replays
	if err := l.ask(ctx, ask{replay: max(from, 1)}); err != nil {
		return fmt.Errorf("replay from seq %d: %w", from, err)
	}
	t := time.NewTicker(replayLook)
	defer t.Stop()
	for l.Status().Counts.Replays == before {
		select {
		case <-ctx.Done():
			return fmt.Errorf("replay from seq %d: %w: %w", from, errLater, ctx.Err())
		case <-t.C:
		}
	}
	return nil
}

// SendBundle sends a support bundle in parts, beside the journal.
func (l *Link) SendBundle(ctx context.Context, command string, b []byte) error {
	if len(b) == 0 || len(b) > protocol.BundleBytesMax {
		return &protocol.SizeError{What: "support bundle", Got: len(b), Max: protocol.BundleBytesMax}
	}
	sum := sha256.Sum256(b)
	p := protocol.BundlePart{V: protocol.Version, CommandID: command, Parts: (len(b)-1)/protocol.BundlePartBytesMax + 1, SHA256: hex.EncodeToString(sum[:])}
	for ; p.Part < p.Parts; p.Part++ {
		at := p.Part * protocol.BundlePartBytesMax
		p.Data = b[at:min(at+protocol.BundlePartBytesMax, len(b))]
		payload, err := protocol.EncodeControl(&p)
		if err != nil {
			return fmt.Errorf("encode bundle: %w", err)
		}
		if err := l.ask(ctx, ask{topic: protocol.Topic(l.o.Origin, protocol.UpBundle, ""), payload: payload}); err != nil {
			return fmt.Errorf("send part %d of %d of a bundle: %w", p.Part+1, p.Parts, err)
		}
	}
	return nil
}

// SetHeartbeat sets how often heartbeats are sent; 0 is the default again.
func (l *Link) SetHeartbeat(every time.Duration) { l.every.Store(int64(every)) }

func (l *Link) heartbeatEvery() time.Duration {
	if d := time.Duration(l.every.Load()); d > 0 {
		return d
	}
	return l.o.Timing.Heartbeat
}
