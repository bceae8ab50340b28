package merge

import (
	"encoding/binary"
	"iter"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// idTable finds staged entries by their event ids: open addressing over the
// entries' own places, 4 bytes each. Ids are hashes, so that their first bytes
// spread as they are. A map took a tenth of the fold's time.
type idTable struct {
	slots []int32 // 1 + index of the entry; 0 is free; length a power of two
	used  int
}

func idSlot(id protocol.EventID) uint64 { return binary.LittleEndian.Uint64(id[:]) }

func (t *idTable) find(staged []ledger.Entry, id protocol.EventID) (int, bool) {
	if t.used == 0 {
		return 0, false
	}
	mask := uint64(len(t.slots) - 1)
	for n := idSlot(id) & mask; ; n = (n + 1) & mask {
		i := t.slots[n]
		if i == 0 {
			return 0, false
		}
		if staged[i-1].EventID == id {
			return int(i - 1), true
		}
	}
}

// put adds the entry that is about to be staged at index i.
func (t *idTable) put(staged []ledger.Entry, id protocol.EventID, i int) {
	if t.used++; t.used*2 > len(t.slots) {
		old := t.slots
		t.slots = make([]int32, max(64, 2*len(old)))
		for _, v := range old {
			if v != 0 {
				t.seat(staged[v-1].EventID, v)
			}
		}
	}
	t.seat(id, int32(i+1))
}

func (t *idTable) seat(id protocol.EventID, v int32) {
	mask := uint64(len(t.slots) - 1)
	n := idSlot(id) & mask
	for t.slots[n] != 0 {
		n = (n + 1) & mask
	}
	t.slots[n] = v
}

func (t *idTable) clear() {
	if t.used > 0 {
		clear(t.slots)
		t.used = 0
	}
}

// chunkSet is a set of chunks by number. Each movement puts two in.
type chunkSet struct {
	in []bool
	n  int
}

func (s *chunkSet) put(no uint32) {
	for uint32(len(s.in)) <= no {
		s.in = append(s.in, false)
	}
	if !s.in[no] {
		s.in[no] = true
		s.n++
	}
}

func (s *chunkSet) has(no uint32) bool { return no < uint32(len(s.in)) && s.in[no] }

func (s *chunkSet) drop(no uint32) {
	if s.has(no) {
		s.in[no] = false
		s.n--
	}
}

func (s *chunkSet) clear() {
	clear(s.in)
	s.n = 0
}

// all yields the numbers in their order; who gets one may drop it.
func (s *chunkSet) all() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for no, in := range s.in {
			if in && !yield(uint32(no)) {
				return
			}
		}
	}
}
