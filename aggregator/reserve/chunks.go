package reserve

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("reservation chunk is damaged")

func shardOf(id string) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	return uint16(h.Sum32() % shards)
}

// Chunks emits the shards that changed since the last call: a version, then each
// reservation's JSON behind its length, in order of id.
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	if len(b.dirty) == 0 {
		return nil
	}
	byShard := map[uint16][]string{}
	for id := range b.all {
		if s := shardOf(id); b.dirty[s] {
			byShard[s] = append(byShard[s], id)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(b.dirty)) {
		ids := byShard[s]
		slices.Sort(ids)
		data := []byte{chunkVersion}
		for _, id := range ids {
			j, err := json.Marshal(&b.all[id].Record)
			if err != nil {
				return fmt.Errorf("encode reservation %s: %w", id, err)
			}
			data = append(binary.AppendUvarint(data, uint64(len(j))), j...)
		}
		emit(uint32(s), data)
	}
	clear(b.dirty)
	return nil
}

// Restore reads a chunk back. Call Settle when all are read.
func (b *Book) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	for data = data[1:]; len(data) > 0; {
		n, k := binary.Uvarint(data)
		if k <= 0 || n > uint64(len(data)-k) {
			return fmt.Errorf("restore chunk %d: %w: cut short", no, ErrChunk)
		}
		var r Record
		if err := json.Unmarshal(data[k:k+int(n)], &r); err != nil {
			return fmt.Errorf("restore chunk %d: %w: %w", no, ErrChunk, err)
		}
		if r.ID == "" || uint32(shardOf(r.ID)) != no {
			return fmt.Errorf("restore chunk %d: %w: reservation %q does not belong there", no, ErrChunk, r.ID)
		}
		b.put(r)
		data = data[k+int(n):]
	}
	delete(b.dirty, uint16(no)) // what was read is what is stored
	return nil
}

// Settle ends a start-up: what is over stands in order of age, and locations are
// told anew from nowUS on. What the replay of the log changed stays to be written:
// no checkpoint has it yet.
func (b *Book) Settle(nowUS int64) {
	b.baseRev = uint64(max(nowUS, 1))
	slices.SortFunc(b.closed, func(x, y closing) int {
		if x.us != y.us {
			return int(min(max(x.us-y.us, -1), 1))
		}
		if x.id < y.id {
			return -1
		}
		return 1
	})
	b.touched = b.touched[:0]
}
