package catalog

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"tillwire/protocol"
)

// Book holds the items with their versions. One goroutine changes it; what it
// shows as a Set it shows to any other by Snapshot.
type Book struct {
	Set
	generation uint64
	dirty      map[uint32]bool
	all        int // versions
}

// New makes an empty book.
func New() *Book { return &Book{generation: 1, dirty: map[uint32]bool{}} }

// Snapshot is the book as it is now. It costs the copy of a few KB, whatever the
// number of items; a change after it copies the shard that it touches.
func (b *Book) Snapshot() *Set {
	s := b.Set
	b.generation++
	return &s
}

// Put makes a new version of an item; nil where nothing would change. The caller
// journals the version and applies it.
func (b *Book) Put(it *protocol.Item, who string, nowUS int64) (*protocol.Item, *protocol.Problem) {
	next := *it
	next.Version, next.ChangedBy, next.ChangedAt = 1, who, time.UnixMicro(nowUS).UTC()
	next.Units, next.Kit = copied(it.Units), copied(it.Kit)
	list := b.versions(it.SKU)
	if len(list) == 0 {
		if b.items >= protocol.ItemsMax {
			return nil, protocol.NewProblem(409, "too_many_items", "The item master is full", fmt.Sprintf("%d items are kept", protocol.ItemsMax), "leave articles out that need neither units nor a bill of materials")
		}
	} else {
		x := list[len(list)-1].Item
		next.Version = x.Version + 1
		x.Version, x.ChangedBy, x.ChangedAt = next.Version, next.ChangedBy, next.ChangedAt
		if reflect.DeepEqual(x, next) {
			return nil, nil //nolint:nilnil // no change and no problem
		}
	}
	if (len(list) >= readingsMax || b.all >= versionsMax) && !foldable(list) && (len(list) == 0 || !readsAlike(&list[len(list)-1].Item, &next)) {
		return nil, protocol.NewProblem(409, "too_many_versions", "The item was changed too often", fmt.Sprintf("%s has %d versions, all items %d; each is needed to read the documents of its time", it.SKU, len(list), b.all), "give what has other units or other parts a SKU of its own")
	}
	if p := b.check(&next); p != nil {
		return nil, p
	}
	return &next, nil
}

// copied is the caller's list no more; nil where it is empty, as JSON leaves it.
func copied[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return slices.Clone(list)
}

// readsAlike tells whether two versions read documents alike.
func readsAlike(x, y *protocol.Item) bool {
	return x.BaseUnit == y.BaseUnit && slices.Equal(x.Units, y.Units) && slices.Equal(x.Kit, y.Kit)
}

// foldable tells whether two neighbours read documents alike, so that one of them
// can go.
func foldable(list []Version) bool {
	for i := 1; i < len(list); i++ {
		if readsAlike(&list[i-1].Item, &list[i].Item) {
			return true
		}
	}
	return false
}

// Apply takes a version at its ledger position, live or on replay. It returns the
// articles whose availability it touches, sorted: its own and the kits that have
// it.
func (b *Book) Apply(it *protocol.Item, pos uint64) []protocol.SKU {
	list := append(b.versions(it.SKU), Version{From: pos, Item: *it})
	if len(list) > namesMax || b.all >= versionsMax {
		list = fold(list)
	}
	b.put(it.SKU, list)
	b.dirty[shardOf(it.SKU)] = true
	touched := append(b.KitsWith(it.SKU), it.SKU)
	slices.Sort(touched)
	return touched
}

// fold forgets the oldest change that did not change how documents are read: the
// later version stands from the earlier's place on.
func fold(list []Version) []Version {
	for i := 1; i < len(list); i++ {
		if readsAlike(&list[i-1].Item, &list[i].Item) {
			out := slices.Concat(list[:i-1], list[i:])
			out[i-1].From = list[i-1].From
			return out
		}
	}
	return list
}

// put makes list the versions of an item.
func (b *Book) put(sku protocol.SKU, list []Version) {
	was := b.versions(sku)
	if len(was) == 0 {
		b.index = b.index.with(sku, b.generation)
		b.items++
	}
	b.all += len(list) - len(was)
	b.own(sku).items[sku] = list
	var old []protocol.KitComponent
	if len(was) > 0 {
		old = was[len(was)-1].Item.Kit
	}
	now := list[len(list)-1].Item.Kit
	if slices.Equal(old, now) {
		return
	}
	for _, c := range old {
		x := b.own(c.SKU)
		if x.kits[c.SKU] = x.kits[c.SKU].without(sku, b.generation); len(x.kits[c.SKU].list) == 0 {
			delete(x.kits, c.SKU)
		}
	}
	for _, c := range now {
		x := b.own(c.SKU)
		x.kits[c.SKU] = x.kits[c.SKU].with(sku, b.generation)
	}
}

// own is the shard of a SKU, the book's alone.
func (b *Book) own(sku protocol.SKU) *shard {
	no := shardOf(sku)
	p := &b.pages[no/shardsPage]
	switch {
	case *p == nil:
		*p = &page{generation: b.generation}
	case (*p).generation != b.generation:
		*p = &page{generation: b.generation, shards: (*p).shards}
	}
	s := &(*p).shards[no%shardsPage]
	switch {
	case *s == nil:
		*s = &shard{generation: b.generation, items: map[protocol.SKU][]Version{}, kits: map[protocol.SKU]blocks{}}
	case (*s).generation != b.generation:
		*s = &shard{generation: b.generation, items: maps.Clone((*s).items), kits: maps.Clone((*s).kits)}
	}
	return *s
}
