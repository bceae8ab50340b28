package journal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"

	"tillwire/protocol"
)

// The idempotency index maps event ids to (seq, content). The newest entries
// are a map in memory, rebuilt at open by a scan behind the last checkpoint;
// older ones are runs, one value each, sorted by id:
//
//	┌────────┬─────────┬─────────────┬────────────┬─────
//	│ crc32c │ id [16] │ content [8] │ seq u64 BE │ …
//	└────────┴─────────┴─────────────┴────────────┴─────
//
// Ids are hashes, so a tree of single keys would dirty one random page per
// event; a run of 512 is 16 KiB written at once. Eight runs of a size are
// merged into one, and a full segment's into a single one, so that a look-up
// asks few. Runs belong to one segment and are trimmed with it.
const runEntry = 32

// runName names a run: its segment's first seq and its own first.
type runName struct {
	segment uint64
	first   uint64
	count   int // entries; not part of the key
	filter  idFilter
}

func appendRun(b []byte, entries []runItem) []byte {
	b = append(b, 0, 0, 0, 0)
	for i := range entries {
		e := &entries[i]
		b = append(append(b, e.id[:]...), e.content[:]...)
		b = binary.BigEndian.AppendUint64(b, e.seq)
	}
	binary.BigEndian.PutUint32(b, crc32.Checksum(b[4:], castagnoli))
	return b
}

type runItem struct {
	id protocol.EventID
	entry
}

func sortRun(items []runItem) {
	slices.SortFunc(items, func(a, b runItem) int { return bytes.Compare(a.id[:], b.id[:]) })
}

// checkRun verifies a run's checksum and order.
func checkRun(run []byte) error {
	if len(run) < 4 || (len(run)-4)%runEntry != 0 {
		return &CorruptError{What: "size of an index run", Got: fmt.Sprint(len(run)), Want: "4 + 32n"}
	}
	if got, want := crc32.Checksum(run[4:], castagnoli), binary.BigEndian.Uint32(run); got != want {
		return &CorruptError{What: "checksum of an index run", Got: fmt.Sprintf("%08x", got), Want: fmt.Sprintf("%08x", want)}
	}
	return nil
}

// items takes a verified run apart, appending to dst.
func runItems(dst []runItem, run []byte) []runItem {
	for b := run[4:]; len(b) >= runEntry; b = b[runEntry:] {
		dst = append(dst, runItem{protocol.EventID(b[:16]), entryAt(b)})
	}
	return dst
}

func entryAt(b []byte) entry {
	return entry{seq: binary.BigEndian.Uint64(b[24:]), content: [8]byte(b[16:24])}
}

// findInRun looks an id up. Ids are uniform hashes: the place is guessed from
// the leading bits three times before falling back to halving.
func findInRun(run []byte, id protocol.EventID) (entry, bool) {
	if len(run) < 4+runEntry {
		return entry{}, false
	}
	run = run[4:]
	lo, hi := 0, len(run)/runEntry // id is in [lo, hi) if anywhere
	loKey, hiKey := uint64(0), ^uint64(0)
	want := binary.BigEndian.Uint64(id[:])
	for probe := 0; lo < hi; probe++ {
		mid := lo + (hi-lo)/2
		if probe < 3 && hiKey > loKey {
			f := float64(want-loKey) / float64(hiKey-loKey)
			mid = min(hi-1, lo+int(f*float64(hi-lo)))
		}
		at := run[mid*runEntry:]
		switch c := bytes.Compare(at[:16], id[:]); {
		case c == 0:
			return entryAt(at), true
		case c < 0:
			lo, loKey = mid+1, binary.BigEndian.Uint64(at)
		default:
			hi, hiKey = mid, binary.BigEndian.Uint64(at)
		}
	}
	return entry{}, false
}

// mergeTail says how many of the newest runs (oldest first, all of one
// segment) are to be merged with n new entries: all when the segment is being
// sealed, else as many as keep at most indexFanout-1 runs of one size class.
func mergeTail(runs []runName, n int, seal bool) int {
	if seal {
		return len(runs)
	}
	take := 0
	for size := n; ; {
		same, sum := 0, 0
		for i := len(runs) - 1 - take; i >= 0 && sizeClass(runs[i].count) <= sizeClass(size); i-- {
			same++
			sum += runs[i].count
		}
		if same < indexFanout-1 {
			return take
		}
		take += same
		size += sum
	}
}

// sizeClass is the power of indexFanout that holds n, counted from indexMemMax.
func sizeClass(n int) int {
	c := 0
	for limit := indexMemMax * 2; n >= limit; limit *= indexFanout {
		c++
	}
	return c
}
