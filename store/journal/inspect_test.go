package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// The process that opened the file died there: the next one has the file checked
// by a child, and only where that says so it is set aside.
func TestUnfinishedOpenIsProvedByAChild(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents = 500
	filled(t, o, 2000)
	note := o.Path + ".opening"
	proofs := 0
	o.Prove = func(path string) error { proofs++; return prove(path) }
	reopen := func() State {
		t.Helper()
		j := open(t, o)
		defer func() { _ = j.Close() }()
		mustAppend(t, j, sale(fmt.Sprint("after", proofs)))
		if _, err := os.Lstat(note); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the note of an open that ended well: %v", err)
		}
		return j.State()
	}
	if st := reopen(); proofs != 0 || st.BootReason != "reopened" {
		t.Fatalf("%d proofs after a clean end, boot %q", proofs, st.BootReason)
	}
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if st := reopen(); proofs != 1 || st.BootReason != "reopened" {
		t.Fatalf("%d proofs after an open that died, boot %q", proofs, st.BootReason)
	}
	// bbolt dies over two references to one page, in a goroutine of its own.
	harmLiveBranch(t, o.Path, func(_ []byte, _ int, branch []byte) {
		copy(branch[pageHead+16+8:pageHead+32], branch[pageHead+8:pageHead+16])
	})
	if err := prove(o.Path); !isCorrupt(err) { // how it dies depends on which of its goroutines comes first
		t.Fatalf("the child over a damaged tree: %v", err)
	}
	// A proof that says no is believed, whatever the inspection saw.
	o.Path = filepath.Join(t.TempDir(), "journal.db")
	filled(t, o, 100)
	note = o.Path + ".opening"
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o.Prove = func(string) error { return &CorruptError{What: "file", Got: "a dead child", Want: "a sound one"} }
	if st := reopen(); !strings.HasPrefix(st.BootReason, "salvaged: 100 records kept, 0 lost") {
		t.Fatalf("boot %q", st.BootReason)
	}
}

// A commit that stumbles over damage which no check sees must not stumble for
// ever: the second time, the records move into a new file.
func TestRepeatedCommitDamageEndsInASalvage(t *testing.T) {
	o := testOptions(t)
	bad := 2
	o.hooks.fail = func(step string) error {
		if step == "put" && bad > 0 {
			bad--
			panic("page 7 already freed")
		}
		return nil
	}
	bad = 0
	j := open(t, o)
	mustAppend(t, j, sale("A"))
	install := j.State().InstallID
	if err := j.do(func() error { bad = 2; return nil }); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for range 2 {
		if _, err := j.Append(context.Background(), sale("B")); !errors.Is(err, ErrRecovering) {
			t.Fatalf("append over damage: %v", err)
		}
		waitPhase(t, j, "running")
	}
	r := mustAppend(t, j, sale("B"))
	if r.Seq != 2 || r.Duplicate || j.State().InstallID == install || !strings.HasPrefix(j.State().BootReason, "salvaged: 1 records kept") {
		t.Fatalf("%+v %+v", r, j.State())
	}
	t.Logf("writes again after %v", time.Since(start))
}

// Beside an agent that writes without a pause, trims and merges its index, an
// inspection verifies every record that stood when it began, and cries no wolf.
func TestInspectBesideAWriter(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents, o.Retention = 400, time.Nanosecond
	j := open(t, o)
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- busy(j, stop) }()
	deadline := time.Now().Add(20 * time.Second)
	rounds, records := 0, uint64(0)
	for ; time.Now().Before(deadline) && (rounds < 50 || j.State().Tail == 1); rounds++ {
		before := j.State()
		last := uint64(0)
		r, err := Inspect(context.Background(), o.Path, 0, func(seq uint64, _ int64, rec []byte, _, _ protocol.Chain) error {
			if last != 0 && seq <= last {
				return fmt.Errorf("seq %d after %d", seq, last)
			}
			last = seq
			var e protocol.Event
			_, err := protocol.DecodeRecord(rec, &e)
			return err
		})
		if err != nil || r.Damage != nil || !r.InUse || r.Head < before.Head {
			t.Fatalf("round %d: %v, %+v", rounds, err, r)
		}
		records += r.Records
	}
	close(stop)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	t.Logf("%d inspections of %d records beside %d appends, tail %d", rounds, records, j.State().Head, j.State().Tail)
	if j.State().Tail == 1 {
		t.Error("nothing was trimmed meanwhile")
	}
}

// busy appends, merges and trims until it is told to stop.
func busy(j *Journal, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		var events []*protocol.Event
		for k := range 1 + i%40 {
			events = append(events, sale(fmt.Sprint("D", i, "-", k)))
		}
		if _, errs := j.AppendAll(context.Background(), events); errors.Join(errs...) != nil {
			return errors.Join(errs...)
		}
		if head := j.State().Head; i%20 == 19 && head > 100 {
			if err := j.SetMerged(1, head-100, head-100, 1); err != nil {
				return err
			}
			if _, err := j.Trim(time.Now().Add(time.Hour)); err != nil {
				return err
			}
		}
	}
}

func TestInspectFrom(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents = 300
	filled(t, o, 1000)
	whole, err := Inspect(context.Background(), o.Path, 0, nil)
	if err != nil || whole.Records != 1000 || whole.IndexedIDs == 0 {
		t.Fatalf("%+v %v", whole, err)
	}
	for _, from := range []uint64{1, 2, 300, 301, 302, 999, 1000, 1001, 5000} {
		first := uint64(0)
		r, err := Inspect(context.Background(), o.Path, from, func(seq uint64, _ int64, _ []byte, _, _ protocol.Chain) error {
			if first == 0 {
				first = seq
			}
			return nil
		})
		want := uint64(1001) - min(from, 1001)
		if err != nil || r.Damage != nil || r.Records != want || (want > 0 && first != from) || r.ChainHead != whole.ChainHead {
			t.Errorf("from %d: first %d, %v, %+v", from, first, err, r)
		}
	}
	stop := errors.New("enough")
	if _, err := Inspect(context.Background(), o.Path, 0, func(uint64, int64, []byte, protocol.Chain, protocol.Chain) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("the caller's error: %v", err)
	}
	empty := testOptions(t)
	if err := open(t, empty).Close(); err != nil {
		t.Fatal(err)
	}
	if r, err := Inspect(context.Background(), empty.Path, 0, nil); err != nil || r.Damage != nil || r.Records != 0 || r.Tail != 1 || r.Head != 0 {
		t.Errorf("a fresh journal: %+v %v", r, err)
	}
	if err := CheckFile(o.Path); err != nil {
		t.Error(err)
	}
}

// A file of a former version notes no ends of segments; they are read all the same.
func TestSegmentsWithoutNotedEnds(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents = 300
	filled(t, o, 700)
	db, err := bolt.Open(o.Path, 0o600, boltOptions())
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, s := range segmentsOf(tx) {
			if err := tx.Bucket(s.name()).SetSequence(0); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	j := open(t, o)
	if r := mustAppend(t, j, sale("new")); r.Seq != 701 || j.State().BootReason != "reopened" {
		t.Fatalf("%+v %s", r, j.State().BootReason)
	}
}

// How long a salvage keeps the tills waiting, and how long a restart: sizes by
// TILLWIRE_SALVAGE_EVENTS, 1,000,000 for the published figure.
func TestSalvageOfManyEventsIsQuick(t *testing.T) {
	n := env(t, "TILLWIRE_SALVAGE_EVENTS", 20_000)
	if testing.Short() {
		n = 5_000
	}
	o := testOptions(t)
	filled(t, o, n)
	start := time.Now()
	if st := open(t, o); st.State().Head != uint64(n) {
		t.Fatal(st.State().Head)
	} else {
		t.Logf("%d events ready after %v", n, time.Since(start))
		_ = st.Close()
	}
	harmLiveBranch(t, o.Path, func(_ []byte, _ int, branch []byte) {
		copy(branch[pageHead+16+8:pageHead+32], branch[pageHead+8:pageHead+16])
	})
	start = time.Now()
	r, err := Inspect(context.Background(), o.Path, 0, nil)
	if err != nil || r.Damage == nil || r.Readable != uint64(n) {
		t.Fatalf("%+v %v", r, err)
	}
	t.Logf("inspected in %v", time.Since(start))
	start = time.Now()
	j := open(t, o)
	mustAppend(t, j, sale("after"))
	took := time.Since(start)
	if st := j.State(); st.Head != uint64(n)+1 || st.Counters.LostRecords != 0 {
		t.Fatalf("%+v", st)
	}
	t.Logf("%d events salvaged and a till's write on disk after %v", n, took)
	if took > 20*time.Second {
		t.Errorf("the tills waited %v", took)
	}
}
