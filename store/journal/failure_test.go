package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tillwire/protocol"
)

// failOnce fails at the n-th time that a step is reached, once.
type failOnce struct {
	mu   sync.Mutex
	step string
	left int
	err  error
}

func (f *failOnce) arm(step string, nth int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.step, f.left, f.err = step, nth, err
}

func (f *failOnce) fail(step string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if step != f.step || f.left == 0 {
		return nil
	}
	if f.left--; f.left > 0 {
		return nil
	}
	return f.err
}

var errDisk = errors.New("input/output error")

// waitPhase waits until the journal is in a phase.
func waitPhase(t testing.TB, j *Journal, want string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for j.State().Phase != want {
		if time.Now().After(deadline) {
			t.Fatalf("phase is %q, want %q: %s", j.State().Phase, want, j.State().LastError)
		}
		time.Sleep(time.Millisecond)
	}
}

// Each step of a commit is broken once. The writer must be told ErrRecovering,
// a retry must succeed with one single record, and a reopened journal verifies.
func TestEachFailingStepRecovers(t *testing.T) {
	t.Parallel() // waits for retries
	for _, step := range []string{"begin", "put", "index", "marks", "commit", "committed"} {
		for _, then := range []string{"", "open", "verify", "heal"} {
			t.Run(step+"+"+then, func(t *testing.T) {
				fail, also := &failOnce{}, &failOnce{}
				o := testOptions(t)
				o.hooks.fail = func(s string) error { return errors.Join(fail.fail(s), also.fail(s)) }
				j := open(t, o)
				var events []*protocol.Event
				for i := range indexMemMax - 1 { // the next append flushes the index
					events = append(events, sale(fmt.Sprint("D", i)))
				}
				if _, errs := j.AppendAll(context.Background(), events); errors.Join(errs...) != nil {
					t.Fatal(errors.Join(errs...))
				}
				if err := j.SetMerged(1, 5, 5, 1); err != nil {
					t.Fatal(err)
				}
				fail.arm(step, 1, errDisk)
				if then != "" {
					also.arm(then, 1, errDisk)
				}
				_, err := j.Append(context.Background(), sale("X"))
				if !errors.Is(err, ErrRecovering) {
					t.Fatalf("append while %q fails: %v", step, err)
				}
				waitPhase(t, j, "running")
				if r := mustAppend(t, j, sale("X")); r.Seq != indexMemMax {
					t.Fatalf("retry: %+v", r)
				} else if visible := step == "committed"; r.Duplicate != visible {
					t.Fatalf("retry: duplicate %v, want %v", r.Duplicate, visible)
				}
				if r := mustAppend(t, j, sale("Y")); r.Seq != indexMemMax+1 {
					t.Fatalf("next: %+v", r)
				}
				if err := j.Close(); err != nil {
					t.Fatal(err)
				}
				o.hooks, o.VerifyAll = hooks{}, true
				st := open(t, o).State()
				if st.Head != indexMemMax+1 || st.Merged != 5 || st.BootReason != "reopened" {
					t.Fatalf("after reopen: %+v", st)
				}
			})
		}
	}
}

// A reopen that keeps failing keeps refusing, and heals when the disk does.
func TestReopenRetries(t *testing.T) {
	var broken atomic.Bool
	o := testOptions(t)
	o.hooks.fail = func(s string) error {
		if broken.Load() && (s == "committed" || s == "open") {
			return errDisk
		}
		return nil
	}
	j := open(t, o)
	mustAppend(t, j, sale("A"))
	broken.Store(true)
	for range 3 {
		if _, err := j.Append(context.Background(), sale("B")); !errors.Is(err, ErrRecovering) {
			t.Fatalf("append on a broken disk: %v", err)
		}
	}
	if _, _, _, err := j.Read(1, 1, 1, nil); !errors.Is(err, ErrRecovering) {
		t.Fatalf("read on a broken disk: %v", err)
	}
	broken.Store(false)
	waitPhase(t, j, "running")
	if r := mustAppend(t, j, sale("B")); r.Seq != 2 {
		t.Fatalf("after healing: %+v", r)
	}
	if c := j.State().Counters; c.CommitErrors != 1 || c.RefusedRecovering != 3 || c.Recoveries != 1 {
		t.Fatalf("counters %+v", c)
	}
}

func TestNoSpaceIsFullAndRecovers(t *testing.T) {
	t.Parallel() // waits for the next look at the disk
	fail := &failOnce{}
	var free atomic.Uint64
	free.Store(50)
	o := testOptions(t)
	o.BallastBytes = 1 << 20
	o.DiskFree = func() (uint64, uint64, error) { return free.Load() << 20, 100 << 20, nil }
	o.hooks.fail = fail.fail
	j := open(t, o)
	ballast := o.Path + ".ballast"
	if info, err := os.Stat(ballast); err != nil || info.Size() != 1<<20 {
		t.Fatalf("ballast: %v", err)
	}
	mustAppend(t, j, sale("A"))
	fail.arm("commit", 1, fmt.Errorf("write page: %w", syscall.ENOSPC))
	free.Store(0)
	if _, err := j.Append(context.Background(), sale("B")); !errors.Is(err, ErrFull) {
		t.Fatalf("append without space: %v", err)
	}
	if _, err := os.Stat(ballast); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("ballast was not freed: %v", err)
	}
	if _, err := j.Append(context.Background(), sale("B")); !errors.Is(err, ErrFull) {
		t.Fatalf("append on a full disk: %v", err)
	}
	if err := j.SetMerged(1, 1, 1, 1); err != nil {
		t.Fatalf("marks must move on a full disk: %v", err)
	}
	free.Store(60)
	waitPhase(t, j, "running")
	if r := mustAppend(t, j, sale("B")); r.Seq != 2 || r.Duplicate {
		t.Fatalf("after room was made: %+v", r)
	}
	if _, err := os.Stat(ballast); err != nil {
		t.Fatalf("ballast was not laid again: %v", err)
	}
}

func TestDiskFloorTrimsSafeSegments(t *testing.T) {
	t.Parallel() // waits for the next look at the disk
	var free atomic.Uint64
	free.Store(50)
	o := testOptions(t)
	o.SegmentEvents = 10
	o.DiskFree = func() (uint64, uint64, error) { return free.Load(), 100, nil }
	j := open(t, o)
	for i := range 35 {
		mustAppend(t, j, sale(fmt.Sprint(i)))
	}
	if err := j.SetMerged(1, 30, 25, 1); err != nil {
		t.Fatal(err)
	}
	free.Store(4)
	err := j.do(func() error { j.c.measureDisk(time.Now()); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(context.Background(), sale("X")); !errors.Is(err, ErrFull) {
		t.Fatalf("append at the floor: %v", err)
	}
	if st := j.State(); st.Tail != 21 || st.Phase != "full" {
		t.Fatalf("safe segments at the floor: tail %d, phase %s", st.Tail, st.Phase)
	}
	free.Store(20)
	waitPhase(t, j, "running")
	mustAppend(t, j, sale("X"))
}

// documents reads all that a journal holds: document id by seq, "" for a lost
// record's marker.
func documents(t testing.TB, j *Journal) map[uint64]string {
	t.Helper()
	docs := map[uint64]string{}
	err := j.Scan(1, func(seq uint64, _ int64, rec []byte) error {
		var e protocol.Event
		_, _ = protocol.DecodeRecord(rec, &e)
		docs[seq] = e.DocumentID
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs
}

// filled makes a closed journal of n events in several segments.
func filled(t testing.TB, o Options, n int) {
	t.Helper()
	j := open(t, o)
	for i := 0; i < n; i += 50 {
		var events []*protocol.Event
		for k := i; k < min(n, i+50); k++ {
			events = append(events, sale(fmt.Sprint("D", k+1)))
		}
		if _, errs := j.AppendAll(context.Background(), events); errors.Join(errs...) != nil {
			t.Fatal(errors.Join(errs...))
		}
	}
	if err := errors.Join(j.SetMerged(2, 100, 50, 1), j.Close()); err != nil {
		t.Fatal(err)
	}
}

// A reader that meets damage makes the journal set the file aside and salvage.
func TestDamageMetWhileReading(t *testing.T) {
	o := testOptions(t)
	j := open(t, o)
	for i := range 200 {
		mustAppend(t, j, sale(fmt.Sprint("D", i+1)))
	}
	before := j.State()
	b, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(o.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	// D77 in all its copies, live and stale.
	for at := 0; ; at++ {
		k := strings.Index(string(b[at:]), "\x05D77")
		if k < 0 {
			break
		}
		at += k
		if _, err := f.WriteAt([]byte{'!'}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	for at := 0; ; at++ {
		k := strings.Index(string(b[at:]), "D77")
		if k < 0 {
			break
		}
		at += k
		if _, err := f.WriteAt([]byte{'!'}, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
	_ = f.Close()
	err = j.Scan(1, func(uint64, int64, []byte) error { return nil })
	if !isCorrupt(err) {
		t.Fatalf("scan over a damaged record: %v", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for j.State().InstallID == before.InstallID || j.State().Phase != "running" {
		if time.Now().After(deadline) {
			t.Fatalf("no salvage: %+v", j.State())
		}
		time.Sleep(time.Millisecond)
	}
	docs := documents(t, j)
	for seq := uint64(1); seq <= 200; seq++ {
		want := fmt.Sprint("D", seq)
		if seq == 77 {
			want = ""
		}
		if docs[seq] != want {
			t.Fatalf("seq %d holds %q, want %q", seq, docs[seq], want)
		}
	}
	if r := mustAppend(t, j, sale("D78")); !r.Duplicate || r.Seq != 78 {
		t.Fatalf("duplicate after salvage: %+v", r)
	}
	if r := mustAppend(t, j, sale("D77")); r.Duplicate || r.Seq != 201 {
		t.Fatalf("the lost one again: %+v", r)
	}
	if c := j.State().Counters; c.LostRecords != 1 || c.SalvagedRecords != 199 {
		t.Fatalf("counters %+v", c)
	}
}

func TestUnreadableFiles(t *testing.T) {
	tests := []struct {
		name string
		make func(path string) error
	}{
		{"empty", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
		{"text", func(p string) error { return os.WriteFile(p, []byte("not a journal\n"), 0o600) }},
		{"zeros", func(p string) error { return os.WriteFile(p, make([]byte, 1<<16), 0o600) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			if err := tt.make(o.Path); err != nil {
				t.Fatal(err)
			}
			j := open(t, o)
			if st := j.State(); !strings.HasPrefix(st.BootReason, "salvaged: 0 records") {
				t.Fatalf("boot reason %q", st.BootReason)
			}
			if r := mustAppend(t, j, sale("A")); r.Seq != 1 {
				t.Fatalf("%+v", r)
			}
		})
	}
}

// A crash between setting the damaged file aside and putting the new one in
// place must not look like a fresh start.
func TestInterruptedSalvageGoesOn(t *testing.T) {
	o := testOptions(t)
	filled(t, o, 100)
	if err := os.Rename(o.Path, o.Path+".corrupt-1"); err != nil {
		t.Fatal(err)
	}
	st := open(t, o).State()
	if st.Head != 100 || !strings.HasPrefix(st.BootReason, "salvaged: 100") || st.Epoch != 2 || st.Merged != 100 {
		t.Fatalf("%+v", st)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	t.Parallel() // waits for the lock's time-out
	o := testOptions(t)
	j := open(t, o)
	mustAppend(t, j, sale("A"))
	if _, err := Open(o); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
	if st := j.State(); st.Head != 1 || st.Phase != "running" {
		t.Fatalf("the first was disturbed: %+v", st)
	}
}
