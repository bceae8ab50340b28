package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tillwire/protocol"
)

// sound is a journal's file, and everything that must be read from it.
type sound struct {
	t       testing.TB
	options Options
	bytes   []byte
	records map[uint64]string
	found   Inspection
}

const soundEvents = 240

// newSound makes one of several segments, index runs and register names, whose clock was
// set back on the way.
func newSound(t testing.TB) *sound {
	s := &sound{t: t, options: testOptions(t)}
	var looks atomic.Int64
	s.options.Now = func() time.Time {
		n := looks.Add(1)
		if n > 4 {
			n -= 7200
		}
		return time.UnixMicro(1_795_000_000_000_000).Add(time.Duration(n) * time.Second)
	}
	s.options.Path, s.options.SegmentEvents = filepath.Join(fastDir(t), "journal.db"), 100
	filled(t, s.options, soundEvents)
	var err error
	if s.bytes, err = os.ReadFile(s.options.Path); err != nil {
		t.Fatal(err)
	}
	s.records, s.found = s.read(s.options.Path)
	if s.found.Damage != nil || s.found.Records != soundEvents || s.found.IndexRuns == 0 || s.found.Merged != 100 || s.found.InUse {
		t.Fatalf("a sound file: %+v", s.found)
	}
	return s
}

// fastDir is a folder in memory where there is one: these tests are about bytes,
// not about disks.
func fastDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "journal-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (s *sound) read(path string) (map[uint64]string, Inspection) {
	s.t.Helper()
	records := map[uint64]string{}
	r, err := Inspect(context.Background(), path, 0, func(seq uint64, _ int64, rec []byte, _, chain protocol.Chain) error {
		records[seq] = string(rec) + chain.String()
		return nil
	})
	if err != nil {
		s.t.Fatalf("inspect %s: %v", path, err)
	}
	return records, *r
}

// verdict of one damaged copy.
type verdict struct {
	detected, harmless bool
	lost               int
	writable           time.Duration // from the start until a POS write was on disk again
}

// judge opens a damaged copy as an agent would, and demands: what Inspect calls
// sound is the same to the last bit; what is damaged gets detected, the damaged
// file stands beside unchanged, each record is there under its number or its
// place says that it is lost, and writes are taken.
func (s *sound) judge(dir string, bad []byte, deep bool) (v verdict, err error) {
	o := s.options
	o.Path, o.VerifyAll = filepath.Join(dir, "journal.db"), deep
	if err := os.WriteFile(o.Path, bad, 0o600); err != nil {
		return v, err
	}
	records, found := s.read(o.Path)
	v.detected = found.Damage != nil
	if !v.detected {
		v.harmless = found.ChainHead == s.found.ChainHead && found.Records == s.found.Records && found.Merged == s.found.Merged &&
			found.Safe == s.found.Safe && found.Epoch == s.found.Epoch && found.InstallID == s.found.InstallID &&
			found.IndexedIDs == s.found.IndexedIDs && len(records) == len(s.records)
		for seq, rec := range s.records {
			v.harmless = v.harmless && records[seq] == rec
		}
		if !v.harmless {
			return v, fmt.Errorf("not detected, and not the same: %+v", found)
		}
	}
	start := time.Now()
	j, err := Open(o)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	if err := s.settle(j, v.detected); err != nil {
		return v, fmt.Errorf("%w; inspection: %s", err, fmt.Sprint(found.Damage))
	}
	for { // as a till would: 503 means try again
		r, err := j.Append(context.Background(), sale("after"))
		if errors.Is(err, ErrRecovering) && time.Since(start) < 20*time.Second {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil || r.Duplicate {
			return v, fmt.Errorf("append: %+v %w", r, err)
		}
		break
	}
	v.writable = time.Since(start)
	if v.lost, err = s.compare(j); err != nil {
		return v, err
	}
	aside, _ := filepath.Glob(o.Path + ".corrupt-*")
	if v.detected != (len(aside) == 1) {
		return v, fmt.Errorf("detected %v, set aside %v, boot %s", v.detected, aside, j.State().BootReason)
	}
	if v.detected {
		if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, bad) {
			return v, fmt.Errorf("the damaged file was changed: %w", err)
		}
	} else if v.lost > 0 {
		return v, fmt.Errorf("%d lost without a word", v.lost)
	}
	return v, nil
}

// settle reads all records, as the link and the local stock do, and waits for the
// salvage where that met the damage.
func (s *sound) settle(j *Journal, damaged bool) error {
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := j.Scan(1, func(uint64, int64, []byte) error { return nil })
		salvaged := strings.HasPrefix(j.State().BootReason, "salvaged")
		switch {
		case err == nil && salvaged == damaged:
			return nil
		case err == nil:
			return fmt.Errorf("damaged %v, boot reason %q", damaged, j.State().BootReason)
		case time.Now().After(deadline):
			return fmt.Errorf("not salvaged in 20 s: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *sound) compare(j *Journal) (lost int, err error) {
	docs := documents(s.t, j)
	for seq := uint64(1); seq <= soundEvents; seq++ {
		switch docs[seq] {
		case fmt.Sprint("D", seq):
		case "", "after":
			lost++
		default:
			return lost, fmt.Errorf("seq %d holds %q", seq, docs[seq])
		}
	}
	return lost, nil
}

// used lists the bytes of the file that mean something: the meta pages, and every
// live page up to its last value.
func (s *sound) used() (at []int) {
	meta, err := newestMeta(s.source)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range 2 {
		for k := range pageHead + metaSize {
			at = append(at, i*meta.pageSize+k)
		}
	}
	t := &tree{read: s.source, meta: meta}
	var page func(id uint64, root bool)
	page = func(id uint64, root bool) {
		b, err := t.load(id, 0)
		if err != nil {
			s.t.Fatal(err)
		}
		b = bytes.Clone(b)
		flags, count, _ := pageKind(b)
		end := pageHead + 16*count
		for i := range count {
			e, ok := parseElement(b, flags == pageLeaf, i)
			if !ok {
				s.t.Fatalf("page %d", id)
			}
			end += len(e.key) + len(e.value)
			if flags == pageBranch {
				page(e.child, root)
			} else if root && e.value[0]|e.value[1] != 0 {
				page(uint64(e.value[0])|uint64(e.value[1])<<8, false)
			}
		}
		for k := range end {
			at = append(at, int(id)*meta.pageSize+k)
		}
	}
	page(meta.root, true)
	return at
}

func (s *sound) source(off int64, n int) ([]byte, error) {
	if off >= int64(len(s.bytes)) {
		return nil, nil
	}
	return s.bytes[off:min(off+int64(n), int64(len(s.bytes)))], nil
}

// Every flipped bit in a used byte is detected, or changes nothing that is read:
// 1,000 here, TILLWIRE_BIT_FLIPS for more, TILLWIRE_SEED for others.
func TestBitFlipsAreDetected(t *testing.T) {
	s := newSound(t)
	flips, seed := env(t, "TILLWIRE_BIT_FLIPS", 1000), env(t, "TILLWIRE_SEED", 1)
	if testing.Short() {
		flips = min(flips, 50)
	}
	at, rng := s.used(), rand.New(rand.NewPCG(uint64(seed), 0))
	type flip struct{ at, bit int }
	work := make([]flip, flips)
	for i := range work {
		work[i] = flip{at[rng.IntN(len(at))], rng.IntN(8)}
	}
	var detected, harmless, lost, slowest atomic.Int64
	const shards = 2
	t.Run("flips", func(t *testing.T) {
		for shard := range shards {
			t.Run(strconv.Itoa(shard), func(t *testing.T) {
				t.Parallel()
				for i := shard; i < flips; i += shards {
					f := work[i]
					bad := bytes.Clone(s.bytes)
					bad[f.at] ^= 1 << f.bit
					dir := fastDir(t)
					v, err := s.judge(dir, bad, i%4 == 0)
					if err != nil {
						t.Fatalf("flip %d of seed %d, bit %d of byte %d (page %d + %d): %v", i, seed, f.bit, f.at, f.at/4096, f.at%4096, err)
					}
					_ = os.RemoveAll(dir)
					lost.Add(int64(v.lost))
					slowest.Store(max(slowest.Load(), int64(v.writable)))
					if v.detected {
						detected.Add(1)
					} else {
						harmless.Add(1)
					}
				}
			})
		}
	})
	t.Logf("%d bit flips in %d used bytes, seed %d: %d detected, %d proven harmless, %d records lost and named; written again after %v at most",
		flips, len(at), seed, detected.Load(), harmless.Load(), lost.Load(), time.Duration(slowest.Load()))
	storeRow(t, fmt.Sprintf(`{"campaign":"bit-flips","cycles":%d,"acked":%d,"lost":0,"duplicated":0,"recovery_ms":{"p50":0,"p99":0,"max":%.3f},"note":"%d detected, %d proven harmless, none silent; %d damaged records named"}`,
		flips, int64(flips)*soundEvents, float64(slowest.Load())/1e6, detected.Load(), harmless.Load(), lost.Load()))
	if detected.Load() < int64(flips)*8/10 {
		t.Errorf("only %d of %d were detected: the bytes flipped do not mean enough", detected.Load(), flips)
	}
}

// storeRow keeps a figure for the report, where one is asked for.
func storeRow(t testing.TB, row string) {
	dir := os.Getenv("TILLWIRE_RESULTS")
	if dir == "" || t.Failed() {
		return
	}
	if err := os.WriteFile(filepath.Join(dir, "bit-flips.json"), []byte(row+"\n"), 0o600); err != nil {
		t.Error(err)
	}
}

func env(t testing.TB, name string, otherwise int) int {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// A file cut short anywhere, and a file with a page that reads as zeros, keep
// what is left of them.
func TestTruncatedAndZeroedFiles(t *testing.T) {
	s := newSound(t)
	const page = 4096
	judge := func(what string, bad []byte) verdict {
		t.Helper()
		dir := fastDir(t)
		v, err := s.judge(dir, bad, false)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		_ = os.RemoveAll(dir)
		return v
	}
	seen := 0
	for i := range len(s.bytes) / page {
		bad := bytes.Clone(s.bytes)
		clear(bad[i*page : (i+1)*page])
		if v := judge(fmt.Sprint("page zeroed: ", i), bad); v.detected {
			seen++
		}
		if i == 0 {
			continue // an empty file is another test
		}
		judge(fmt.Sprint("cut in front of page ", i), bytes.Clone(s.bytes[:i*page]))
		if i%4 == 0 {
			judge(fmt.Sprint("cut within page ", i), bytes.Clone(s.bytes[:i*page+1000]))
		}
	}
	if seen < 5 {
		t.Errorf("%d of %d zeroed pages were detected", seen, len(s.bytes)/page)
	}
	t.Logf("%d pages zeroed, %d live; as many cuts", len(s.bytes)/page, seen)
}
