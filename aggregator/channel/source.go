package channel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tillwire/protocol"
)

// Source tells what changed.
type Source struct {
	Now func() time.Time
	// Model is the read model.
	Model interface {
		Cursor() uint64
		Changed(cursor uint64, limit int) (skus []protocol.SKU, next uint64, ok bool)
		Wait() <-chan struct{}
		AppliedPosition() uint64
	}
	// Touched calls fn with the articles that the log's entries behind a position are
	// about; all: any may be.
	Touched func(ctx context.Context, after uint64, fn func(pos uint64, mergedUS int64, skus []protocol.SKU, all bool) error) error
	// Everything lists the articles behind one, in order.
	Everything func(after protocol.SKU, limit int) []protocol.SKU
}

// Progress is how far a partner has been told.
type Progress struct {
	Position uint64 `json:"position"`
	Begun    bool   `json:"begun"` // false: it was never told anything
}

// Next is how far it may be said that a partner was told, and whether that is other
// than p. Everything up to reached was marked; behind lowest something is still owed
// (owed false: nothing is); where keys had no room (lost), all from p on is looked at
// again. What is told twice does no harm, what is left out would.
func (p Progress) Next(reached, lowest uint64, owed, lost bool) (next Progress, moved bool) {
	next = Progress{Position: reached, Begun: true}
	if owed {
		next.Position = min(next.Position, lowest)
	}
	if lost {
		next.Position = min(next.Position, p.Position)
	}
	return next, next != p && reached > 0
}

var errAll = errors.New("every article may have changed")

// Follow calls mark with what changed behind p, first from the log, then as it
// happens, until ctx ends. us and after are when, and behind which position.
// reached is told the position up to which all was marked.
func (s *Source) Follow(ctx context.Context, p Progress, mark func(skus []protocol.SKU, us int64, after uint64), reached func(uint64)) error {
	cursor, head := s.Model.Cursor(), s.Model.AppliedPosition()
	if err := s.since(ctx, p, mark); err != nil {
		return err
	}
	at := head
	reached(at)
	for ctx.Err() == nil {
		bell, pos := s.Model.Wait(), s.Model.AppliedPosition()
		skus, next, ok := s.Model.Changed(cursor, sourceLook)
		if !ok { // fell behind the ring: the log has it all
			cursor = s.Model.Cursor()
			if err := s.since(ctx, Progress{at, true}, mark); err != nil {
				return err
			}
			continue
		}
		if cursor = next; len(skus) > 0 {
			mark(skus, s.Now().UnixMicro(), at)
			continue
		}
		if pos > at {
			at = pos
			reached(at)
		}
		select {
		case <-ctx.Done():
		case <-bell:
		}
	}
	return nil
}

func (s *Source) since(ctx context.Context, p Progress, mark func(skus []protocol.SKU, us int64, after uint64)) error {
	us := s.Now().UnixMicro()
	if !p.Begun {
		s.All(us, p.Position, mark)
		return nil
	}
	err := s.Touched(ctx, p.Position, func(pos uint64, mergedUS int64, skus []protocol.SKU, all bool) error {
		if all {
			return errAll
		}
		mark(skus, min(us, mergedUS), pos-1)
		return ctx.Err()
	})
	switch {
	case errors.Is(err, errAll):
		s.All(us, p.Position, mark)
		return nil
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("read log behind %d: %w", p.Position, err)
	}
	return nil
}

// All marks every article.
func (s *Source) All(us int64, after uint64, mark func(skus []protocol.SKU, us int64, after uint64)) {
	for last := protocol.SKU(""); ; {
		list := s.Everything(last, sourceLook)
		if len(list) == 0 {
			return
		}
		mark(list, us, after)
		last = list[len(list)-1]
	}
}
