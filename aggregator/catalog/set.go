package catalog

import (
	"cmp"
	"slices"

	"tillwire/protocol"
)

// Set is the book as it was when it was taken: it never changes, and any
// goroutine may read it. A change after that copies the shard that it touches,
// once.
type Set struct {
	pages [pages]*page
	index blocks // all SKUs
	items int
}

// page and shard belong to the book where their generation is its own; else a Set
// has them too, and they are copied before they change.
type page struct {
	generation uint64
	shards     [shardsPage]*shard
}

type shard struct {
	generation uint64
	items      map[protocol.SKU][]Version // oldest first; what was written is never changed in place
	kits       map[protocol.SKU]blocks    // part → kits that have it, directly
}

// Version is an item as it was from a ledger position on.
type Version struct {
	From uint64        `json:"from"`
	Item protocol.Item `json:"item"`
}

func (s *Set) shard(sku protocol.SKU) *shard {
	no := shardOf(sku)
	if p := s.pages[no/shardsPage]; p != nil {
		return p.shards[no%shardsPage]
	}
	return nil
}

func (s *Set) versions(sku protocol.SKU) []Version {
	if x := s.shard(sku); x != nil {
		return x.items[sku]
	}
	return nil
}

func (s *Set) last(sku protocol.SKU) *Version {
	v := s.versions(sku)
	if len(v) == 0 {
		return nil
	}
	return &v[len(v)-1]
}

// at is the version that stood before a ledger position.
func (s *Set) at(sku protocol.SKU, pos uint64) *Version {
	list := s.versions(sku)
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].From < pos {
			return &list[i]
		}
	}
	return nil
}

// Len is how many items there are.
func (s *Set) Len() int { return s.items }

// Get returns an item as it is.
func (s *Set) Get(sku protocol.SKU) (protocol.Item, bool) {
	if v := s.last(sku); v != nil {
		return v.Item, true
	}
	return protocol.Item{}, false
}

// Category is an article's category; "" where it has none.
func (s *Set) Category(sku protocol.SKU) string {
	if v := s.last(sku); v != nil {
		return v.Item.Category
	}
	return ""
}

// History returns an item's versions, newest first.
func (s *Set) History(sku protocol.SKU) []protocol.Item {
	var out []protocol.Item
	for _, v := range slices.Backward(s.versions(sku)) {
		out = append(out, v.Item)
	}
	return out
}

// List returns items in order of SKU, from behind after on.
func (s *Set) List(after protocol.SKU, limit int) []protocol.Item {
	out := []protocol.Item{}
	b, i := s.index.behind(after)
	for ; b < len(s.index.list); b, i = b+1, 0 {
		for _, sku := range s.index.list[b].skus[i:] {
			if len(out) >= limit {
				return out
			}
			out = append(out, s.last(sku).Item)
		}
	}
	return out
}

// KitsWith lists the kits that have an article, at any depth.
func (s *Set) KitsWith(sku protocol.SKU) []protocol.SKU {
	x := s.shard(sku)
	if x == nil || len(x.kits[sku].list) == 0 {
		return nil
	}
	seen := map[protocol.SKU]bool{}
	todo := []protocol.SKU{sku}
	var out []protocol.SKU
	for len(todo) > 0 {
		part := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, b := range s.directly(part).list {
			for _, k := range b.skus {
				if !seen[k] {
					seen[k] = true
					out, todo = append(out, k), append(todo, k)
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// directly are the kits that have an article as a part of their own.
func (s *Set) directly(part protocol.SKU) blocks {
	if x := s.shard(part); x != nil {
		return x.kits[part]
	}
	return blocks{}
}

// Kit lists a kit's parts down to what has stock, per kit; nil for what is no kit.
func (s *Set) Kit(sku protocol.SKU) []protocol.KitComponent {
	v := s.last(sku)
	if v == nil || len(v.Item.Kit) == 0 {
		return nil
	}
	lines, ok := s.explode(v, protocol.Units(1), ^uint64(0), 1, make([]protocol.HoldLine, 0, len(v.Item.Kit)), kitLinesMax)
	if !ok {
		return nil // Put lets none in
	}
	slices.SortStableFunc(lines, func(x, y protocol.HoldLine) int { return cmp.Compare(x.SKU, y.SKU) })
	out := make([]protocol.KitComponent, 0, len(lines))
	for _, l := range lines {
		if n := len(out); n > 0 && out[n-1].SKU == l.SKU {
			out[n-1].Quantity += l.Quantity
			continue
		}
		out = append(out, protocol.KitComponent(l))
	}
	return out
}

// blocks is an ordered set of SKUs in blocks, none of them empty. What is not of
// the generation that changes it is copied first.
type blocks struct {
	generation uint64
	list       []block
}

type block struct {
	generation uint64
	skus       []protocol.SKU
}

func (b *block) last() protocol.SKU { return b.skus[len(b.skus)-1] }

// behind is the place of the first SKU greater than after.
func (l *blocks) behind(after protocol.SKU) (no, at int) {
	no, _ = slices.BinarySearchFunc(l.list, after, func(b block, sku protocol.SKU) int {
		if b.last() <= sku {
			return -1
		}
		return 1
	})
	if no == len(l.list) {
		return no, 0
	}
	at, found := slices.BinarySearch(l.list[no].skus, after)
	if found {
		at++
	}
	return no, at
}

// with has a SKU more.
func (l blocks) with(sku protocol.SKU, generation uint64) blocks {
	no, at := l.behind(sku)
	if no > 0 && at == 0 { // it may end, or is behind, the block before
		no--
		at = len(l.list[no].skus)
	}
	if at > 0 && l.list[no].skus[at-1] == sku {
		return l
	}
	l = l.owned(generation)
	if len(l.list) == 0 {
		l.list = append(l.list, block{generation: generation, skus: []protocol.SKU{sku}})
		return l
	}
	b := &l.list[no]
	if b.generation != generation {
		b.generation, b.skus = generation, slices.Concat(b.skus[:at], []protocol.SKU{sku}, b.skus[at:])
	} else {
		b.skus = slices.Insert(b.skus, at, sku)
	}
	if len(b.skus) <= blockMax {
		return l
	}
	cut := len(b.skus) / 2
	if at == len(b.skus)-1 {
		cut = at // in rising order blocks are filled
	}
	rest := block{generation: generation, skus: slices.Clone(b.skus[cut:])}
	clear(b.skus[cut:])
	b.skus = b.skus[:cut]
	l.list = slices.Insert(l.list, no+1, rest)
	return l
}

// without has a SKU less.
func (l blocks) without(sku protocol.SKU, generation uint64) blocks {
	for no := range l.list {
		at, found := slices.BinarySearch(l.list[no].skus, sku)
		if !found {
			continue
		}
		l = l.owned(generation)
		b := &l.list[no]
		if len(b.skus) == 1 {
			l.list = slices.Delete(l.list, no, no+1)
			return l
		}
		b.generation, b.skus = generation, slices.Concat(b.skus[:at], b.skus[at+1:])
		return l
	}
	return l
}

// owned may be changed at its top by a generation.
func (l blocks) owned(generation uint64) blocks {
	if l.generation != generation {
		l.generation, l.list = generation, slices.Clone(l.list)
	}
	return l
}

// shardOf spreads SKUs by all of their bytes. Its values are on disk.
func shardOf(sku protocol.SKU) uint32 {
	const prime = 0x9E3779B97F4A7C15
	h := uint64(len(sku)) * prime
	s := sku
	for len(s) >= 8 {
		h = (h ^ word(s)) * prime
		h ^= h >> 29
		s = s[8:]
	}
	switch {
	case s == "":
	case len(sku) >= 8:
		h = (h ^ word(sku[len(sku)-8:])) * prime
	default:
		var w uint64
		for i := range len(s) {
			w = w<<8 | uint64(s[i])
		}
		h = (h ^ w) * prime
	}
	h ^= h >> 32
	h *= prime
	return uint32(h>>40) % shards
}

func word(s protocol.SKU) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}
