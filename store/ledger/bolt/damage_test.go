package bolt

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// filled makes a closed ledger of n×50 sales, with runs of ids.
func filled(t testing.TB, n int) (path string, all []ledger.Entry) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "l.db")
	l := mustOpen(t, Options{Path: path, IDsHot: 128})
	s := newBenchSource()
	if err := l.Commit(context.Background(), &ledger.Batch{Journals: s.journals()}); err != nil {
		t.Fatal(err)
	}
	for range n {
		b := s.batch(50, 5)
		all = append(all, b.Entries...)
		if err := l.Commit(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path, all
}

// TestFlippedBytes flips one byte of every kind of value and wants each read of
// it to tell, never to answer something else.
func TestFlippedBytes(t *testing.T) {
	t.Parallel()
	path, all := filled(t, 40)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	copyPath := filepath.Join(t.TempDir(), "flipped.db")
	told := 0
	for range 150 {
		b := append([]byte(nil), whole...)
		// Behind the header of the page: bbolt's own structure is another test.
		b[2*4096+rng.IntN(len(b)-2*4096)] ^= byte(1 + rng.IntN(255))
		if err := os.WriteFile(copyPath, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if tellsDamage(t, copyPath, all) {
			told++
		}
	}
	t.Logf("%d of 150 flips hit bytes in use, all told", told)
	if told < 50 {
		t.Fatalf("only %d flips were told of", told)
	}
}

// tellsDamage reads everything of a read-only ledger. Wrong answers end the
// test; damage told of, or not in use, does not.
func tellsDamage(t *testing.T, path string, all []ledger.Entry) bool {
	l, err := Open(Options{Path: path, ReadOnly: true})
	if err != nil {
		if !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatalf("open: got %v, want ErrCorrupt", err)
		}
		return true
	}
	defer func() { _ = l.Close() }()
	corrupt := func(err error) bool {
		if err != nil && !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatalf("got %v, want ErrCorrupt", err)
		}
		return err != nil
	}
	told := corrupt(l.Scan(1, func(e *ledger.Entry) error {
		if want := all[e.Position-1]; e.EventID != want.EventID || string(e.Record) != string(want.Record) || e.Seq != want.Seq {
			t.Fatalf("entry %d was read wrong", e.Position)
		}
		return nil
	}))
	for i := range all {
		p, content, ok, err := l.Find(all[i].EventID)
		if corrupt(err) {
			told = true
		} else if !ok || p != all[i].Position || content != all[i].Content {
			t.Fatalf("find entry %d: wrong answer %d %t", i+1, p, ok)
		}
		if i%10 == 0 {
			e, err := l.Read(all[i].Position)
			if corrupt(err) {
				told = true
			} else if string(e.Record) != string(all[i].Record) {
				t.Fatalf("entry %d was read wrong", i+1)
			}
		}
	}
	_, err = l.Journals()
	return corrupt(err) || told
}

func TestCorruptFiles(t *testing.T) {
	path, all := filled(t, 40)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	half := append([]byte(nil), whole[:len(whole)/2]...)
	m, ok := readMeta(path)
	if !ok {
		t.Fatal("no meta page was found")
	}
	used := int64(m.pages) * m.pageSize // the file has more, laid ahead
	for name, content := range map[string][]byte{
		"empty": {}, "zeros": make([]byte, 64<<10), "text": []byte(strings.Repeat("this is no ledger\n", 4096)), "half": half,
		"a page too short": whole[:used-m.pageSize], "a byte too short": whole[:used-1],
	} {
		t.Run(name, func(t *testing.T) {
			bad := filepath.Join(t.TempDir(), "bad.db")
			if err := os.WriteFile(bad, content, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, ro := range []bool{true, false} {
				l, err := Open(Options{Path: bad, ReadOnly: ro})
				if err == nil {
					err = l.Scan(1, func(*ledger.Entry) error { return nil })
					_ = l.Close()
				}
				if !errors.Is(err, ledger.ErrCorrupt) {
					t.Fatalf("read only %t: got %v, want ErrCorrupt", ro, err)
				}
			}
			after, err := os.ReadFile(bad)
			if err != nil || name != "half" && string(after) != string(content) {
				t.Fatalf("the file was touched: %v", err)
			}
		})
	}
	l := mustOpen(t, Options{Path: path})
	checkWhole(t, l, all)
}

// damage changes a value below bbolt's own structure.
func damage(t *testing.T, path string, bucket []byte, change func(b *bbolt.Bucket) error) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return change(tx.Bucket(bucket)) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestMissingTail(t *testing.T) {
	path, _ := filled(t, 10)
	damage(t, path, bucketLog, func(b *bbolt.Bucket) error {
		name := key64(0)
		seg := b.Bucket(name[:])
		k, _ := seg.Cursor().Last()
		return seg.Delete(k)
	})
	_, err := Open(Options{Path: path})
	if !errors.Is(err, ledger.ErrCorrupt) || !strings.Contains(err.Error(), "log ends at 450, want 500") {
		t.Fatalf("got %v, want ErrCorrupt with both ends", err)
	}
}

// TestIndexRebuilt: the index of ids is derived; damage to it costs time, not
// the ledger.
func TestIndexRebuilt(t *testing.T) {
	breakFilter := func(b *bbolt.Bucket) error {
		return b.ForEachBucket(func(k []byte) error {
			return b.Bucket(k).Put(partKey(keyBloom, 0), []byte("damaged"))
		})
	}
	breakChunks := func(b *bbolt.Bucket) error {
		return b.ForEachBucket(func(k []byte) error {
			return b.Bucket(k).Put(partKey(keyChunk, 0), []byte("damaged"))
		})
	}
	t.Run("seen at open", func(t *testing.T) {
		path, all := filled(t, 40)
		damage(t, path, bucketIDs, breakFilter)
		if _, err := Open(Options{Path: path, ReadOnly: true}); !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatalf("read only: got %v, want ErrCorrupt", err)
		}
		l := mustOpen(t, Options{Path: path, IDsHot: 128})
		checkWhole(t, l, all)
		goOn(t, l, "rebuilt")
	})
	t.Run("seen by Find", func(t *testing.T) {
		path, all := filled(t, 40)
		damage(t, path, bucketIDs, breakChunks)
		l := mustOpen(t, Options{Path: path, IDsHot: 128})
		if _, _, _, err := l.Find(all[0].EventID); !errors.Is(err, ledger.ErrCorrupt) {
			t.Fatalf("find: got %v, want ErrCorrupt", err)
		}
		_ = l.Close()
		l = mustOpen(t, Options{Path: path, IDsHot: 128, RebuildIDs: true})
		checkWhole(t, l, all)
		_ = l.Close()
		checkWhole(t, mustOpen(t, Options{Path: path, IDsHot: 128}), all)
	})
}

func TestReadOnly(t *testing.T) {
	t.Parallel() // it waits for a lock
	path, all := filled(t, 20)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	a := mustOpen(t, Options{Path: path, ReadOnly: true})
	b := mustOpen(t, Options{Path: path, ReadOnly: true}) // readers share
	checkWhole(t, a, all)
	checkWhole(t, b, all)
	if err := a.Commit(context.Background(), &ledger.Batch{}); !errors.Is(err, errReadOnly) {
		t.Fatalf("commit: got %v, want %v", err, errReadOnly)
	}
	if _, err := Open(Options{Path: path}); err == nil || !strings.Contains(err.Error(), "stop the aggregator") {
		t.Fatalf("open beside a reader: got %v, want the remedy", err)
	}
	_, _ = a.Close(), b.Close()
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Fatalf("the file was written: %v", err)
	}
	if _, err := Open(Options{Path: filepath.Join(t.TempDir(), "none"), ReadOnly: true}); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("open of nothing: got %v, want not exist", err)
	}
}

// TestRunsStayFew commits far more than the hot map holds and counts runs.
func TestRunsStayFew(t *testing.T) {
	l := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "l.db"), IDsHot: 32})
	most := map[uint64]int{}
	for range 700 {
		b := &ledger.Batch{}
		for i := range 16 {
			b.Entries = append(b.Entries, numbered(l.Head()+1+ledger.Position(i)))
		}
		if err := l.Commit(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		n := map[uint64]int{}
		for _, r := range l.runs {
			n[r.tier]++
			most[r.tier] = max(most[r.tier], n[r.tier])
		}
		if l.hot.len() > 64 || len(l.keep.dead) > 16 {
			t.Fatalf("%d hot ids, %d dead runs", l.hot.len(), len(l.keep.dead))
		}
	}
	if len(most) < 4 {
		t.Fatalf("only %d tiers: the test tests nothing", len(most))
	}
	for tier, n := range most {
		if n > 8 {
			t.Errorf("tier %d had %d runs, want at most 8", tier, n)
		}
	}
	total := uint64(0)
	for _, r := range l.runs {
		total += r.count
	}
	if total+uint64(l.hot.len()) != uint64(l.Head()) {
		t.Fatalf("%d ids in runs and %d hot, want %d", total, l.hot.len(), l.Head())
	}
	for p := ledger.Position(1); p <= l.Head(); p += 3 {
		if got, _, ok, err := l.Find(numbered(p).EventID); got != p || !ok || err != nil {
			t.Fatalf("find entry %d: got %d %t %v", p, got, ok, err)
		}
	}
}

func TestSegments(t *testing.T) {
	l := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "l.db")})
	for range 3 {
		b := &ledger.Batch{}
		for i := range segmentEntries - 1000 {
			b.Entries = append(b.Entries, numbered(l.Head()+1+ledger.Position(i)))
		}
		if err := l.Commit(context.Background(), b); err != nil {
			t.Fatal(err)
		}
	}
	n := ledger.Position(99_990)
	if err := l.Scan(n, func(e *ledger.Entry) error {
		if want := numbered(n); e.Position != n || e.EventID != want.EventID {
			t.Fatalf("got entry %d, want %d", e.Position, n)
		}
		n++
		return nil
	}); err != nil || n != l.Head()+1 {
		t.Fatalf("scan: %v at %d", err, n)
	}
	for _, p := range []ledger.Position{99_999, 100_000, 100_001, 200_000, 200_001} {
		if e, err := l.Read(p); err != nil || e.EventID != numbered(p).EventID {
			t.Fatalf("read %d: %v", p, err)
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	s := newBenchSource()
	for _, e := range s.batch(3, 1).Entries {
		key := key64(uint64(e.Position))
		f.Add(appendEntry(nil, key[:], &e)[crcBytes:], uint64(e.Position))
	}
	f.Fuzz(func(t *testing.T, payload []byte, p uint64) {
		key := key64(p)
		var e, again ledger.Entry
		if _, err := decodeEntry(ledger.Position(p), key[:], sealed(key[:], payload), &e, nil); err != nil {
			if !errors.Is(err, ledger.ErrCorrupt) {
				t.Fatalf("got %v, want ErrCorrupt", err)
			}
			return
		}
		if checkEntry(&e) != nil {
			return
		}
		if _, err := decodeEntry(e.Position, key[:], appendEntry(nil, key[:], &e), &again, nil); err != nil {
			t.Fatal(err)
		}
		if again.EventID != e.EventID || string(again.Record) != string(e.Record) || again.Ref != e.Ref || len(again.Links) != len(e.Links) {
			t.Fatalf("%+v came back as %+v", e, again)
		}
	})
}

func TestBloom(t *testing.T) {
	const n = 20_000
	for tier, most := range []float64{0.002, 0.005, 0.012, 0.03, 0.03} {
		f := newBloom(n, uint64(tier))
		for p := range ledger.Position(n) {
			f.add(numbered(p).EventID)
		}
		wrong := 0
		for p := range ledger.Position(2 * n) {
			h1, h2 := bloomHash(numbered(p).EventID)
			switch has := f.has(h1, h2); {
			case p < n && !has:
				t.Fatalf("tier %d: id %d was added and is not there", tier, p)
			case p >= n && has:
				wrong++
			}
		}
		if rate := float64(wrong) / n; rate > most {
			t.Errorf("tier %d: %.2f %% of unknown ids pass", tier, 100*rate)
		}
	}
}

func TestMarkOfFormatOneHasNoOwn(t *testing.T) {
	m := ledger.Mark{Origin: protocol.Origin{Store: "S1", Agent: "a"}, Epoch: 2, Lease: 3, Seq: 4, Own: 9, Forks: []ledger.Fork{{Epoch: 2, After: 1}}}
	b := appendMark(nil, &m)
	if got, err := decodeMark(m.Origin, b); err != nil || got.Own != 9 {
		t.Fatalf("own is %d (%v), want 9", got.Own, err)
	}
	old := append([]byte{1}, b[1:len(b)-1]...)
	got, err := decodeMark(m.Origin, old)
	m.Own = 0
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("a mark of format 1 reads as %+v (%v), want %+v", got, err, m)
	}
}
