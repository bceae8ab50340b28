package link

import (
	"context"

	"tillwire/protocol"
)

// announce says what the backlog comes to before its first frame: the aggregator
// shows it while hours of journal drain in order. It is an offer, not a duty: what
// cannot be summed up is not announced, and comes all the same.
func (l *Link) announce(ctx context.Context, c *connection, after uint64) error {
	if l.o.Digest == nil {
		return nil
	}
	d, err := l.o.Digest(ctx, after)
	if err != nil {
		l.note("backlog cannot be announced: " + clip(err.Error()))
		return nil
	}
	if d == nil {
		return nil
	}
	d.Epoch, d.Lease = l.core.epoch, l.core.lease
	parts := protocol.SplitDigest(d)
	if len(parts) > protocol.DigestPartsMax {
		return nil
	}
	for _, p := range parts {
		b, err := l.o.Codec.AppendDigest(nil, p)
		if err != nil {
			l.note("backlog cannot be announced: " + clip(err.Error()))
			return nil
		}
		if err := l.publish(ctx, c, protocol.Topic(l.o.Origin, protocol.UpDigest, l.node), 1, b); err != nil {
			return err
		}
	}
	l.o.Log.Info().Uint64("merged", after).Uint64("as_of", d.AsOf).Int("articles", len(d.Rows)).Msg("backlog announced")
	return nil
}
