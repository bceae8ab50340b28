package merge

import "tillwire/store/ledger"

// index finds cells by (location, SKU): open addressing over the cells' own
// numbers, so that it costs 5 to 11 bytes per cell where a map costs 30.
type index struct {
	slots []ledger.CellID // 0 is free; length a power of two
	used  int
}

func newIndex() index { return index{slots: make([]ledger.CellID, 1024)} }

// mix spreads the two dense numbers over 64 bits (the finaliser of SplitMix64).
func mix(loc, sku uint32) uint64 {
	x := uint64(loc)<<32 | uint64(sku)
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

func (x *index) find(cells []cell, loc, sku uint32) ledger.CellID {
	mask := uint64(len(x.slots) - 1)
	for i := mix(loc, sku) & mask; ; i = (i + 1) & mask {
		id := x.slots[i]
		if id == 0 || cells[id].loc == loc && cells[id].sku == sku {
			return id
		}
	}
}

// put adds a cell that is not there yet.
func (x *index) put(cells []cell, id ledger.CellID) {
	if x.used++; x.used*4 > len(x.slots)*3 {
		bigger := make([]ledger.CellID, 2*len(x.slots))
		for _, old := range x.slots {
			if old != 0 {
				seat(bigger, cells, old)
			}
		}
		x.slots = bigger
	}
	seat(x.slots, cells, id)
}

func seat(slots []ledger.CellID, cells []cell, id ledger.CellID) {
	mask := uint64(len(slots) - 1)
	i := mix(cells[id].loc, cells[id].sku) & mask
	for slots[i] != 0 {
		i = (i + 1) & mask
	}
	slots[i] = id
}
