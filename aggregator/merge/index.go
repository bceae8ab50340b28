package merge

import "tillwire/store/ledger"

// index finds cells by (location, SKU): per location an open-addressing table over the
// cells' own numbers, so that it costs 5 to 11 bytes per cell where a map costs 30. A
// frame is one shop's: what it asks for lies in a few kilobytes, however many shops
// there are.
type index struct{ of []shelf } // by location

// shelf is one location's table.
type shelf struct {
	slots []ledger.CellID // 0 is free; length a power of two
	used  int
}

const shelfMin = 16

// mix spreads a dense number over 32 bits (the finaliser of MurmurHash3).
func mix(sku uint32) uint32 {
	sku ^= sku >> 16
	sku *= 0x85ebca6b
	sku ^= sku >> 13
	sku *= 0xc2b2ae35
	return sku ^ sku>>16
}

func (x *index) find(cells []cell, loc, sku uint32) ledger.CellID {
	if int(loc) >= len(x.of) || len(x.of[loc].slots) == 0 {
		return 0
	}
	slots := x.of[loc].slots
	mask := uint32(len(slots) - 1)
	for i := mix(sku) & mask; ; i = (i + 1) & mask {
		if id := slots[i]; id == 0 || cells[id].sku == sku {
			return id
		}
	}
}

// put adds a cell that is not there yet.
func (x *index) put(cells []cell, id ledger.CellID) {
	for int(cells[id].loc) >= len(x.of) {
		x.of = append(x.of, shelf{})
	}
	s := &x.of[cells[id].loc]
	if s.used++; s.used*4 > len(s.slots)*3 {
		bigger := make([]ledger.CellID, max(shelfMin, 2*len(s.slots)))
		for _, old := range s.slots {
			if old != 0 {
				seat(bigger, cells, old)
			}
		}
		s.slots = bigger
	}
	seat(s.slots, cells, id)
}

func seat(slots []ledger.CellID, cells []cell, id ledger.CellID) {
	mask := uint32(len(slots) - 1)
	i := mix(cells[id].sku) & mask
	for slots[i] != 0 {
		i = (i + 1) & mask
	}
	slots[i] = id
}
