package journal

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tillwire/protocol"
)

// model is what a journal should hold.
type model struct {
	docs   []string // by seq-1; trimmed ones stay
	seqOf  map[string]uint64
	tail   uint64
	merged uint64
	safe   uint64
	maybe  string // an append answered ErrRecovering: it is there or not
}

// TestAgainstModel appends, repeats, reuses ids, merges, trims, breaks commits
// and reopens at random, and compares with a model at each step.
func TestAgainstModel(t *testing.T) {
	t.Parallel()
	dirs := 0
	root := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dirs++
		clock := time.UnixMicro(1_795_000_000_000_000)
		fail := &failOnce{}
		o := Options{
			Path: filepath.Join(root, fmt.Sprint(dirs), "journal.db"), BallastBytes: -1, SegmentEvents: 25,
			Now: func() time.Time { return clock }, Retention: time.Hour,
			DiskFree: func() (uint64, uint64, error) { return 50, 100, nil },
			hooks:    hooks{fail: fail.fail},
		}
		j, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = j.Close() }()
		m := &model{seqOf: map[string]uint64{}, tail: 1}
		check := func() { m.check(t, j) }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				clock = clock.Add(time.Duration(rapid.IntRange(-1000, 100_000).Draw(t, "ms")) * time.Millisecond)
				var events []*protocol.Event
				for range rapid.IntRange(1, 30).Draw(t, "n") {
					events = append(events, sale(fmt.Sprint("D", rapid.IntRange(0, 300).Draw(t, "doc"))))
				}
				receipts, errs := j.AppendAll(context.Background(), events)
				for i, e := range events {
					if errs[i] != nil {
						t.Fatalf("append %s: %v", e.DocumentID, errs[i])
					}
					m.appended(t, e.DocumentID, receipts[i])
				}
			},
			"reuse": func(t *rapid.T) {
				doc := fmt.Sprint("D", rapid.IntRange(0, 300).Draw(t, "doc"))
				if m.seqOf[doc] < m.tail {
					return
				}
				e := sale(doc)
				e.Lines[0].Quantity++
				var reused *IDReusedError
				if _, err := j.Append(context.Background(), e); !errors.As(err, &reused) || reused.Seq != m.seqOf[doc] {
					t.Fatalf("other content for %s: %v", doc, err)
				}
			},
			"broken": func(t *rapid.T) {
				step := rapid.SampledFrom([]string{"begin", "put", "commit", "committed"}).Draw(t, "step")
				m.maybe = fmt.Sprint("X", len(m.docs))
				fail.arm(step, 1, errDisk)
				if _, err := j.Append(context.Background(), sale(m.maybe)); !errors.Is(err, ErrRecovering) {
					t.Fatalf("broken %s: %v", step, err)
				}
				if j.State().Phase != "running" {
					t.Fatalf("did not recover: %+v", j.State())
				}
				r, err := j.Append(context.Background(), sale(m.maybe))
				if err != nil || r.Seq != uint64(len(m.docs)+1) {
					t.Fatalf("retry: %+v %v", r, err)
				}
				r.Duplicate = false
				m.appended(t, m.maybe, r)
			},
			"merge": func(t *rapid.T) {
				head := uint64(len(m.docs))
				m.merged = rapid.Uint64Range(max(m.merged, m.tail-1), head).Draw(t, "merged")
				m.safe = max(m.safe, rapid.Uint64Range(0, m.merged).Draw(t, "safe"))
				if err := j.SetMerged(1, m.merged, m.safe, 1); err != nil {
					t.Fatal(err)
				}
			},
			"trim": func(t *rapid.T) {
				clock = clock.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "min")) * time.Minute)
				n, err := j.Trim(clock)
				if err != nil {
					t.Fatal(err)
				}
				if n%25 != 0 || m.tail+n-1 > m.safe {
					t.Fatalf("trimmed %d from %d beyond safe %d or not by segments", n, m.tail, m.safe)
				}
				m.tail += n
			},
			"set back": func(t *rapid.T) {
				clock = clock.Add(-time.Duration(rapid.IntRange(1, 180).Draw(t, "min")) * time.Minute)
			},
			"reopen": func(t *rapid.T) {
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				before := j.c.setBack
				o.VerifyAll = rapid.Bool().Draw(t, "all")
				if j, err = Open(o); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(before, setBackOf(t, j), sameSetBack); diff != "" {
					t.Fatalf("before (-) and after (+) a restart:\n%s", diff)
				}
			},
			"": func(*rapid.T) { check() },
		})
	})
}

func (m *model) appended(t *rapid.T, doc string, r Receipt) {
	seq, known := m.seqOf[doc]
	if known && seq >= m.tail {
		if !r.Duplicate || r.Seq != seq {
			t.Fatalf("%s is at %d: %+v", doc, seq, r)
		}
		return
	}
	m.docs = append(m.docs, doc)
	m.seqOf[doc] = uint64(len(m.docs))
	if r.Duplicate || r.Seq != uint64(len(m.docs)) {
		t.Fatalf("%s is new at %d: %+v", doc, len(m.docs), r)
	}
}

func (m *model) check(t *rapid.T, j *Journal) {
	st := j.State()
	if st.Head != uint64(len(m.docs)) || st.Tail != m.tail || st.Merged != m.merged || st.Safe != m.safe ||
		st.BacklogEvents != st.Head-m.merged || st.Phase != "running" {
		t.Fatalf("state %+v, model tail %d head %d merged %d safe %d", st, m.tail, len(m.docs), m.merged, m.safe)
	}
	chain, err := j.ChainAt(m.tail - 1)
	if err != nil || chain != st.ChainTail {
		t.Fatalf("chain at the tail: %v %v", chain, err)
	}
	last, bytes, seen := int64(0), uint64(0), m.tail
	err = j.Scan(0, func(seq uint64, us int64, rec []byte) error {
		var e protocol.Event
		if _, err := protocol.DecodeRecord(rec, &e); err != nil {
			return err
		}
		if seq != seen || e.DocumentID != m.docs[seq-1] || us <= last {
			return fmt.Errorf("seq %d (want %d): %s (want %s), time %d after %d", seq, seen, e.DocumentID, m.docs[seq-1], us, last)
		}
		if cut := j.CutAt(us); cut != seq {
			return fmt.Errorf("cut at the time of %d is %d", seq, cut)
		}
		seen, last, chain = seen+1, us, chain.Next(rec)
		if seq == m.merged && chain != st.ChainMerged {
			return fmt.Errorf("chain at merged %d differs", seq)
		}
		if seq > m.merged {
			bytes += uint64(len(rec))
			if seq == m.merged+1 && us != st.OldestUnackedUS {
				return fmt.Errorf("oldest unacked %d, want %d", st.OldestUnackedUS, us)
			}
		}
		return nil
	})
	if err != nil || seen != st.Head+1 || chain != st.ChainHead || bytes != st.BacklogBytes {
		t.Fatalf("scan to %d of %d, backlog %d bytes (state says %d): %v", seen-1, st.Head, bytes, st.BacklogBytes, err)
	}
}
