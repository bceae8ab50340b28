package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// Digest takes a part of what an agent announces of its backlog. It never blocks.
// One that does not fit is dropped and counted: the journal comes anyway.
func (i *Ingest) Digest(o protocol.Origin, payload []byte) error {
	d, err := i.o.Codec.DecodeDigest(payload)
	if err != nil {
		i.n.digestsDropped.Add(1)
		i.o.Refused(o, protocol.NackMalformed, "digest: "+err.Error())
		return nil //nolint:nilerr // told to Refused; there is nothing to answer
	}
	return i.enqueue(item{bytes: len(payload), do: func(i *Ingest, _ int64) error {
		i.digest(o, d)
		return nil
	}})
}

func (i *Ingest) digest(o protocol.Origin, d *protocol.Digest) {
	s := i.speaking(o, d.Epoch, d.Lease)
	o = s.origin
	if !s.live || d.Epoch != s.mark.Epoch || d.Lease != s.mark.Lease || d.After != s.mark.Seq {
		i.n.digestsDropped.Add(1) // of a session that is over, or frames overtook it
		return
	}
	if s.lane == nil {
		s.lane = &lane{}
	}
	if !s.lane.add(d) {
		return
	}
	if err := s.lane.join(); err != nil {
		s.lane = nil
		i.n.digestsDropped.Add(1)
		i.o.Refused(o, protocol.NackMalformed, "digest: "+err.Error())
		return
	}
	agents := 0
	for _, other := range i.stores[o.Store] {
		if !other.origin.IsFeed() {
			agents++
		}
	}
	s.lane.begin(i.eng.Items, i.eng.Head(), agents == 1)
	i.lanes++
	i.n.digests.Add(1)
	i.touch(s)
	i.announced(s.origin, &s.lane.d)
	i.o.Log.Info().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Uint64("merged", d.After).Uint64("as_of", d.AsOf).
		Int("articles", len(s.lane.cells)).Uint64("open", d.Open).Msg("backlog announced")
}

// announced tells whoever asks how far a journal is known; nil: as far as merged.
func (i *Ingest) announced(o protocol.Origin, d *protocol.Digest) {
	if i.o.Announced == nil {
		return
	}
	if d == nil {
		i.o.Announced(o, 0, 0)
		return
	}
	i.o.Announced(o, d.AsOf, d.AsOfUS)
}

// touch marks the positions of a lane as changed, for the batch's end.
func (i *Ingest) touch(s *session) {
	for _, sku := range s.lane.articles() {
		i.laned = append(i.laned, reserve.Key{Location: s.origin.Store, SKU: sku})
	}
}

// drop forgets a lane: its session is over.
func (i *Ingest) drop(s *session) {
	if s.lane == nil {
		return
	}
	if s.lane.fold != nil {
		i.lanes--
		i.touch(s)
		i.announced(s.origin, nil)
	}
	s.lane = nil
}

// advance follows a lane to what is merged, and ends it at its end: what came
// must then be what was announced.
func (i *Ingest) advance(s *session, nowUS int64) {
	l := s.lane
	if l == nil || l.fold == nil {
		return
	}
	l.at = s.mark.Seq
	if l.at < l.d.AsOf {
		return
	}
	diff, same := l.fold.Same(l.d.Rows)
	if same && l.at == l.d.AsOf && s.mark.Chain != l.d.Chain {
		diff, same = "the journal's hash chain is another", false
	}
	if !same {
		i.n.digestsWrong.Add(1)
		i.exceptions = append(i.exceptions, protocol.Exception{
			ID: exceptionID(s.origin, l.d.Epoch, l.d.AsOf) + "-digest", State: "open", Code: "digest_mismatch", Counted: true,
			Origin: s.origin, Epoch: l.d.Epoch, Seq: l.d.AsOf, At: time.UnixMicro(nowUS).UTC(),
			Reason: fmt.Sprintf("%s announced what seq %d to %d would come to, and something else came: %s. The ledger has what came; check the agent's journal.",
				s.origin, l.d.After+1, l.d.AsOf, diff),
		})
		i.o.Log.Warn().Str("store", string(s.origin.Store)).Str("agent", string(s.origin.Agent)).Str("diff", diff).Msg("digest does not agree with its journal")
	} else {
		i.n.digestsKept.Add(1)
	}
	i.drop(s)
}

// now is a position with what is announced of it.
func (i *Ingest) now(c merge.Cell) merge.Cell {
	if i.lanes == 0 {
		return c
	}
	for _, s := range i.stores[c.Location] {
		if s.lane != nil && s.lane.fold != nil {
			s.lane.over(&c)
		}
	}
	return c
}

// cellAt is the position as it is now; ok is false where it is not known.
func (i *Ingest) cellAt(loc protocol.StoreID, sku protocol.SKU) (merge.Cell, bool) {
	c, ok := i.eng.CellAt(loc, sku)
	if !ok {
		return c, false
	}
	return i.now(c), true
}

// onTheWay is what an explanation of now says of announced stretches.
func (i *Ingest) onTheWay(c merge.Cell) []protocol.ExplainDigest {
	var out []protocol.ExplainDigest
	for _, s := range i.stores[c.Location] {
		l := s.lane
		if l == nil || l.fold == nil || len(l.cells[c.SKU]) == 0 {
			continue
		}
		with := c
		l.over(&with)
		out = append(out, protocol.ExplainDigest{
			Agent: s.origin.Agent, MergedSeq: l.at, AsOfSeq: l.d.AsOf, AsOf: time.UnixMicro(l.d.AsOfUS).UTC(),
			OnHand: with.OnHand - c.OnHand, Unavailable: with.Unavailable - c.Unavailable,
		})
		c = with
	}
	return out
}

// explained is an explanation with what is announced beside it.
type explained struct {
	view merge.View
	way  []protocol.ExplainDigest
}

// errNoCell says that a position is not known.
var errNoCell = errors.New("position is not known")

func (i *Ingest) viewOf(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, now bool) (*explained, error) {
	views := make(chan *explained, 1)
	err := i.call(ctx, func(i *Ingest, _ int64) error {
		id, ok := i.eng.Lookup(loc, sku)
		if !ok {
			return nil
		}
		x := &explained{view: i.eng.View(id)}
		if now {
			x.way = i.onTheWay(i.eng.Cell(id))
		}
		views <- x
		return nil
	})
	if err != nil {
		return nil, err
	}
	select {
	case x := <-views:
		return x, nil
	default:
		return nil, errNoCell
	}
}
