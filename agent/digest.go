package agent

import (
	"context"
	"errors"
	"fmt"

	"tillwire/protocol"
)

var errEnough = errors.New("the stretch is read")

// digest sums up what is journaled behind a seq. It reads the stretch once, and
// again from its oldest cut only where it has counts.
func (a *Agent) digest(ctx context.Context, after uint64) (*protocol.Digest, error) {
	st := a.journal.State()
	if st.Head <= after || st.Head-after > protocol.DigestStretchMax {
		return nil, nil //nolint:nilnil // nothing to announce, or more than is worth it
	}
	d := &protocol.Digest{After: after, AsOf: st.Head, AsOfUS: st.HeadUS, Chain: st.ChainHead}
	plan, fold := protocol.NewDigestPlan(), protocol.NewDigestFold(d)
	err := a.read(ctx, after+1, d.AsOf, func(e *protocol.Event, seq uint64, recordUS int64) {
		plan.See(e, seq)
		fold.Add(e, seq, recordUS)
	})
	if err != nil {
		return nil, err
	}
	from, cancelled := plan.Fill(d)
	if len(d.Rows) > 0 {
		fold = protocol.NewDigestFold(d)
		err = a.read(ctx, max(from, st.Tail), d.AsOf, fold.Add)
	} else {
		for _, seq := range cancelled {
			if err = a.read(ctx, seq, seq, func(e *protocol.Event, _ uint64, _ int64) { fold.Remove(e) }); err != nil {
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	d.Rows = fold.Rows()
	return d, nil
}

// read scans a stretch of the journal, both ends included. What cannot be decoded
// is passed over, here and by who verifies the digest.
func (a *Agent) read(ctx context.Context, from, to uint64, fn func(e *protocol.Event, seq uint64, recordUS int64)) error {
	var e protocol.Event
	err := a.journal.Scan(from, func(seq uint64, recordUS int64, rec []byte) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case seq > to:
			return errEnough
		}
		if _, err := protocol.DecodeRecord(rec, &e); err == nil {
			fn(&e, seq, recordUS)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("read journal from %d to %d: %w", from, to, err)
	}
	return nil
}
