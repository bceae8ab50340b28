package journal

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// Pages of any content are read without a panic and in bounded time: the reader is
// what stands between a damaged disk and bbolt.
func FuzzTree(f *testing.F) {
	dir := f.TempDir()
	o := testOptions(f)
	o.Path, o.SegmentEvents = dir+"/journal.db", 20
	filled(f, o, 120)
	sound, err := os.ReadFile(o.Path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(0), []byte{}, uint32(0), []byte{})
	f.Add(uint32(2*4096+8), []byte{1, 0, 0xff, 0xff}, uint32(3*4096+16), []byte{0xff, 0xff, 0xff, 0x7f})
	f.Add(uint32(4096*5), bytes.Repeat([]byte{0xff}, 64), uint32(4096*6+12), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at1 uint32, with1 []byte, at2 uint32, with2 []byte) {
		b := bytes.Clone(sound)
		copy(b[int(at1)%len(b):], with1)
		copy(b[int(at2)%len(b):], with2)
		read := func(off int64, n int) ([]byte, error) {
			if off < 0 || n < 0 || n > pageBytesMax {
				t.Fatalf("asked for %d bytes at %d", n, off)
			}
			if off >= int64(len(b)) {
				return nil, nil
			}
			return b[off:min(off+int64(n), int64(len(b)))], nil
		}
		if err := inspectPages(read, int64(len(b))); err != nil && !isCorrupt(err) {
			t.Fatalf("neither sound nor damaged: %v", err)
		}
		meta, err := newestMeta(read)
		if err != nil {
			return
		}
		tr := &tree{read: read, meta: meta}
		list, err := tr.buckets()
		if err != nil && !isCorrupt(err) {
			t.Fatal(err)
		}
		visited := 0
		for _, x := range list {
			err := tr.each(x, nil, func(element) (bool, error) {
				if visited++; visited > 1<<16 {
					return false, errors.New("enough")
				}
				return true, nil
			})
			if _, err2 := tr.last(x); (err != nil && !isCorrupt(err) && visited <= 1<<16) || (err2 != nil && !isCorrupt(err2)) {
				t.Fatal(err, err2)
			}
		}
		liveTail(read, meta)
	})
}
