package bolt

import (
	"encoding/binary"
	"testing"

	"pgregory.net/rapid"

	"tillwire/protocol"
)

// TestHotIDs: the table is a map, also where ids share their first bytes.
func TestHotIDs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h, want := newHotIDs(4), map[protocol.EventID]idEntry{}
		draw := func() (id protocol.EventID) {
			binary.LittleEndian.PutUint64(id[:], rapid.Uint64Range(0, 9).Draw(t, "place"))
			binary.LittleEndian.PutUint16(id[8:], rapid.Uint16Range(0, 5).Draw(t, "tag"))
			id[15] = rapid.ByteRange(0, 3).Draw(t, "rest")
			return id
		}
		for n := range rapid.IntRange(0, 300).Draw(t, "steps") {
			id := draw()
			switch rapid.IntRange(0, 50).Draw(t, "what") {
			case 0:
				h.clear()
				clear(want)
			default:
				e := idEntry{id: id, pos: uint64(n)}
				h.put(e)
				want[id] = e
			}
			probe := draw()
			got := h.find(&probe)
			if w, ok := want[probe]; ok != (got != nil) || ok && *got != w {
				t.Fatalf("%x: got %v, want %v %v", probe, got, w, ok)
			}
		}
		if h.len() != len(want) {
			t.Fatalf("%d ids, want %d", h.len(), len(want))
		}
	})
}
