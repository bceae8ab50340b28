package journal

import (
	"bytes"
	"fmt"
	"os"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Behind what bbolt uses stand blocks, not a hole, and they read as the hole did;
// after a reopen too, where bbolt goes on in them.
func TestRoomIsLaidAhead(t *testing.T) {
	o := testOptions(t)
	for round := range 3 {
		j := open(t, o)
		for i := range 400 {
			mustAppend(t, j, sale(fmt.Sprintf("R-%d-%d", round, i)))
		}
		var mark, end int64
		err := j.do(func() error { // what is asked of the committer runs behind the last ahead
			end = j.c.room.end
			return j.db.View(func(tx *bolt.Tx) error { mark = tx.Size(); return nil })
		})
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.ReadFile(o.Path)
		if err != nil {
			t.Fatal(err)
		}
		if end <= mark || end > int64(len(file)) {
			t.Fatalf("round %d: room ends at %d, want behind %d and within the file's %d", round, end, mark, len(file))
		}
		if rest := file[mark:end]; !bytes.Equal(rest, make([]byte, len(rest))) {
			t.Errorf("round %d: what was laid ahead is not zeros", round)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(o.Path, &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 < mark {
			t.Errorf("round %d: %d bytes allocated of %d used", round, st.Blocks*512, mark)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	o.VerifyAll = true
	if head := open(t, o).State().Head; head != 1200 {
		t.Errorf("head %d after three rounds of 400", head)
	}
}
