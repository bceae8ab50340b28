package ingest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Facts of the ledger that belong to the two watermarks.
const (
	FactGeneration = "cloud/generation" // 8 bytes, big endian; none: 1
	factCoveredBy  = "safe/covered_by"  // what safe meant when the marks were written
)

// What safe rests on.
const (
	CoveredByNone   = "none"   // no backup is configured: merged counts as safe
	CoveredByBackup = "backup" // marks contained in a verified backup
)

// CoveredBy tells what safe rests on.
func (i *Ingest) CoveredBy() string {
	if i.o.Backed {
		return CoveredByBackup
	}
	return CoveredByNone
}

// Generation is the cloud generation.
func (i *Ingest) Generation() uint64 { return i.generation.Load() }

// EncodeGeneration is how FactGeneration is kept.
func EncodeGeneration(g uint64) []byte { return binary.BigEndian.AppendUint64(nil, g) }

// ReadGeneration reads it from a ledger; one that holds none is of the first.
func ReadGeneration(l ledger.Ledger) (uint64, error) {
	b, err := l.Fact(FactGeneration)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return 1, nil
	case err != nil:
		return 0, fmt.Errorf("read cloud generation: %w", err)
	case len(b) != 8:
		return 0, fmt.Errorf("read cloud generation: %w: %d bytes, want 8", ledger.ErrCorrupt, len(b))
	}
	return binary.BigEndian.Uint64(b), nil
}

// openSafe reads the generation, and brings the marks to what safe means now.
// Where a backup is configured for the first time, nothing is in one yet: safe
// goes back to nothing, so that the stores keep what they still have.
func (i *Ingest) openSafe() error {
	g, err := ReadGeneration(i.o.Ledger)
	if err != nil {
		return err
	}
	i.generation.Store(g)
	was, err := i.o.Ledger.Fact(factCoveredBy)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("read what covers safe: %w", err)
	}
	if string(was) == i.CoveredBy() {
		return nil
	}
	i.facts = append(i.facts, ledger.Fact{Key: factCoveredBy, Value: []byte(i.CoveredBy())})
	for _, s := range i.sessions {
		if i.o.Backed {
			s.mark.SafeSeq = 0
		}
		s.assume()
		if s.moved() {
			i.owe(s)
		}
	}
	return nil
}

// Covered takes the marks of a verified backup: agents may trim up to them. facts
// are written in the same commit. Agents that are connected are told at once.
func (i *Ingest) Covered(ctx context.Context, marks []ledger.Mark, facts ...ledger.Fact) error {
	return i.call(ctx, func(i *Ingest, _ int64) error {
		i.facts = append(i.facts, facts...)
		if !i.o.Backed {
			return nil
		}
		for _, m := range marks {
			s := i.sessions[m.Origin]
			if s == nil {
				continue
			}
			if s.cover(m.Epoch, m.Seq); !s.moved() {
				continue
			}
			if s.live && s.echoUS == 0 {
				s.echoUS = -1 // an ACK is owed though nothing was taken
			}
			i.owe(s)
		}
		return nil
	})
}

// Freeze calls fn on the writer's goroutine while the fold is what the ledger
// holds: nothing is merged meanwhile, so fn must be quick. It gets the digest of
// the positions; most of that is hashed before, a little at a time, for at 40
// million positions it takes seconds.
func (i *Ingest) Freeze(ctx context.Context, fn func(stateHash string) error) error {
	for range hashStepsMax {
		left := 0
		if err := i.call(ctx, func(i *Ingest, _ int64) error { left = i.eng.Hash(hashChunks); return nil }); err != nil {
			return err
		}
		if left <= hashChunks {
			break
		}
	}
	done := make(chan error, 1)
	err := i.enqueue(item{alone: true, do: func(i *Ingest, _ int64) error {
		i.replies = append(i.replies, func(err error) {
			if err == nil {
				err = fn(i.eng.Certificate())
			}
			done <- err
		})
		return nil
	}})
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-i.done:
		return ErrStopped
	}
}

// follow raises the cloud generation above what an agent has seen. A backup that
// is restored by its command raises it there; here is found what nobody said: a
// ledger rolled back with its machine's disk, or restored from a copy older than
// one that was restored before. Agents take merged and safe anew from a higher
// generation only; without it they would trim what this ledger never had.
func (i *Ingest) follow(s *session, h *protocol.Hello) {
	g := i.generation.Load()
	var why string
	switch m := &s.mark; {
	case h.Generation > g && h.Generation-g <= generationLeap && h.Generation < math.MaxUint64:
		why = fmt.Sprintf("%s has spoken with generation %d, this ledger was of generation %d", s.origin, h.Generation, g)
		g = h.Generation + 1
	case h.Generation == g && m.Epoch != 0 && h.Epoch == m.Epoch && h.InstallID == m.InstallID && h.MergedSeq > m.Seq && h.MergedSeq <= h.Head:
		why = fmt.Sprintf("%s was told that seq %d is merged, this ledger ends at %d", s.origin, h.MergedSeq, m.Seq)
		g++
	default:
		return
	}
	if i.raises++; i.raises > raisesMax {
		i.o.Refused(s.origin, protocol.NackNone, "hello: "+why+"; it was raised often enough")
		return
	}
	i.generation.Store(g)
	i.facts = append(i.facts, ledger.Fact{Key: FactGeneration, Value: EncodeGeneration(g)})
	i.o.Log.Error().Str("store", string(s.origin.Store)).Str("agent", string(s.origin.Agent)).Uint64("generation", g).Str("why", why).Msg("ledger is older than what agents have seen")
	if i.o.Raised != nil {
		i.o.Raised(g, why)
	}
}
