package bolt

import (
	"encoding/binary"
	"slices"

	"tillwire/protocol"
)

// hotIDs are the ids that no run holds yet, in the order in which they came, with a
// table over their places: open addressing, six bytes a slot. Nearly every lookup is
// of an id that is not there; it ends at the tags, which are small enough to stay
// near the processor, where a map of 40-byte rows is not.
type hotIDs struct {
	ids   []idEntry
	tags  []uint16 // of the id in the slot; 0 is free; length a power of two
	slots []uint32 // its place in ids
}

func newHotIDs(n int) hotIDs {
	size := 64
	for size < 2*n {
		size *= 2
	}
	return hotIDs{ids: make([]idEntry, 0, n), tags: make([]uint16, size), slots: make([]uint32, size)}
}

// hotHash takes place and tag from an id, which is a hash already.
func hotHash(id *protocol.EventID) (place uint64, tag uint16) {
	return binary.LittleEndian.Uint64(id[:]), binary.LittleEndian.Uint16(id[8:]) | 1
}

func (h *hotIDs) len() int { return len(h.ids) }

func (h *hotIDs) find(id *protocol.EventID) *idEntry {
	mask := uint64(len(h.tags) - 1)
	place, tag := hotHash(id)
	for n := place & mask; h.tags[n] != 0; n = (n + 1) & mask {
		if h.tags[n] == tag && h.ids[h.slots[n]].id == *id {
			return &h.ids[h.slots[n]]
		}
	}
	return nil
}

// put adds an id, or tells one anew.
func (h *hotIDs) put(e idEntry) {
	if old := h.find(&e.id); old != nil {
		*old = e
		return
	}
	h.ids = append(h.ids, e)
	if 2*len(h.ids) > len(h.tags) {
		*h = hotIDs{ids: h.ids, tags: make([]uint16, 2*len(h.tags)), slots: make([]uint32, 2*len(h.tags))}
		for n := range h.ids {
			h.seat(n)
		}
		return
	}
	h.seat(len(h.ids) - 1)
}

func (h *hotIDs) seat(at int) {
	mask := uint64(len(h.tags) - 1)
	place, tag := hotHash(&h.ids[at].id)
	n := place & mask
	for h.tags[n] != 0 {
		n = (n + 1) & mask
	}
	h.tags[n], h.slots[n] = tag, uint32(at)
}

func (h *hotIDs) clear() {
	h.ids = h.ids[:0]
	clear(h.tags)
}

func (h *hotIDs) all() []idEntry { return slices.Clone(h.ids) }
