package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"

	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// read opens a file of a copy, hands its content to fn, and compares size and sum
// of what was read. fn's word counts only where those are right.
func (f *Folder) read(p File, fn func(io.Reader) error) error {
	file, err := os.Open(f.path(p.Name))
	if err != nil {
		return fmt.Errorf("read backup: %w: %w", ErrDamaged, err)
	}
	defer func() { _ = file.Close() }()
	dropCache(file) // what is on the disk, not what is remembered of it
	sum := &counted{w: io.Discard, sum: sha256.New()}
	tee := io.TeeReader(file, sum)
	z, err := zstd.NewReader(tee, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(windowMax))
	if err == nil {
		err = fn(z)
		z.Close()
	}
	if _, rest := io.Copy(io.Discard, tee); rest != nil {
		err = errors.Join(err, rest)
	}
	if got := hex.EncodeToString(sum.sum.Sum(nil)); sum.n != p.Bytes || got != p.SHA256 {
		return errors.Join(fmt.Errorf("read backup %s: %w: it has %d bytes with the sum %s, want %d with %s", p.Name, ErrDamaged, sum.n, got, p.Bytes, p.SHA256), err)
	}
	if err != nil {
		return fmt.Errorf("read backup %s: %w: %w", p.Name, ErrDamaged, err)
	}
	return nil
}

// verifyFresh reads back what a run has written, and those shared segments that
// nobody has read for long; the oldest reading first.
func (f *Folder) verifyFresh(ctx context.Context, m *Manifest, now time.Time) (*bolt.DumpInfo, error) {
	due := make([]int, 0, len(m.Segments))
	for i := range m.Segments {
		if now.Sub(m.Segments[i].Verified) > scrubAfter {
			due = append(due, i)
		}
	}
	slices.SortFunc(due, func(a, b int) int { return m.Segments[a].Verified.Compare(m.Segments[b].Verified) })
	fresh := 0
	for fresh < len(due) && m.Segments[due[fresh]].Verified.IsZero() {
		fresh++
	}
	return f.verify(ctx, m, due[:min(len(due), fresh+scrubsMax)], now)
}

// Verify reads a whole copy back.
func (f *Folder) Verify(ctx context.Context, m *Manifest) error {
	all := make([]int, len(m.Segments))
	for i := range all {
		all[i] = i
	}
	_, err := f.verify(ctx, m, all, time.Time{})
	return err
}

func (f *Folder) verify(ctx context.Context, m *Manifest, segments []int, now time.Time) (*bolt.DumpInfo, error) {
	highest := map[ledger.OriginID]bolt.EpochSeq{}
	for _, i := range segments {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("verify backup: %w", err)
		}
		s := &m.Segments[i]
		var info *bolt.DumpInfo
		if err := f.read(s.File, func(r io.Reader) (err error) { info, err = bolt.CheckDump(r); return err }); err != nil {
			return nil, err
		}
		if err := s.holds(info); err != nil {
			return nil, err
		}
		s.Verified = now.UTC()
		for id, h := range info.Highest {
			if was := highest[id]; h.Epoch > was.Epoch || h.Epoch == was.Epoch && h.Seq > was.Seq {
				highest[id] = h
			}
		}
	}
	var state *bolt.DumpInfo
	if err := f.read(m.State, func(r io.Reader) (err error) { state, err = bolt.CheckDump(r); return err }); err != nil {
		return nil, err
	}
	return state, m.holds(state, highest)
}

// holds compares a segment with what the manifest says of it.
func (s *Segment) holds(info *bolt.DumpInfo) error {
	first, last := ledger.Position(s.No*bolt.SegmentEntries+1), ledger.Position((s.No+1)*bolt.SegmentEntries)
	if info.First != first || info.Last != last || info.Tip != s.Tip {
		return fmt.Errorf("verify backup %s: %w: it holds entries %d to %d, want %d to %d with the tip %s", s.Name, ErrDamaged, info.First, info.Last, first, last, s.Tip.EventID)
	}
	return nil
}

// holds compares the state with the manifest, and the marks with the log: no mark
// may lie below an entry of its journal.
func (m *Manifest) holds(state *bolt.DumpInfo, highest map[ledger.OriginID]bolt.EpochSeq) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("verify backup %s: %w: %s", m.State.Name, ErrDamaged, fmt.Sprintf(format, args...))
	}
	first := uint64(len(m.Segments))*bolt.SegmentEntries + 1
	switch {
	case uint64(state.Head) != m.Head:
		return wrong("it is of position %d, want %d", state.Head, m.Head)
	case m.Head >= first && (uint64(state.First) != first || uint64(state.Last) != m.Head):
		return wrong("its log holds %d to %d, want %d to %d", state.First, state.Last, first, m.Head)
	case m.Head < first && state.First != 0:
		return wrong("its log holds %d, want none", state.First)
	}
	if got := marksOf(state.Marks); !slices.Equal(got, m.Marks) {
		return wrong("its %d marks are not the %d of the manifest", len(got), len(m.Marks))
	}
	marks := make(map[protocol.Origin]*ledger.Mark, len(state.Marks))
	for i := range state.Marks {
		x := &state.Marks[i]
		if marks[x.Origin] = x; x.SafeSeq > x.Seq {
			return wrong("the mark of %s calls %d safe and %d merged", x.Origin, x.SafeSeq, x.Seq)
		}
	}
	for _, of := range []map[ledger.OriginID]bolt.EpochSeq{highest, state.Highest} {
		for id, h := range of {
			o := state.Origin(id)
			if x := marks[o]; x == nil || h.Epoch > x.Epoch || h.Epoch == x.Epoch && h.Seq > x.Seq {
				return wrong("the log holds epoch %d seq %d of %s (journal %d), beyond its mark", h.Epoch, h.Seq, o, id)
			}
		}
	}
	return nil
}
