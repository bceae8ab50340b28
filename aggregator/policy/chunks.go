package policy

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"tillwire/protocol"
)

func shardOf(id string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return uint16(h.Sum32() % shards)
}

// Chunks emits the shards that changed since the last call: a version, then each
// policy's versions as JSON behind their length, in order of id. Chunk bookChunk
// holds up to when versions are forgotten.
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	ids := map[uint16][]string{}
	for id := range b.all {
		if s := shardOf(id); b.dirty[s] {
			ids[s] = append(ids[s], id)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(b.dirty)) {
		data := []byte{chunkVersion}
		if s == bookChunk {
			data = binary.AppendVarint(data, b.goneUS)
		}
		slices.Sort(ids[s])
		for _, id := range ids[s] {
			j, err := json.Marshal(b.all[id])
			if err != nil {
				return fmt.Errorf("encode policy %s: %w", id, err)
			}
			data = append(binary.AppendUvarint(data, uint64(len(j))), j...)
		}
		emit(uint32(s), data)
	}
	clear(b.dirty)
	return nil
}

// Restore reads a chunk back into a new book.
func (b *Book) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	data = data[1:]
	if no == bookChunk {
		us, k := binary.Varint(data)
		if k <= 0 || k != len(data) {
			return fmt.Errorf("restore chunk %d: %w: cut short, or more follows", no, ErrChunk)
		}
		b.goneUS = us
		return nil
	}
	for len(data) > 0 {
		n, k := binary.Uvarint(data)
		if k <= 0 || n > uint64(len(data)-k) {
			return fmt.Errorf("restore chunk %d: %w: cut short", no, ErrChunk)
		}
		var v []protocol.Policy
		if err := json.Unmarshal(data[k:k+int(n)], &v); err != nil {
			return fmt.Errorf("restore chunk %d: %w: %w", no, ErrChunk, err)
		}
		for i := range v {
			if v[i].PolicyID != v[0].PolicyID || v[i].Version != v[0].Version+uint64(i) {
				return fmt.Errorf("restore chunk %d: %w: versions of %q are mixed up", no, ErrChunk, v[0].PolicyID)
			}
		}
		if len(v) == 0 || uint32(shardOf(v[0].PolicyID)) != no || b.all[v[0].PolicyID] != nil {
			return fmt.Errorf("restore chunk %d: %w: a policy does not belong there", no, ErrChunk)
		}
		for i := range v {
			b.put(&v[i])
		}
		data = data[k+int(n):]
	}
	return nil
}
