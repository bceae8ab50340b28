package catalog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"tillwire/protocol"
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("item chunk is damaged")

// Chunks emits the shards that changed since the last call: a version, then each
// item's versions as JSON behind their length, in order of SKU.
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	for _, no := range slices.Sorted(maps.Keys(b.dirty)) {
		items := b.pages[no/shardsPage].shards[no%shardsPage].items
		data := []byte{chunkVersion}
		for _, sku := range slices.Sorted(maps.Keys(items)) {
			j, err := json.Marshal(items[sku])
			if err != nil {
				return fmt.Errorf("encode item %s: %w", sku, err)
			}
			data = append(binary.AppendUvarint(data, uint64(len(j))), j...)
		}
		emit(no, data)
	}
	clear(b.dirty)
	return nil
}

// Restore reads a chunk back into a new book, in any order.
func (b *Book) Restore(no uint32, data []byte) error {
	if len(data) == 0 || data[0] != chunkVersion {
		return fmt.Errorf("restore chunk %d: %w: unknown version", no, ErrChunk)
	}
	for data = data[1:]; len(data) > 0; {
		n, k := binary.Uvarint(data)
		if k <= 0 || n > uint64(len(data)-k) {
			return fmt.Errorf("restore chunk %d: %w: cut short", no, ErrChunk)
		}
		var list []Version
		if err := json.Unmarshal(data[k:k+int(n)], &list); err != nil {
			return fmt.Errorf("restore chunk %d: %w: %w", no, ErrChunk, err)
		}
		if what := b.wrong(no, list); what != "" {
			return fmt.Errorf("restore chunk %d: %w: %s", no, ErrChunk, what)
		}
		b.put(list[0].Item.SKU, list)
		data = data[k+int(n):]
	}
	return nil
}

// wrong says why a list of versions cannot have been written as it stands.
func (b *Book) wrong(no uint32, list []Version) string {
	if len(list) == 0 {
		return "an item has no version"
	}
	sku := list[0].Item.SKU
	if sku == "" || len(sku) > protocol.SKUBytesMax || shardOf(sku) != no || b.versions(sku) != nil {
		return fmt.Sprintf("item %.80q does not belong there", sku)
	}
	for i := range list {
		x := &list[i].Item
		if x.SKU != sku || i > 0 && (list[i].From <= list[i-1].From || x.Version <= list[i-1].Item.Version) {
			return fmt.Sprintf("versions of %.80q are mixed up", sku)
		}
		if len(x.Units) > protocol.ItemUnitsMax || len(x.Kit) > protocol.KitPartsMax {
			return fmt.Sprintf("%.80q has %d units and %d parts", sku, len(x.Units), len(x.Kit))
		}
	}
	return ""
}
