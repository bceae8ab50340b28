package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"

	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// Ledger is what a copy is made of.
type Ledger interface {
	Snapshot() (*bolt.Snapshot, error)
	WriteSegment(no uint64, w io.Writer) error
	TipAt(p ledger.Position) (bolt.Tip, error)
	Fact(key string) ([]byte, error)
}

// Source is a ledger, and how to hold it still for a moment.
type Source struct {
	Ledger Ledger
	ID     string // of the ledger
	// Freeze calls fn while nothing is committed, with the digest of the positions.
	Freeze     func(ctx context.Context, fn func(stateHash string) error) error
	Generation func() uint64
	Spool      string // local folder: the state is written there while the ledger's pages are pinned
	Version    string
	Now        func() time.Time
	Log        zerolog.Logger
}

// ErrSuperseded says that the folder holds copies of a higher generation: another
// ledger was restored, and this one is not the chain's any more.
var ErrSuperseded = errors.New("another aggregator was restored from these backups")

// Make writes a copy, reads it back, and lists it. known and anew: see Folder.
// Nothing is listed that was not read back whole.
func Make(ctx context.Context, s *Source, to, known string, anew bool) (*Manifest, *Folder, error) {
	f, err := OpenFolder(to)
	if err == nil {
		err = f.begin(s.ID, known, anew)
	}
	if err != nil {
		return nil, nil, err
	}
	before, generation, err := f.newest()
	if err != nil {
		return nil, nil, err
	}
	if own := s.Generation(); generation > own {
		return nil, nil, fmt.Errorf("make backup: %w: they are of generation %d, this ledger is of %d; stop this aggregator, or name another folder", ErrSuperseded, generation, own)
	}
	w := &writing{s: s, f: f, before: before}
	if err := w.run(ctx); err != nil {
		return nil, nil, err
	}
	return &w.m, f, nil
}

// writing is one copy on its way.
type writing struct {
	s      *Source
	f      *Folder
	before *Manifest
	m      Manifest
	snap   *bolt.Snapshot
}

func (w *writing) run(ctx context.Context) error {
	spool, err := w.freeze(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(spool) }()
	for no := range w.snap.Full() {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("make backup: %w", err)
		}
		if err := w.segment(no); err != nil {
			return err
		}
	}
	if err := w.state(spool); err != nil {
		return err
	}
	info, err := w.f.verifyFresh(ctx, &w.m, w.s.Now())
	if err != nil {
		return err
	}
	w.m.Checkpoint = uint64(info.Checkpoint)
	if w.m.ID = idOf(w.m.At, w.m.Generation, w.m.Head); w.m.check() != nil {
		return w.m.check()
	}
	b, err := encodeManifest(&w.m)
	if err != nil {
		return err
	}
	return w.f.publish(copiesDir+"/"+w.m.ID+listExt, b)
}

// freeze takes the snapshot and spools its state to the local disk: the ledger's
// pages are pinned for as long as that takes, never for as long as a mount does.
func (w *writing) freeze(ctx context.Context) (spool string, err error) {
	s := w.s
	err = s.Freeze(ctx, func(hash string) (err error) {
		w.m = Manifest{
			Format: manifestFormat, Ledger: s.ID, Generation: s.Generation(), At: s.Now().UTC(), Version: s.Version, StateHash: hash, Segments: []Segment{},
		}
		w.snap, err = s.Ledger.Snapshot()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("make backup: %w", err)
	}
	defer w.snap.Close()
	w.m.Head, w.m.Marks = uint64(w.snap.Head), marksOf(w.snap.Marks)
	if err := os.MkdirAll(s.Spool, 0o700); err != nil {
		return "", fmt.Errorf("spool backup: %w", err)
	}
	spool = filepath.Join(s.Spool, "state.spool") // one at a time; what a crash left is written over
	file, err := os.OpenFile(spool, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return "", fmt.Errorf("spool backup: %w", err)
	}
	if err := errors.Join(w.snap.WriteState(file), file.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("spool backup: %w", err), os.Remove(spool))
	}
	return spool, nil
}

// segment writes a segment, unless a copy before has the very same.
func (w *writing) segment(no uint64) error {
	tip, err := w.s.Ledger.TipAt(ledger.Position((no + 1) * bolt.SegmentEntries))
	if err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	if b := w.before; b != nil && no < uint64(len(b.Segments)) && b.Segments[no].Tip == tip {
		old := b.Segments[no]
		if info, err := os.Stat(w.f.path(old.Name)); err == nil && info.Size() == old.Bytes {
			w.m.Segments = append(w.m.Segments, old)
			return nil
		}
		w.s.Log.Warn().Uint64("segment", no).Msg("a shared segment of the backups is missing; it is written again")
	}
	file, err := w.f.pack(func(sum string) string { return fmt.Sprintf("%s/%08d-%.16s%s", logDir, no, sum, segmentExt) },
		func(to io.Writer) error { return w.s.Ledger.WriteSegment(no, to) })
	if err != nil {
		return err
	}
	w.m.Segments = append(w.m.Segments, Segment{File: file, No: no, Tip: tip})
	return nil
}

func (w *writing) state(spool string) error {
	file, err := os.Open(spool)
	if err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	defer func() { _ = file.Close() }()
	id := idOf(w.m.At, w.m.Generation, w.m.Head)
	w.m.State, err = w.f.pack(func(string) string { return copiesDir + "/" + id + stateExt }, func(to io.Writer) error {
		_, err := io.Copy(to, file)
		return err
	})
	return err
}

// pack compresses what fill writes into a file of the folder.
func (f *Folder) pack(name func(sum string) string, fill func(io.Writer) error) (File, error) {
	file, err := f.create()
	if err != nil {
		return File{}, err
	}
	out := &counted{w: file, sum: sha256.New()}
	z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(windowMax/2))
	if err == nil {
		err = errors.Join(fill(z), z.Close())
	}
	p := File{Bytes: out.n, SHA256: hex.EncodeToString(out.sum.Sum(nil))}
	p.Name = name(p.SHA256)
	return p, f.place(file, p.Name, err)
}

// counted sums what passes.
type counted struct {
	w   io.Writer
	n   int64
	sum hash.Hash
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	_, _ = c.sum.Write(b[:n])
	return n, err
}
