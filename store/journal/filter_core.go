package journal

import (
	"encoding/binary"
	"math/bits"

	"tillwire/protocol"
)

// idFilter tells that an id is certainly not in a run, without touching the run:
// nearly every event is new, and asking each run of the index cost more than the
// rest of a commit's planning. It is a Bloom filter whose probes for one id share
// a cache line; it lives in memory only, made where a run is verified or written.
// nil knows nothing.
type idFilter []uint64

const (
	filterBits   = 10 // per id: one absent id in about a hundred is looked up in vain
	filterProbes = 6
	filterLine   = 8 // words of 64 bits
)

func newFilter(ids int) idFilter {
	return make(idFilter, filterLine*max(1, (ids*filterBits+filterLine*64-1)/(filterLine*64)))
}

// filterOfRun is the filter of a verified run.
func filterOfRun(run []byte) idFilter {
	f := newFilter(len(run) / runEntry)
	for b := run[4:]; len(b) >= runEntry; b = b[runEntry:] {
		f.add((*protocol.EventID)(b))
	}
	return f
}

func filterOfItems(items []runItem) idFilter {
	f := newFilter(len(items))
	for i := range items {
		f.add(&items[i].id)
	}
	return f
}

// place picks an id's line and the bits of its probes. Ids are hashes or random,
// but parts of a UUID of version 7 are a time: they are mixed all the same.
func (f idFilter) place(id *protocol.EventID) (line []uint64, probes uint64) {
	const odd1, odd2 = 0x9e3779b97f4a7c15, 0xd6e8feb86659fd93
	h := (binary.LittleEndian.Uint64(id[:]) ^ bits.RotateLeft64(binary.LittleEndian.Uint64(id[8:])*odd1, 29)) * odd2
	h ^= h >> 32
	at, _ := bits.Mul64(h*odd1, uint64(len(f)/filterLine))
	return f[at*filterLine:][:filterLine], h * odd2
}

func (f idFilter) add(id *protocol.EventID) {
	line, p := f.place(id)
	for range filterProbes {
		line[p>>6&7] |= 1 << (p & 63)
		p = bits.RotateLeft64(p, 9)
	}
}

func (f idFilter) mayHold(id *protocol.EventID) bool {
	if f == nil {
		return true
	}
	line, p := f.place(id)
	for range filterProbes {
		if line[p>>6&7]&(1<<(p&63)) == 0 {
			return false
		}
		p = bits.RotateLeft64(p, 9)
	}
	return true
}
