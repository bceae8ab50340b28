package bolt

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"sort"

	"tillwire/protocol"
)

// idEntry is one event id of the index.
type idEntry struct {
	id      protocol.EventID
	content [8]byte
	pos     uint64
}

// compareIDs orders by id; of equal ids the newest stands first.
func compareIDs(a, b *idEntry) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(a.id[:]), binary.BigEndian.Uint64(b.id[:])); c != 0 {
		return c
	}
	if c := bytes.Compare(a.id[8:], b.id[8:]); c != 0 {
		return c
	}
	return cmp.Compare(b.pos, a.pos)
}

// sortIDs orders ids. They are dealt into 4,096 piles by their first bits,
// which are random, before each small pile is sorted: a third of the time.
func sortIDs(ids []idEntry) []idEntry {
	const pileBits = 12
	pile := func(e *idEntry) int { return int(binary.BigEndian.Uint16(e.id[:]) >> (16 - pileBits)) }
	var ends [1<<pileBits + 1]int
	for i := range ids {
		ends[pile(&ids[i])+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	sorted, from := make([]idEntry, len(ids)), ends
	for i := range ids {
		p := pile(&ids[i])
		sorted[from[p]] = ids[i]
		from[p]++
	}
	for p := range 1 << pileBits {
		slices.SortFunc(sorted[ends[p]:ends[p+1]], func(a, b idEntry) int { return compareIDs(&a, &b) })
	}
	return sorted
}

// A chunk holds n ids in order, column by column, so that the search runs over
// dense bytes: n × id (16) ‖ n × content (8) ‖ n × position (6, big endian).
const (
	posBytes = 6
	posMax   = 1<<(8*posBytes) - 1
	idBytes  = 16 + 8 + posBytes
)

func appendIDChunk(b []byte, ids []idEntry) []byte {
	for i := range ids {
		b = append(b, ids[i].id[:]...)
	}
	for i := range ids {
		b = append(b, ids[i].content[:]...)
	}
	for i := range ids {
		var p [8]byte
		binary.BigEndian.PutUint64(p[:], ids[i].pos)
		b = append(b, p[8-posBytes:]...)
	}
	return b
}

// chunkBytes is what chunks from one to before another take of a run of count ids.
func chunkBytes(count, from, to uint64) uint64 {
	ids := min(to*runChunkIDs, count) - from*runChunkIDs
	return (to-from)*crcBytes + ids*idBytes
}

func idChunkAt(b []byte, i int) (e idEntry) {
	n := len(b) / idBytes
	copy(e.id[:], b[16*i:])
	copy(e.content[:], b[16*n+8*i:])
	var p [8]byte
	copy(p[8-posBytes:], b[24*n+posBytes*i:])
	e.pos = binary.BigEndian.Uint64(p[:])
	return e
}

func searchIDChunk(b []byte, id protocol.EventID) (idEntry, bool) {
	n := len(b) / idBytes
	i := sort.Search(n, func(i int) bool { return bytes.Compare(b[16*i:16*i+16], id[:]) >= 0 })
	if i == n || !bytes.Equal(b[16*i:16*i+16], id[:]) {
		return idEntry{}, false
	}
	return idChunkAt(b, i), true
}

// bloom is a blocked filter: all bits of a key lie in one cache line of 512.
// At ten bits a key and six probes about one miss in seventy is let through. Small
// runs, of which a lookup asks many, have more bits: they cost little, and together
// they let through less than the largest does.
type bloom []uint64

const (
	bloomBitsMin  = 10 // per key
	bloomBitsMore = 9  // in tier 0, three fewer in each tier above
	bloomProbes   = 6
	blockWords    = 8
)

func bloomWords(keys, tier uint64) uint64 {
	bits := bloomBitsMin + bloomBitsMore - min(3*tier, bloomBitsMore)
	return (keys*bits/(64*blockWords) + 1) * blockWords
}

func newBloom(keys, tier uint64) bloom { return make(bloom, bloomWords(keys, tier)) }

// bloomHash mixes the id: ids are hashes today, but the filter must not
// depend on it.
func bloomHash(id protocol.EventID) (block, probes uint64) {
	return mix(binary.LittleEndian.Uint64(id[:]) ^ 0x9e3779b97f4a7c15), mix(binary.LittleEndian.Uint64(id[8:])*0xff51afd7ed558ccd + binary.LittleEndian.Uint64(id[:]))
}

func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func (f bloom) block(h uint64) bloom {
	i, _ := bits.Mul64(h, uint64(len(f)/blockWords))
	return f[i*blockWords : (i+1)*blockWords : (i+1)*blockWords]
}

func (f bloom) add(id protocol.EventID) {
	h, p := bloomHash(id)
	b := f.block(h)
	for range bloomProbes {
		b[p>>6&7] |= 1 << (p & 63)
		p >>= 9
	}
}

// has takes the hashes of an id, which are the same for all filters. It looks at all
// bits before it decides: which of them is missing nobody can foretell, and a processor
// that need not guess asks the filters of several runs at once.
func (f bloom) has(h, p uint64) bool {
	b := f.block(h)
	all := ^uint64(0)
	for range bloomProbes {
		all &= b[p>>6&7] >> (p & 63)
		p >>= 9
	}
	return all&1 != 0
}

func appendWords(b []byte, f []uint64) []byte {
	for _, w := range f {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func decodeWords(dst []uint64, b []byte) {
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
}

// runHead is what the manifest says of a run.
type runHead struct {
	no     uint64 // key; never used twice
	tier   uint64
	count  uint64 // ids
	chunks uint64
	parts  uint64 // bloom parts
	last   uint64 // greatest position in it: newer runs are asked first
}

func (h *runHead) encode() []byte {
	var b []byte
	for _, v := range []uint64{h.tier, h.count, h.chunks, h.parts, h.last} {
		b = binary.AppendUvarint(b, v)
	}
	return b
}

func decodeRunHead(no uint64, b []byte) (h runHead, ok bool) {
	d := decoder{b: b}
	h = runHead{no: no, tier: d.uint(), count: d.uint(), chunks: d.uint(), parts: d.uint(), last: d.uint()}
	return h, !d.bad && len(d.b) == 0 && h.tier <= runTiersMax && h.count > 0 &&
		h.chunks == (h.count+runChunkIDs-1)/runChunkIDs && h.parts == bloomParts(h.count, h.tier)
}

const bloomPartWords = bloomPartBytes / 8

func bloomParts(keys, tier uint64) uint64 {
	return (bloomWords(keys, tier) + bloomPartWords - 1) / bloomPartWords
}
