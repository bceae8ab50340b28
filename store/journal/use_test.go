package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tillwire/protocol"
)

// 64 writers race with the same documents: each document stands once, all are
// told the same seq, and exactly one of them that it was new.
func TestParallelDuplicates(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents = 50
	j := open(t, o)
	const writers, docs = 64, 120
	var mu sync.Mutex
	seqs, fresh := map[string]map[uint64]bool{}, map[string]int{}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range docs {
				doc := fmt.Sprint("D", (i+w*7)%docs)
				e := sale(doc)
				if w%16 == 15 {
					e.Lines[0].Quantity = 1
				}
				r, err := j.Append(context.Background(), e)
				var reused *IDReusedError
				mu.Lock()
				switch {
				case errors.As(err, &reused):
					r.Seq, r.Duplicate = reused.Seq, true
				case err != nil:
					t.Errorf("append %s: %v", doc, err)
				}
				if seqs[doc] == nil {
					seqs[doc] = map[uint64]bool{}
				}
				seqs[doc][r.Seq] = true
				if !r.Duplicate {
					fresh[doc]++
				}
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	for doc, at := range seqs {
		if len(at) != 1 || fresh[doc] != 1 {
			t.Errorf("%s: seqs %v, new %d times", doc, at, fresh[doc])
		}
	}
	if st := j.State(); st.Head != docs || st.Counters.Appended != docs {
		t.Errorf("head %d, appended %d, want %d", st.Head, st.Counters.Appended, docs)
	}
}

func TestTrimAndBounds(t *testing.T) {
	clock := time.UnixMicro(1_795_000_000_000_000)
	o := testOptions(t)
	o.SegmentEvents, o.Now = 100, func() time.Time { return clock }
	filled(t, o, 350) // merged 100, safe 50
	j := open(t, o)
	trim := func(want uint64) {
		t.Helper()
		if n, err := j.Trim(clock); err != nil || n != want {
			t.Fatalf("trimmed %d, %v, want %d", n, err, want)
		}
	}
	trim(0)
	if err := j.SetMerged(2, 350, 350, 1); err != nil {
		t.Fatal(err)
	}
	trim(0) // too young
	clock = clock.Add(36 * 24 * time.Hour)
	before, err := j.ChainAt(300)
	if err != nil {
		t.Fatal(err)
	}
	trim(300) // never the newest segment
	st := j.State()
	if st.Tail != 301 || st.ChainTail != before || st.BacklogEvents != 0 || st.Counters.TrimmedEvents != 300 {
		t.Fatalf("%+v", st)
	}
	for _, seq := range []uint64{1, 299} {
		if _, err := j.ChainAt(seq); !errors.Is(err, ErrTrimmed) {
			t.Errorf("chain at %d: %v", seq, err)
		}
	}
	if _, _, _, err := j.Read(300, 1, 1, nil); !errors.Is(err, ErrTrimmed) {
		t.Errorf("read a trimmed record: %v", err)
	}
	if _, err := j.ChainAt(351); !errors.Is(err, ErrBeyondHead) {
		t.Errorf("chain beyond the head: %v", err)
	}
	records, prev, last, err := j.Read(351, 10, 1000, nil)
	if err != nil || len(records) != 0 || prev != st.ChainHead || last != st.ChainHead {
		t.Errorf("read at the head: %d records, %v", len(records), err)
	}
	// Ids are remembered as long as their records.
	if r := mustAppend(t, j, sale("D301")); !r.Duplicate || r.Seq != 301 {
		t.Errorf("retained id: %+v", r)
	}
	if r := mustAppend(t, j, sale("D300")); r.Duplicate || r.Seq != 351 {
		t.Errorf("trimmed id: %+v", r)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	o.VerifyAll = true
	if st := open(t, o).State(); st.Tail != 301 || st.Head != 351 || st.ChainTail != before || st.Safe != 350 {
		t.Errorf("after reopen: %+v", st)
	}
}

func TestReadIsBounded(t *testing.T) {
	o := testOptions(t)
	filled(t, o, 200)
	j := open(t, o)
	one, _, chain, err := j.Read(1, 1, 1<<20, nil)
	if err != nil || len(one) != 1 {
		t.Fatal(err)
	}
	size := len(one[0])
	records, prev, _, err := j.Read(2, 100, 3*size+10, one)
	if err != nil || len(records) != 3 || prev != chain {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if records, _, _, err = j.Read(2, 100, 1, records); err != nil || len(records) != 1 {
		t.Fatalf("a record larger than the bound: %d records, %v", len(records), err)
	}
	if allocs := testing.AllocsPerRun(20, func() { records, _, _, err = j.Read(1, 100, 1<<20, records) }); err != nil || allocs > 150 { // one per record is the hash's
		t.Errorf("%v allocations for 100 records in used memory, %v", allocs, err)
	}
}

func TestStateTells(t *testing.T) {
	clock := time.UnixMicro(1_795_000_000_000_000)
	o := testOptions(t)
	o.Now = func() time.Time { return clock }
	j := open(t, o)
	if st := j.State(); st.BootReason != "fresh" || st.Tail != 1 || st.Head != 0 || st.Epoch != 0 || len(st.InstallID) != 32 {
		t.Fatalf("fresh: %+v", st)
	}
	for i, register := range []string{"R1", "R2", "", "R1"} {
		e := sale(fmt.Sprint(i))
		e.Register = register
		clock = clock.Add(time.Second)
		mustAppend(t, j, e)
	}
	select {
	case <-j.Appended():
	default:
		t.Error("appends were not signalled")
	}
	start := clock.UnixMicro()
	want := []protocol.RegisterSeen{{Register: "R1", LastUS: start}, {Register: "R2", LastUS: start - 2_000_000}}
	j.SetLease(9)
	if err := j.SetMerged(3, 2, 1, 4); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		st := j.State()
		if diff := cmp.Diff(want, st.Registers); diff != "" {
			t.Error(diff)
		}
		if st.LastPOS != start || st.Epoch != 3 || st.Lease != 9 || st.Generation != 4 || st.Merged != 2 || st.Safe != 1 ||
			st.BacklogEvents != 2 || st.OldestUnackedUS != start-1_000_000 || st.FileBytes == 0 || st.DiskTotal != 100 {
			t.Errorf("%+v", st)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		j = open(t, o)
	}
	if err := j.SetMerged(3, 1, 1, 4); err == nil {
		t.Error("merged went back within an epoch")
	}
	if info, err := os.Stat(o.Path); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("mode of the file: %v %v", info.Mode(), err)
	}
}

func TestMarksReachTheDiskByThemselves(t *testing.T) {
	o := testOptions(t)
	j := open(t, o)
	mustAppend(t, j, sale("A"))
	if err := j.SetMerged(1, 1, 1, 1); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(5 * time.Second)
	for stored := uint64(0); stored != 1; time.Sleep(10 * time.Millisecond) {
		if err := j.do(func() error { stored = j.c.written.Merged; return nil }); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("marks were not written while idle")
		}
	}
}

func TestCountsAreCutByTheJournal(t *testing.T) {
	clock := time.UnixMicro(1_795_000_000_000_000)
	o := testOptions(t)
	o.SegmentEvents, o.Now = 4, func() time.Time { return clock }
	j := open(t, o)
	var at []int64
	for i := range 10 {
		clock = clock.Add(time.Second)
		at = append(at, mustAppend(t, j, sale(fmt.Sprint(i))).RecordUS)
	}
	c := count("C", at[3], at[3]-1, at[0]-1, at[9]+int64(time.Hour/time.Microsecond), at[7]+5)
	r := mustAppend(t, j, c)
	if again := mustAppend(t, j, c); !again.Duplicate || again.Seq != r.Seq {
		t.Errorf("the same count again: %+v", again)
	}
	records, _, _, err := j.Read(r.Seq, 1, 1<<20, nil)
	if err != nil {
		t.Fatal(err)
	}
	var e protocol.Event
	if _, err := protocol.DecodeRecord(records[0], &e); err != nil {
		t.Fatal(err)
	}
	var cuts []uint64
	for _, l := range e.Lines {
		cuts = append(cuts, l.Cut)
	}
	if diff := cmp.Diff([]uint64{4, 3, 0, 10, 8}, cuts); diff != "" {
		t.Error(diff)
	}
}

func TestQueueIsBounded(t *testing.T) {
	o := testOptions(t)
	o.QueueMax = 2
	j := open(t, o)
	hold, held := make(chan struct{}), make(chan struct{})
	go func() { _ = j.do(func() error { close(held); <-hold; return nil }) }()
	<-held
	results := make(chan error, 5)
	for i := range 5 {
		go func() {
			_, err := j.Append(context.Background(), sale(fmt.Sprint(i)))
			results <- err
		}()
	}
	for range 3 { // two wait, three are refused at once
		if err := <-results; !errors.Is(err, ErrQueueFull) {
			t.Errorf("beyond the queue: %v", err)
		}
	}
	close(hold)
	for range 2 {
		if err := <-results; err != nil {
			t.Errorf("waiting: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := j.Append(ctx, sale("late")); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestClosedRefuses(t *testing.T) {
	j := open(t, testOptions(t))
	mustAppend(t, j, sale("A"))
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append(context.Background(), sale("B")); !errors.Is(err, ErrClosed) {
		t.Errorf("append: %v", err)
	}
	if _, _, _, err := j.Read(1, 1, 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("read: %v", err)
	}
	if _, err := j.Trim(time.Now()); !errors.Is(err, ErrClosed) {
		t.Errorf("trim: %v", err)
	}
	if st := j.State(); st.Head != 1 || st.Phase != "closed" {
		t.Errorf("%+v", st)
	}
}

// A journal of 200,000 events is ready soon after a restart: only what stands
// behind the last checkpoint is read.
func TestReopenOfManyEventsIsFast(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("writes 200,000 events")
	}
	o := testOptions(t)
	j := open(t, o)
	const n = 200_000
	events := make([]*protocol.Event, 1000)
	for i := 0; i < n; i += len(events) {
		for k := range events {
			events[k] = sale(fmt.Sprint("D", i+k))
		}
		if _, errs := j.AppendAll(context.Background(), events); errors.Join(errs...) != nil {
			t.Fatal(errors.Join(errs...))
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	j = open(t, o)
	took := time.Since(start)
	r := mustAppend(t, j, sale("D77777"))
	if !r.Duplicate || r.Seq != 77778 || j.State().Head != n {
		t.Fatalf("%+v", r)
	}
	t.Logf("ready after %v with %d events, %d MiB", took, n, j.State().FileBytes>>20)
	if took > 5*time.Second {
		t.Errorf("reopen took %v", took)
	}
}
