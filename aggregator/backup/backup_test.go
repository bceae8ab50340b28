package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
	"tillwire/store/ledger/bolt"
)

// rig is a real ledger, one journal, and a folder of copies.
type rig struct {
	t      *testing.T
	path   string
	folder string
	ledger *bolt.Ledger
	gen    uint64
	now    time.Time
	salt   byte // tells histories apart
}

var shop = protocol.Origin{Store: "S1", Agent: "server"}

func newRig(t *testing.T, entries int) *rig {
	t.Helper()
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "ledger.db"), folder: t.TempDir(), gen: 1, now: time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)}
	r.open()
	r.must(r.ledger.Commit(context.Background(), &ledger.Batch{Journals: []ledger.Journal{{ID: 1, Origin: shop}}}))
	r.sell(entries)
	return r
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) open() {
	r.t.Helper()
	l, err := bolt.Open(bolt.Options{Path: r.path, Log: zerolog.Nop()})
	r.must(err)
	r.ledger = l
	r.t.Cleanup(func() { _ = l.Close() })
}

func (r *rig) sell(n int) {
	r.t.Helper()
	for n > 0 {
		b := &ledger.Batch{}
		head := uint64(r.ledger.Head())
		for range min(n, 20_000) {
			head++
			sum := sha256.Sum256(fmt.Append(nil, r.salt, head))
			b.Entries = append(b.Entries, ledger.Entry{Position: ledger.Position(head), Origin: 1, Epoch: 1, Seq: head, MergedUS: int64(head), EventID: protocol.EventID(sum[:16])})
		}
		n -= len(b.Entries)
		b.Marks = []ledger.Mark{{Origin: shop, Epoch: 1, Lease: 1, Seq: head, InstallID: "i", WasSeq: uint64(r.ledger.Head())}}
		if b.Marks[0].WasSeq > 0 {
			b.Marks[0].WasEpoch, b.Marks[0].WasLease = 1, 1
		}
		r.must(r.ledger.Commit(context.Background(), b))
	}
}

// digest is a fold that needs no meaning: a hash over the log.
func digest(l ledger.Ledger) (string, error) {
	h := sha256.New()
	err := l.Scan(1, func(e *ledger.Entry) error { _, _ = h.Write(e.EventID[:]); return nil })
	return hex.EncodeToString(h.Sum(nil)), err
}

func fold(path string) (string, error) {
	l, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop(), ReadOnly: true})
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return digest(l)
}

func (r *rig) source() *Source {
	return &Source{
		Ledger: r.ledger, ID: "ledger-1", Generation: func() uint64 { return r.gen }, Spool: filepath.Join(filepath.Dir(r.path), "spool"), Version: "test",
		Now: func() time.Time { r.now = r.now.Add(time.Second); return r.now }, Log: zerolog.Nop(),
		Freeze: func(_ context.Context, fn func(string) error) error {
			hash, err := digest(r.ledger)
			return errors.Join(err, fn(hash))
		},
	}
}

func (r *rig) make() *Manifest {
	r.t.Helper()
	m, _, err := Make(context.Background(), r.source(), r.folder, "", false)
	r.must(err)
	return m
}

func (r *rig) restore(at string) (*Restored, error) {
	r.t.Helper()
	r.must(r.ledger.Close())
	out, err := Restore(context.Background(), &RestoreOptions{
		From: r.folder, At: at, Ledger: r.path, Now: func() time.Time { r.now = r.now.Add(time.Second); return r.now }, Log: zerolog.Nop(), Fold: fold,
		Generation: func(string) uint64 { return r.gen },
		Adopt: func(path string, _ *Manifest, g uint64) error {
			l, err := bolt.Open(bolt.Options{Path: path, Log: zerolog.Nop()})
			if err != nil {
				return err
			}
			r.gen = g
			return errors.Join(l.Commit(context.Background(), &ledger.Batch{Facts: []ledger.Fact{{Key: "adopted", Value: []byte{byte(g)}}}}), l.Close())
		},
	})
	if err == nil {
		r.open()
	}
	return out, err
}

// TestCopiesShareTheirSegments: a second copy costs what changed; both can be
// restored, and what was before stands aside.
func TestCopiesShareTheirSegments(t *testing.T) {
	r := newRig(t, bolt.SegmentEntries+500)
	one := r.make()
	r.sell(700)
	two := r.make()
	if len(one.Segments) != 1 || one.Segments[0] != two.Segments[0] || one.Head != 100_500 || two.Head != 101_200 || one.StateHash == two.StateHash {
		t.Fatalf("one %+v\ntwo %+v", one.Segments, two.Segments)
	}
	f, m, err := Find(r.folder, "")
	r.must(err)
	if m.ID != two.ID || m.LedgerMarks()[0].Seq != 101_200 {
		t.Fatalf("newest is %s", m.ID)
	}
	r.must(f.Verify(context.Background(), m))
	got, err := r.restore(one.ID[:20])
	r.must(err)
	if got.Generation != 2 || got.Manifest.ID != one.ID || r.ledger.Head() != 100_500 || !strings.Contains(got.Aside, ".before-restore-2026") {
		t.Errorf("%+v, head %d", got, r.ledger.Head())
	}
	if hash, err := fold(got.Aside); err != nil || hash != two.StateHash {
		t.Errorf("what was before is not aside: %v", err)
	}
	if v, err := r.ledger.Fact("adopted"); err != nil || v[0] != 2 {
		t.Errorf("adopted: %v %v", v, err)
	}
	r.salt = 1 // another history from here: the shared segment is still the same
	r.sell(10)
	if three := r.make(); three.Generation != 2 || three.Segments[0] != one.Segments[0] {
		t.Errorf("three: %+v", three.Segments)
	}
}

// TestEachRestoreIsANewGeneration, also where the copy, the folder's other copies or
// the ledger replaced know of different ones.
func TestEachRestoreIsANewGeneration(t *testing.T) {
	r := newRig(t, 10)
	one := r.make()
	for _, c := range []struct {
		own, want uint64
	}{{1, 2}, {2, 3}, {9, 10}} {
		r.gen = c.own
		got, err := r.restore(one.ID)
		r.must(err)
		if got.Generation != c.want {
			t.Errorf("of generation %d restored as %d, want %d", c.own, got.Generation, c.want)
		}
	}
	r.make() // of generation 10
	r.gen = 1
	if got, err := r.restore(one.ID); err != nil || got.Generation != 11 {
		t.Errorf("%+v, %v: want generation 11, a copy knows of 10", got, err)
	}
}

// TestAnotherHistoryIsNotShared: a ledger restored from before a segment was full
// fills it with other events; later copies must not take the old one for theirs.
func TestAnotherHistoryIsNotShared(t *testing.T) {
	r := newRig(t, bolt.SegmentEntries-20)
	early := r.make()
	r.sell(30)
	one := r.make()
	_, err := r.restore(early.ID)
	r.must(err)
	r.salt = 1
	r.sell(30)
	two := r.make()
	if len(one.Segments) != 1 || len(two.Segments) != 1 || two.Segments[0].Name == one.Segments[0].Name {
		t.Fatalf("one %+v, two %+v", one.Segments, two.Segments)
	}
	f, m, err := Find(r.folder, "")
	r.must(err)
	r.must(f.Verify(context.Background(), m))
	if m, err = f.Manifest(one.ID); err == nil {
		err = f.Verify(context.Background(), m)
	}
	r.must(err)
}

// TestDamageIsFoundBeforeAnythingMoves flips bytes of every file of a copy.
func TestDamageIsFoundBeforeAnythingMoves(t *testing.T) {
	r := newRig(t, 300)
	m := r.make()
	f, _, err := Find(r.folder, "")
	r.must(err)
	rng := rand.New(rand.NewPCG(1, 1))
	for _, name := range []string{m.State.Name, copiesDir + "/" + m.ID + listExt} {
		whole, err := os.ReadFile(f.path(name))
		r.must(err)
		for range 60 {
			b := append([]byte(nil), whole...)
			if at := rng.IntN(len(b)); rng.IntN(4) == 0 {
				b = b[:at]
			} else {
				b[at] ^= byte(1 + rng.IntN(255))
			}
			r.must(os.WriteFile(f.path(name), b, 0o600))
			x, err := f.Manifest(m.ID)
			if err == nil {
				err = f.Verify(context.Background(), x)
			}
			if err == nil {
				if y, _ := encodeManifest(x); string(y) != string(whole) || name == m.State.Name {
					t.Fatalf("%s is damaged, and nobody tells", name)
				}
			}
		}
		r.must(os.WriteFile(f.path(name), whole[:len(whole)-2], 0o600))
		if _, err := r.restore(""); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: restored from a damaged copy: %v", name, err)
		}
		if list, _ := filepath.Glob(r.path + ".*"); len(list) != 0 {
			t.Errorf("%s: the restore left %v", name, list)
		}
		r.must(os.WriteFile(f.path(name), whole, 0o600))
		r.open()
		if r.ledger.Head() != 300 {
			t.Error("the old ledger is not in its place")
		}
	}
	x := *m
	x.StateHash = "other"
	r.must(f.Rehearse(context.Background(), m, t.TempDir(), fold))
	if err := f.Rehearse(context.Background(), &x, t.TempDir(), fold); !errors.Is(err, ErrDamaged) {
		t.Errorf("a trial of other positions: %v", err)
	}
	b, _ := encodeManifest(&x)
	r.must(os.WriteFile(f.path(copiesDir+"/"+m.ID+listExt), b, 0o600))
	if _, err := r.restore(""); !errors.Is(err, ErrDamaged) {
		t.Errorf("positions differ from the manifest: %v", err)
	}
	for _, bad := range []string{"../ledger.db", "log/../x", "/etc/passwd", `log/a\b`, "log/.hidden", "other/x"} {
		x := *m
		x.State.Name = bad
		b, _ := encodeManifest(&x)
		if _, err := decodeManifest(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("a manifest may name %q: %v", bad, err)
		}
	}
}

func TestRestoreRefusesALedgerInUse(t *testing.T) {
	r := newRig(t, 10)
	r.make()
	_, err := Restore(context.Background(), &RestoreOptions{
		From: r.folder, Ledger: r.path, Now: time.Now, Fold: fold, Generation: func(string) uint64 { return 1 },
	})
	if err == nil || !strings.Contains(err.Error(), "stop the aggregator first") {
		t.Errorf("restored under a running aggregator: %v", err)
	}
}

// TestFoldersAreGuarded: no copy goes where it does not belong.
func TestFoldersAreGuarded(t *testing.T) {
	r := newRig(t, 10)
	ctx := context.Background()
	try := func(folder, known string, anew bool) error {
		_, _, err := Make(ctx, r.source(), folder, known, anew)
		return err
	}
	if err := try(filepath.Join(r.folder, "none"), "", false); err == nil || !strings.Contains(err.Error(), "is it mounted?") {
		t.Errorf("a folder that is missing: %v", err)
	}
	if err := try(r.path, "", false); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("a file: %v", err)
	}
	if err := try(r.folder, "another", false); err == nil || !strings.Contains(err.Error(), "is it mounted?") {
		t.Errorf("a bare mount point: %v", err)
	}
	if list, _ := os.ReadDir(r.folder); len(list) != 0 {
		t.Errorf("it was written to all the same: %v", list)
	}
	r.must(try(r.folder, "another", true))
	f, err := OpenFolder(r.folder)
	r.must(err)
	if err := try(r.folder, f.marker.Folder, false); err != nil {
		t.Errorf("the folder used before: %v", err)
	}
	if err := try(r.folder, "another", false); err == nil {
		t.Error("another folder of the same ledger is taken for the one used before")
	}
	s := r.source()
	s.ID = "ledger-2"
	if _, _, err := Make(ctx, s, r.folder, "", true); err == nil || !strings.Contains(err.Error(), "another ledger") {
		t.Errorf("copies of two ledgers in one folder: %v", err)
	}
	r.gen = 5
	r.make()
	r.gen = 4
	if err := try(r.folder, "", false); !errors.Is(err, ErrSuperseded) {
		t.Errorf("a ledger that was replaced goes on making copies: %v", err)
	}
	r.must(os.WriteFile(filepath.Join(r.folder, markerName), []byte("{"), 0o600))
	if err := try(r.folder, "", false); !errors.Is(err, ErrDamaged) {
		t.Errorf("damaged marker: %v", err)
	}
}

func TestPruneKeepsWhatCopiesShare(t *testing.T) {
	r := newRig(t, bolt.SegmentEntries+10)
	var ids []string
	for range 4 {
		ids = append(ids, r.make().ID)
		r.sell(10)
	}
	f, _, err := Find(r.folder, "")
	r.must(err)
	left := filepath.Join(r.folder, tmpDir, "part-left")
	r.must(os.WriteFile(left, nil, 0o600))
	r.must(f.prune(2, time.Now().Add(-time.Hour)))
	if _, err := os.Stat(left); err != nil {
		t.Error("what is being written was removed")
	}
	r.must(f.prune(2, time.Now().Add(3*time.Hour)))
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what a crash left stays")
	}
	got, err := f.Copies()
	r.must(err)
	if len(got) != 2 || got[0] != ids[2] || got[1] != ids[3] {
		t.Errorf("copies %v, want the last two of %v", got, ids)
	}
	states, _ := filepath.Glob(filepath.Join(r.folder, copiesDir, "*"+stateExt))
	segs, _ := filepath.Glob(filepath.Join(r.folder, logDir, "*"))
	if len(states) != 2 || len(segs) != 1 {
		t.Errorf("%d states, %d segments", len(states), len(segs))
	}
	for _, id := range got {
		m, err := f.Manifest(id)
		r.must(err)
		r.must(f.Verify(context.Background(), m))
	}
}
