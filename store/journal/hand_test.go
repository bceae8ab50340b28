package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// TestHandWritesWhatAJournalWrites does the same to a journal worked by hand and to
// one over a real file, through failed commits and restarts, and compares receipts,
// states and the bytes of every record.
func TestHandWritesWhatAJournalWrites(t *testing.T) {
	t.Parallel()
	clock := time.UnixMicro(1_795_000_000_000_000)
	fail := &failOnce{}
	o := Options{
		Path: filepath.Join(t.TempDir(), "journal.db"), BallastBytes: -1, SegmentEvents: 16, Now: func() time.Time { return clock },
		Retention: time.Hour, DiskFree: func() (uint64, uint64, error) { return 50, 100, nil }, hooks: hooks{fail: fail.fail},
	}
	j, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = j.Close() }()
	disk := NewImage(j.State().InstallID, clock.UnixMicro())
	h, err := OpenHand(&disk, 16, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that repeats
	for step := range 300 {
		clock = clock.Add(time.Duration(r.IntN(90_000)-1000) * time.Millisecond)
		switch r.IntN(12) {
		case 0:
			head := j.State().Head
			merged := max(j.State().Merged, head-min(head, uint64(r.IntN(5))))
			if a, b := j.SetMerged(1, merged, merged, 1), h.SetMerged(1, merged, merged, 1); a != nil || b != nil {
				t.Fatalf("step %d: set merged: %v, %v", step, a, b)
			}
		case 1:
			n, err := j.Trim(clock)
			if err != nil {
				t.Fatal(err)
			}
			if got := trimHand(h, &disk, clock.Add(-time.Hour).UnixMicro()); got != n {
				t.Fatalf("step %d: trimmed %d by hand, %d in the file", step, got, n)
			}
		case 2:
			fail.arm("committed", 1, errDisk) // it shows, and is reported failed
			e := sale(fmt.Sprint("F", step))
			_, err := j.Append(context.Background(), e)
			if got := failHand(t, h, &disk, clock, e); !errors.Is(err, ErrRecovering) || !errors.Is(got, ErrRecovering) {
				t.Fatalf("step %d: failed commits: %v in the file, %v by hand", step, err, got)
			}
		case 3:
			if c, _, err := h.Begin(clock.UnixMicro(), nil); c != nil && err == nil {
				disk = c.Image // a clean stop writes its marks
				c.Done()
			}
			if h, err = OpenHand(&disk, 16, "reopened"); err != nil {
				t.Fatal(err)
			}
		default:
			events := []*protocol.Event{sale(fmt.Sprint("D", r.IntN(200))), countAt(clock.Add(-time.Duration(r.IntN(600)) * time.Second))}
			sameOutcomes(t, step, j, h, &disk, clock, events)
		}
		sameState(t, step, j, h)
	}
	sameBytes(t, j, &disk)
}

// countAt is a count that was taken earlier.
func countAt(at time.Time) *protocol.Event {
	e := sale(fmt.Sprint("C", at.UnixMicro()))
	e.Kind, e.Scope = protocol.KindCount, protocol.ScopeSKU
	e.ID = protocol.MakeEventID(e.Store, e.Kind, e.DocumentID)
	e.Lines[0].CountedAt = protocol.StampOf(at)
	return e
}

func sameOutcomes(t *testing.T, step int, j *Journal, h *Hand, disk *Image, clock time.Time, events []*protocol.Event) {
	t.Helper()
	want, errs := j.AppendAll(context.Background(), events)
	c, got, err := h.Begin(clock.UnixMicro(), events)
	if err != nil {
		t.Fatal(err)
	}
	if c != nil {
		*disk = c.Image
		got = c.Done()
	}
	for i := range events {
		if got[i].Receipt != want[i] || (got[i].Err == nil) != (errs[i] == nil) {
			t.Fatalf("step %d: event %d: by hand %+v %v, in the file %+v %v", step, i, got[i].Receipt, got[i].Err, want[i], errs[i])
		}
	}
}

// failHand has a commit show though its sync failed.
func failHand(t *testing.T, h *Hand, disk *Image, clock time.Time, e *protocol.Event) error {
	t.Helper()
	c, _, err := h.Begin(clock.UnixMicro(), []*protocol.Event{e})
	if err != nil {
		t.Fatal(err)
	}
	*disk = c.Image
	needs, told := h.Failed(false, false)
	if len(needs) != 1 || needs[0] != NeedReopen || h.Phase() != "recovering" {
		t.Fatalf("after a failed commit %v is needed in phase %s", needs, h.Phase())
	}
	if _, _, _, err := h.Read(1, 1, 1, nil); !errors.Is(err, ErrRecovering) {
		t.Fatalf("a recovering journal is read: %v", err)
	}
	if needs := h.Reopened(nil, errDisk); len(needs) != 1 || needs[0] != NeedRetry || h.Retry() == 0 {
		t.Fatalf("after a failed reopen %v is needed", needs)
	}
	heal, err := h.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	*disk = heal.Image
	if needs := h.Reopened(heal, nil); len(needs) != 0 || h.Phase() != "running" {
		t.Fatalf("after the reopen %v is needed in phase %s", needs, h.Phase())
	}
	return told
}

func trimHand(h *Hand, disk *Image, beforeUS int64) (n uint64) {
	for {
		c, ok := h.TrimImage(beforeUS)
		if !ok {
			return n
		}
		n += c.Image.First - disk.First
		*disk = c.Image
		c.Trimmed()
	}
}

func sameState(t *testing.T, step int, j *Journal, h *Hand) {
	t.Helper()
	want, got := j.State(), h.State()
	want.BootReason, want.FileBytes, want.FsyncP99US, want.DiskFree, want.DiskTotal = got.BootReason, 0, 0, 0, 0
	want.LastPOS, want.Registers, want.Counters, want.LastError = 0, nil, Counters{}, ""
	if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", got) {
		t.Fatalf("step %d:\n by hand %+v\n in the file %+v", step, got, want)
	}
	for seq := want.Tail - 1; seq <= want.Head; seq += 7 {
		a, errA := j.ChainAt(seq)
		b, errB := h.ChainAt(seq)
		if a != b || errA != nil || errB != nil {
			t.Fatalf("step %d: chain at %d: %s %v in the file, %s %v by hand", step, seq, a, errA, b, errB)
		}
	}
}

func sameBytes(t *testing.T, j *Journal, disk *Image) {
	t.Helper()
	seen := 0
	err := j.view(func(tx *bolt.Tx, segs []segment) error {
		return eachRow(tx, segs, segs[0].first, j.State().Head, func(seq uint64, v []byte) (bool, error) {
			if seen++; !bytes.Equal(v, disk.Values[seq-disk.First]) {
				return false, fmt.Errorf("the values of seq %d differ", seq)
			}
			return true, nil
		})
	})
	if err != nil || seen != len(disk.Values) || seen < 16 {
		t.Fatalf("%d values in the file, %d by hand: %v", seen, len(disk.Values), err)
	}
	if j.State().Tail == 1 {
		t.Fatal("nothing was ever trimmed")
	}
}

// TestHandSalvages flips a bit in each record in turn: what is sound is kept under
// its seq, and what is not is named.
func TestHandSalvages(t *testing.T) {
	disk := NewImage("i1", 1)
	h, err := OpenHand(&disk, 4, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	for n := range 10 {
		c, _, err := h.Begin(int64(n+1)*1_000_000, []*protocol.Event{sale(fmt.Sprint("D", n))})
		if err != nil {
			t.Fatal(err)
		}
		disk = c.Image
		c.Done()
	}
	h.SetLease(3)
	if !h.Dirty() {
		t.Fatal("a lease is not to be written")
	}
	for bad := range disk.Values {
		damaged := disk
		damaged.Values = append([][]byte(nil), disk.Values...)
		damaged.Values[bad] = append([]byte(nil), disk.Values[bad]...)
		damaged.Values[bad][len(damaged.Values[bad])-2] ^= 4
		var corrupt *CorruptError
		if _, err := OpenHand(&damaged, 4, ""); !errors.As(err, &corrupt) {
			t.Fatalf("a damaged seq %d is opened: %v", bad+1, err)
		}
		img, lost := Salvage(damaged, "i2", 5)
		if len(lost) != 1 || lost[0] != uint64(bad+1) {
			t.Fatalf("seq %d is damaged, lost are %v", bad+1, lost)
		}
		again, err := OpenHand(&img, 4, "salvaged")
		if err != nil || again.State().InstallID != "i2" {
			t.Fatalf("what was salvaged of seq %d cannot be opened: %v", bad+1, err)
		}
		c, got, err := again.Begin(20_000_000, []*protocol.Event{sale(fmt.Sprint("D", (bad+1)%10))})
		if err != nil || c != nil && len(c.rows) > 0 || c == nil && !got[0].Receipt.Duplicate {
			t.Fatalf("a kept event is not known after salvaging seq %d: %v %v", bad+1, got, err)
		}
	}
}

// TestHandMachine walks the needs of a full and a damaged disk.
func TestHandMachine(t *testing.T) {
	disk := NewImage("i1", 1)
	h, err := OpenHand(&disk, 4, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	h.Ballast(true)
	if needs := h.Disk(2, 100); len(needs) != 2 || needs[0] != NeedFreeBallast || needs[1] != NeedTrim || h.Phase() != "full" {
		t.Fatalf("a full disk needs %v in phase %s", needs, h.Phase())
	}
	h.Ballast(false)
	if _, _, err := h.Begin(1, []*protocol.Event{sale("D1")}); !errors.Is(err, ErrFull) {
		t.Fatalf("a full journal takes an event: %v", err)
	}
	if needs := h.Disk(50, 100); len(needs) != 1 || needs[0] != NeedLayBallast || h.Phase() != "running" {
		t.Fatalf("a disk with room needs %v in phase %s", needs, h.Phase())
	}
	if needs := h.Suspect(); len(needs) != 1 || needs[0] != NeedReopen || h.Suspect() != nil {
		t.Fatalf("a suspect file needs %v", needs)
	}
	if needs := h.Reopened(nil, &CorruptError{What: "a test"}); len(needs) != 1 || needs[0] != NeedQuarantine {
		t.Fatalf("a corrupt file needs %v", needs)
	}
	if merged, safe := h.Written(); merged != 0 || safe != 0 {
		t.Fatalf("marks are %d %d", merged, safe)
	}
}
