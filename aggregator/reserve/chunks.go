package reserve

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("reservation chunk is damaged")

// shardOf is FNV-1a of an id, folded to the number of a chunk.
func shardOf(id string) uint16 {
	h := uint32(2166136261)
	for i := range len(id) {
		h = (h ^ uint32(id[i])) * 16777619
	}
	return uint16(h>>16 ^ h&0xFFFF) //nolint:gosec // 16 bits
}

// Chunks emits the shards that changed since the last call, in order of their
// number. It costs by what changed, not by what there is.
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	for _, s := range slices.Sorted(maps.Keys(b.dirty)) {
		var list []*entry
		for e := b.shards[s]; e != nil; e = e.next {
			list = append(list, e)
		}
		slices.SortFunc(list, func(x, y *entry) int { return strings.Compare(x.ID, y.ID) })
		data := []byte{chunkVersion}
		for _, e := range list {
			data = appendRecord(data, &e.Record)
		}
		emit(uint32(s), data)
	}
	clear(b.dirty)
	return nil
}

// Restore reads a chunk back, whole or not at all. Call it before anything else.
func (b *Book) Restore(no uint32, data []byte) error {
	if no >= shards || len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	var list []Record
	for d := (reader{b: data[1:]}); len(d.b) > 0; {
		var r Record
		if d.record(&r); d.bad {
			return fmt.Errorf("restore chunk %d: %w: cut short", no, ErrChunk)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("restore chunk %d: %w: %w", no, ErrChunk, err)
		}
		if uint32(shardOf(r.ID)) != no || len(list) > 0 && list[len(list)-1].ID >= r.ID {
			return fmt.Errorf("restore chunk %d: %w: reservation %.40q does not belong there", no, ErrChunk, r.ID)
		}
		list = append(list, r)
	}
	for _, r := range list {
		b.put(r)
	}
	delete(b.dirty, uint16(no)) // what was read is what is stored
	return nil
}
