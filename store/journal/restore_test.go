package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tillwire/protocol"
)

// exported reads a journal into memory: what Restore is fed with.
func exported(t *testing.T, path string, from uint64) (*Inspection, []int64, [][]byte) {
	t.Helper()
	var times []int64
	var events [][]byte
	r, err := Inspect(context.Background(), path, from, func(_ uint64, us int64, rec []byte, _, _ protocol.Chain) error {
		_, event, err := protocol.SplitRecord(rec)
		times, events = append(times, us), append(events, bytes.Clone(event))
		return err
	})
	if err != nil || r.Damage != nil {
		t.Fatal(err, r)
	}
	return r, times, events
}

func restored(r *Inspection, times []int64, events [][]byte) Restored {
	n := -1
	return Restored{
		InstallID: r.InstallID, CreatedUS: r.CreatedUS, Tail: r.Tail, ChainTail: r.ChainTail, Epoch: r.Epoch, Merged: r.Merged,
		ChainHead: func() protocol.Chain { return r.ChainHead },
		Next: func() (int64, []byte, error) {
			if n++; n == len(events) {
				return 0, nil, io.EOF
			}
			return times[n], events[n], nil
		},
	}
}

func TestRestore(t *testing.T) {
	o := testOptions(t)
	o.SegmentEvents = 300
	filled(t, o, 1000)
	for _, from := range []uint64{0, 512} {
		r, times, events := exported(t, o.Path, from)
		p := o
		p.Path, p.VerifyAll = filepath.Join(t.TempDir(), "deep", "journal.db"), true
		if err := Restore(p.Path, restored(r, times, events)); err != nil {
			t.Fatal(err)
		}
		if err := Restore(p.Path, restored(r, times, events)); !errors.Is(err, os.ErrExist) {
			t.Errorf("over a journal: %v", err)
		}
		j := open(t, p)
		if !InUse(p.Path) || InUse(p.Path+".none") {
			t.Error("in use: wrong")
		}
		if st := j.State(); st.Tail != max(from, 1) || st.Head != 1000 || st.ChainHead != r.ChainHead || st.InstallID != r.InstallID || st.Epoch != 2 || st.BootReason != "reopened" {
			t.Errorf("from %d: %+v", from, st)
		}
		if a := mustAppend(t, j, sale("D600")); !a.Duplicate || a.Seq != 600 {
			t.Errorf("a known document: %+v", a)
		}
		if a := mustAppend(t, j, sale("new")); a.Seq != 1001 {
			t.Errorf("the next: %+v", a)
		}
	}
	r, times, events := exported(t, o.Path, 0)
	for name, harm := range map[string]func(*Restored, []int64){
		"chain over the restored": func(r *Restored, _ []int64) { r.ChainTail[0]++ },
		"not later than":          func(_ *Restored, us []int64) { us[500] = us[499] },
		"broken pipe": func(r *Restored, _ []int64) {
			r.Next = func() (int64, []byte, error) { return 0, nil, errors.New("broken pipe") }
		},
	} {
		us := append([]int64(nil), times...)
		from := restored(r, us, events)
		harm(&from, us)
		path := filepath.Join(t.TempDir(), "journal.db")
		if err := Restore(path, from); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a journal appeared", name)
		}
	}
}

// A commit that failed and was retried leaves two records that claim one seq. A
// salvage keeps the one that the next record was chained to in its place, and
// appends the other behind all, so that nothing that was ever written is lost.
func TestSalvageKeepsBothTwins(t *testing.T) {
	o := testOptions(t)
	filled(t, o, 100)
	before, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	grow := func(docs ...string) []byte {
		t.Helper()
		if err := os.WriteFile(o.Path, before, 0o600); err != nil {
			t.Fatal(err)
		}
		j := open(t, o)
		for _, d := range docs {
			mustAppend(t, j, sale(d))
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(o.Path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	lost := grow("X")
	stands := grow("Y", "Z", "D7x")
	whole := append(stands, lost...) // pages of a commit that never was, behind the file's end
	clear(whole[:100])
	if err := os.WriteFile(o.Path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	j := open(t, o)
	docs := documents(t, j)
	for seq, want := range map[uint64]string{100: "D100", 101: "Y", 102: "Z", 103: "D7x", 104: "X"} {
		if docs[seq] != want {
			t.Errorf("seq %d holds %q, want %q", seq, docs[seq], want)
		}
	}
	if st := j.State(); st.Head != 104 || st.Counters.LostRecords != 0 {
		t.Errorf("%+v", st)
	}
}

// The reader of pages that trusts nothing names each damage and never panics.
func TestTreeNamesDamage(t *testing.T) {
	s := newSound(t)
	meta, err := newestMeta(s.source)
	if err != nil {
		t.Fatal(err)
	}
	tr := &tree{read: s.source, meta: meta}
	if _, err := tr.load(1, 0); !isCorrupt(err) {
		t.Errorf("a meta page as a tree's: %v", err)
	}
	if _, err := tr.load(meta.root, treeDepthMax); !isCorrupt(err) {
		t.Errorf("too deep: %v", err)
	}
	short := append([]byte(nil), s.bytes[meta.root*4096:meta.root*4096+12]...)
	for name, b := range map[string]branch{
		"short inline page": {inline: short},
		"no page":           {page: meta.pages + 7},
		"meta page":         {page: 0},
	} {
		if name == "meta page" {
			b.inline = bytes.Clone(s.bytes[:4096])
		}
		if err := tr.each(b, nil, func(element) (bool, error) { return true, nil }); !isCorrupt(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if k, err := tr.last(branch{inline: make([]byte, pageHead)}); err != nil || k != nil {
		t.Errorf("an empty bucket: %x %v", k, err)
	}
	if _, err := tr.last(branch{page: meta.pages + 7}); !isCorrupt(err) {
		t.Errorf("a page beyond: %v", err)
	}
	// A branch whose children are all itself: it must be found out, not walked 2^32 times.
	loop := make([]byte, 3*4096)
	copy(loop, s.bytes[:2*4096])
	page := loop[2*4096:]
	page[0], page[8], page[10] = 2, pageBranch, 100
	for i := range 100 {
		page[pageHead+16*i], page[pageHead+16*i+1] = byte((1600-16*i)%256), byte((1600-16*i)/256)
		page[pageHead+16*i+8] = 2
	}
	tr = &tree{meta: pageMeta{pageSize: 4096, pages: 3}, read: func(off int64, n int) ([]byte, error) { return loop[off : off+int64(n)], nil }}
	if err := tr.each(branch{page: 2}, nil, func(element) (bool, error) { return true, nil }); !isCorrupt(err) || !strings.Contains(err.Error(), "pages of a tree") {
		t.Errorf("a page that is its own child: %v", err)
	}
	if free, total, err := DiskFree(t.TempDir()); err != nil || free == 0 || total < free {
		t.Errorf("%d of %d, %v", free, total, err)
	}
	if _, _, err := DiskFree(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a volume that is not there")
	}
}

// Records that do not follow each other are told apart by what is wrong.
func TestFollowNamesWhatIsWrong(t *testing.T) {
	at := tip{seq: 4, us: 100, total: 50}
	good := rebuilt(at, 200, []byte("event"), &pending{})
	r, err := decodeValue(5, good.value)
	if err != nil {
		t.Fatal(err)
	}
	if after, err := at.follow(r); err != nil || after != good.after {
		t.Fatal(after, err)
	}
	for _, tt := range []struct {
		want string
		from tip
		harm func(*row)
	}{
		{"chain at record 5", at, func(r *row) { r.chain[3]++ }},
		{"byte count at record 5", at, func(r *row) { r.total++ }},
		{"time of record 5", tip{seq: 4, us: 200, total: 50}, func(*row) {}},
		{"time of record 5", at, func(r *row) { r.record = []byte{0x80} }},
	} {
		bad := r
		tt.harm(&bad)
		if _, err := tt.from.follow(bad); !isCorrupt(err) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.want, err)
		}
	}
	if _, err := decodeValue(5, make([]byte, 3)); !isCorrupt(err) {
		t.Errorf("a short value: %v", err)
	}
	if err := checkRun([]byte("abc")); !isCorrupt(err) {
		t.Errorf("a short run: %v", err)
	}
	if err := (&CorruptError{What: "w", Got: fmt.Sprint(1), Want: "2", Path: "/p"}).Error(); err != "journal is corrupt: w: got 1, want 2 (/p)" {
		t.Error(err)
	}
}
