package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	bolt "go.etcd.io/bbolt"

	"tillwire/protocol"
)

// sameSetBack compares all that is known of set-backs.
var sameSetBack = cmp.Options{cmp.AllowUnexported(setBack{}), cmpopts.EquateEmpty()}

func setBackOf(t interface{ Fatal(...any) }, j *Journal) (s setBack) {
	if err := j.do(func() error { s = j.c.setBack; return nil }); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSetBackOutlivesRestarts goes through thousands of commits under a clock that is set
// back now and then: one account goes on, one is read from what was written all the time.
// What they know, and so each cut, stays the same.
func TestSetBackOutlivesRestarts(t *testing.T) {
	longest, times := 0, 0
	for seed := range uint64(2) {
		r := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a test that repeats
		now, head := int64(1_795_000_000_000_000), tip{seq: 1, us: 1_795_000_000_000_000}
		file := map[string][]byte{}
		var on, read setBack
		for step := range 7000 {
			now += r.Int64N(400_000)
			switch {
			case step == 10, r.IntN(250) == 0:
				now -= r.Int64N(20 * 3_600_000_000) // often before the clock is past the last time
			case step > 5500 && r.IntN(1000) == 0:
				now += 40 * 3_600_000_000
			}
			var rows []planned
			for range 1 + r.IntN(3) {
				after := tip{seq: head.seq + 1, us: max(now, head.us+1)}
				rows, head = append(rows, planned{before: head, after: after}), after
			}
			next, ok := on.took(now, 0, rows)
			again, ok2 := read.took(now, 0, rows)
			if ok != ok2 {
				t.Fatalf("seed %d, step %d: one account grows, %v and %v", seed, step, ok, ok2)
			}
			if ok {
				err := again.write(&read, func(k []byte, v any) (err error) { file[string(k)], err = encodeMeta(v); return err })
				if err != nil {
					t.Fatal(err)
				}
			}
			if on, read = next, again; r.IntN(90) != 0 {
				continue
			}
			var err error
			if read, err = readSetBack(head.seq, func(k []byte) []byte { return file[string(k)] }); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(on.seqs, read.seqs) || !slices.Equal(on.fast, read.fast) || !slices.Equal(on.spans, read.spans) || on.byUS != read.byUS || on.wasUS != read.wasUS {
				t.Fatalf("seed %d, step %d: with (+) and without (-) restarts:\n%s", seed, step, cmp.Diff(on, read, sameSetBack))
			}
			longest, times = max(longest, len(on.seqs)), max(times, len(on.spans))
		}
		if len(file) > 1+setBackMax/setBackPart {
			t.Errorf("%d values in the file", len(file))
		}
	}
	if times != setBackSpans || longest < setBackMax-100 {
		t.Errorf("the clock was set back %d times, %d commits behind it at most", times, longest)
	}
}

// TestSetBackByHand does the same to two journals, of which one is restarted all the time,
// and compares what they write: counts with their cuts.
func TestSetBackByHand(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 7)) //nolint:gosec // a test that repeats
	now := int64(1_795_000_000_000_000)
	disks := []Image{NewImage("i1", now), NewImage("i1", now)}
	var hands [2]*Hand
	cuts := map[uint64]bool{}
	for step := range 600 {
		if now += r.Int64N(400_000); r.IntN(60) == 0 {
			now -= r.Int64N(600_000_000)
		}
		events := []*protocol.Event{sale(fmt.Sprint("D", step))}
		if r.IntN(4) == 0 {
			events = append(events, countAt(time.UnixMicro(now-r.Int64N(60_000_000))))
		}
		for i := range hands {
			var err error
			if step == 0 || i == 1 && r.IntN(3) == 0 {
				hands[i], err = OpenHand(&disks[i], 100_000, "reopened")
			}
			if err != nil {
				t.Fatal(err)
			}
			c, _, err := hands[i].Begin(now, events)
			if err != nil {
				t.Fatal(err)
			}
			disks[i] = c.Image
			for _, row := range c.rows {
				if row.item.count != nil {
					cuts[row.after.seq-row.item.count.Lines[0].Cut] = true
				}
			}
			c.Done()
		}
		if hands[0].head != hands[1].head { // the chain is over each cut
			t.Fatalf("step %d: a count is cut otherwise after a restart", step)
		}
	}
	if len(cuts) < 20 {
		t.Errorf("counts were cut in %d ways", len(cuts))
	}
}

// behind is a journal whose clock was ten hours fast, with n sales behind the moment when
// it was set right, a minute apart.
func behind(t *testing.T, o *Options, now *int64, n int) *Journal {
	t.Helper()
	*now = 1_795_000_000_000_000
	o.Now = func() time.Time { return time.UnixMicro(*now) }
	j := open(t, *o)
	mustAppend(t, j, sale("fast"))
	*now -= 10 * 3_600_000_000
	for i := range n {
		mustAppend(t, j, sale(fmt.Sprint("B", i)))
		*now += 60_000_000
	}
	return j
}

// cutOf journals a count that was taken at a moment, and tells where it is cut.
func cutOf(t *testing.T, j *Journal, us int64) (cut uint64) {
	t.Helper()
	at := mustAppend(t, j, countAt(time.UnixMicro(us))).Seq
	err := j.Scan(at, func(seq uint64, _ int64, rec []byte) error {
		var e protocol.Event
		_, err := protocol.DecodeRecord(rec, &e)
		if seq == at {
			cut = e.Lines[0].Cut
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return cut
}

// TestSetBackMeetsABrokenDisk: the commit that notices it fails in each of its steps.
func TestSetBackMeetsABrokenDisk(t *testing.T) {
	t.Parallel() // waits for retries
	for _, step := range []string{"put", "setback", "commit", "committed"} {
		t.Run(step, func(t *testing.T) {
			fail := &failOnce{}
			o := testOptions(t)
			o.hooks.fail = fail.fail
			var now int64
			j := behind(t, &o, &now, 0)
			fail.arm(step, 1, errDisk)
			if _, err := j.Append(context.Background(), sale("B0")); !errors.Is(err, ErrRecovering) {
				t.Fatalf("append while %q fails: %v", step, err)
			}
			waitPhase(t, j, "running")
			if shows := step == "committed"; j.Twice(now) != shows {
				t.Errorf("after the failed commit the moment was gone through twice: %v, want %v", !shows, shows)
			}
			back := now
			mustAppend(t, j, sale("B0"))
			now += 60_000_000
			mustAppend(t, j, sale("B1"))
			before := setBackOf(t, j)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			now += 60_000_000
			o.VerifyAll = true
			j = open(t, o)
			if diff := cmp.Diff(before, setBackOf(t, j), sameSetBack); diff != "" || !j.Twice(back) || len(before.seqs) != 2 {
				t.Errorf("before (-) and after (+) a restart:\n%s", diff)
			}
			if cut := cutOf(t, j, back+30_000_000); cut != 2 {
				t.Errorf("between B0 and B1 the cut is %d, want 2", cut)
			}
		})
	}
}

// TestSetBackInOtherBuildsFiles: a file of a build that did not write it opens, and what
// later builds may add to the meta bucket is left alone. A journal whose clock was never
// set back is written as by such a build.
func TestSetBackInOtherBuildsFiles(t *testing.T) {
	o := testOptions(t)
	var now int64
	mustClose(t, behind(t, &o, &now, 0))
	if got, want := metaKeys(t, o.Path, nil), []string{"checkpoint", "identity", "marks"}; !slices.Equal(got, want) {
		t.Errorf("a journal whose clock was not set back has %q, want %q", got, want)
	}
	j := open(t, o)
	back := now
	for i := range 3 {
		mustAppend(t, j, sale(fmt.Sprint("B", i)))
		now += 60_000_000
	}
	mustClose(t, j)
	got := metaKeys(t, o.Path, func(b *bolt.Bucket) error {
		return errors.Join(b.Delete(keySetBack), b.Delete(keySetBackRow(0)), b.Put([]byte("of a later build"), []byte("x")))
	})
	if want := []string{"checkpoint", "identity", "marks", "setback", "setback-00"}; !slices.Equal(got, want) {
		t.Errorf("behind a set-back there is %q, want %q", got, want)
	}
	j = open(t, o)
	if j.Twice(back) || j.State().BootReason != "reopened" {
		t.Errorf("a file of an earlier build: %s, %+v", j.State().BootReason, setBackOf(t, j))
	}
	if cut := cutOf(t, j, back+30_000_000); cut != 0 { // by how far record times are ahead now, three minutes later
		t.Errorf("the cut is %d", cut)
	}
	if !j.Twice(now) {
		t.Error("it begins no new account")
	}
	mustClose(t, j)
	if got := metaKeys(t, o.Path, nil); !slices.Contains(got, "of a later build") {
		t.Errorf("what is not known was not left alone: %q", got)
	}
}

// metaKeys lists what the meta bucket holds; then change is done to it.
func metaKeys(t *testing.T, path string, change func(*bolt.Bucket) error) []string {
	t.Helper()
	keys := map[string]bool{}
	db, err := bolt.Open(path, 0o600, boltOptions())
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketMeta)
		err := b.ForEach(func(k, _ []byte) error { keys[string(k)] = true; return nil })
		if change != nil {
			err = errors.Join(err, change(b))
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(keys))
}

func mustClose(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSetBackIsSalvaged: a damaged record costs nothing of it, in a file or by hand; a
// journal that lost its end claims no seq beyond it.
func TestSetBackIsSalvaged(t *testing.T) {
	o := testOptions(t)
	var now int64
	j := behind(t, &o, &now, 200)
	back := now - 200*60_000_000
	before := setBackOf(t, j)
	mustClose(t, j)
	b, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b { // B77 in all its copies
		if string(b[i:min(i+3, len(b))]) == "B77" {
			b[i] = '!'
		}
	}
	if err := os.WriteFile(o.Path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	o.VerifyAll = true
	j = open(t, o)
	st := j.State()
	if diff := cmp.Diff(before, setBackOf(t, j), sameSetBack); diff != "" || st.Counters.LostRecords != 1 || !j.Twice(back) {
		t.Errorf("%s; before (-) and after (+):\n%s", st.BootReason, diff)
	}
	if cut := cutOf(t, j, back+100*60_000_000+1); cut != 102 {
		t.Errorf("after B100 the cut is %d, want 102", cut)
	}
	err = j.view(func(tx *bolt.Tx, _ []segment) error {
		s, err := readSetBack(150, tx.Bucket(bucketMeta).Get)
		if len(s.seqs) != 0 || s.first%setBackPart != 0 || s.first < 201 || len(s.spans) != 1 {
			t.Errorf("beyond the head: %+v", s)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	disk := NewImage("i1", 1)
	h, err := OpenHand(&disk, 4, "fresh")
	if err != nil {
		t.Fatal(err)
	}
	for i, us := range []int64{9_000_000_000, 1_000_000_000, 1_060_000_000} {
		c, _, err := h.Begin(us, []*protocol.Event{sale(fmt.Sprint("D", i))})
		if err != nil {
			t.Fatal(err)
		}
		disk = c.Image
		c.Done()
	}
	img, _ := Salvage(disk, "i2", 5)
	again, err := OpenHand(&img, 4, "salvaged")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(h.setBack, again.setBack, sameSetBack); diff != "" || len(h.setBack.seqs) != 2 {
		t.Errorf("by hand: before (-) and after (+):\n%s", diff)
	}
}
