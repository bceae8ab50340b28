package catalog

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"tillwire/protocol"
)

// Bounds of the book beside protocol's.
const (
	shards       = 4096
	chunkVersion = 1
	pathShown    = 8
)

// ErrChunk is a checkpoint chunk that cannot be read.
var ErrChunk = errors.New("item chunk is damaged")

// Version is an item as it was from a ledger position on.
type Version struct {
	From uint64        `json:"from"`
	Item protocol.Item `json:"item"`
}

// Book holds the items with their versions, oldest first.
type Book struct {
	all   map[protocol.SKU][]Version
	kits  map[protocol.SKU]map[protocol.SKU]bool // part → kits that have it, directly
	dirty map[uint16]bool
}

// New makes an empty book.
func New() *Book {
	return &Book{all: map[protocol.SKU][]Version{}, kits: map[protocol.SKU]map[protocol.SKU]bool{}, dirty: map[uint16]bool{}}
}

// Len is how many items there are.
func (b *Book) Len() int { return len(b.all) }

func (b *Book) last(sku protocol.SKU) *Version {
	v := b.all[sku]
	if len(v) == 0 {
		return nil
	}
	return &v[len(v)-1]
}

// Get returns an item as it is.
func (b *Book) Get(sku protocol.SKU) (protocol.Item, bool) {
	if v := b.last(sku); v != nil {
		return v.Item, true
	}
	return protocol.Item{}, false
}

// History returns an item's versions, newest first.
func (b *Book) History(sku protocol.SKU) []protocol.Item {
	var out []protocol.Item
	for _, v := range slices.Backward(b.all[sku]) {
		out = append(out, v.Item)
	}
	return out
}

// List returns items in order of SKU, from behind after on.
func (b *Book) List(after protocol.SKU, limit int) []protocol.Item {
	var keys []protocol.SKU
	for k := range b.all {
		if k > after {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	out := []protocol.Item{}
	for _, k := range keys[:min(limit, len(keys))] {
		out = append(out, b.last(k).Item)
	}
	return out
}

// Put makes a new version of an item; nil where nothing would change. The caller
// journals the version and applies it.
func (b *Book) Put(it *protocol.Item, who string, nowUS int64) (*protocol.Item, *protocol.Problem) {
	next := *it
	next.Version, next.ChangedBy, next.ChangedAt = 1, who, time.UnixMicro(nowUS).UTC()
	if last := b.last(it.SKU); last != nil {
		x := last.Item
		x.Version, x.ChangedBy, x.ChangedAt = next.Version, next.ChangedBy, next.ChangedAt
		if reflect.DeepEqual(x, next) {
			return nil, nil //nolint:nilnil // no change and no problem
		}
		next.Version = last.Item.Version + 1
	} else if len(b.all) >= protocol.ItemsMax {
		return nil, protocol.NewProblem(409, "too_many_items", "The item master is full", fmt.Sprintf("%d items are kept", protocol.ItemsMax), "leave articles out that need neither units nor a bill of materials")
	}
	if p := b.acyclic(&next); p != nil {
		return nil, p
	}
	return &next, nil
}

// acyclic refuses a kit that would contain itself, at any depth, and one that is
// nested too deep, counted from the outermost kit that has it.
func (b *Book) acyclic(it *protocol.Item) *protocol.Problem {
	if len(it.Kit) == 0 {
		return nil
	}
	var path []string
	var walk func(sku protocol.SKU, kit []protocol.KitComponent) *protocol.Problem
	walk = func(sku protocol.SKU, kit []protocol.KitComponent) *protocol.Problem {
		path = append(path, string(sku))
		defer func() { path = path[:len(path)-1] }()
		if len(path)+b.above(it.SKU, 0) > protocol.KitDepthMax {
			return protocol.NewProblem(422, "kit_too_deep", "The kit is nested too deep", fmt.Sprintf("%s …: more than %d levels", strings.Join(path[:min(len(path), pathShown)], " → "), protocol.KitDepthMax), "state the kit's parts instead of kits of kits")
		}
		for _, c := range kit {
			if c.SKU == it.SKU {
				return protocol.NewProblem(422, "kit_cycle", "The kit would contain itself", strings.Join(path, " → ")+" → "+string(it.SKU), "take the kit out of the parts that it has")
			}
			if v := b.last(c.SKU); v != nil && len(v.Item.Kit) > 0 {
				if p := walk(c.SKU, v.Item.Kit); p != nil {
					return p
				}
			}
		}
		return nil
	}
	return walk(it.SKU, it.Kit)
}

// above is how many levels of kits have an article.
func (b *Book) above(sku protocol.SKU, depth int) int {
	most := 0
	if depth > protocol.KitDepthMax {
		return most
	}
	for kit := range b.kits[sku] {
		most = max(most, 1+b.above(kit, depth+1))
	}
	return most
}

// Apply takes a version at its ledger position, live or on replay. It returns the
// articles whose availability it touches: its own and the kits that have it.
func (b *Book) Apply(it *protocol.Item, pos uint64) []protocol.SKU {
	if old := b.last(it.SKU); old != nil {
		for _, c := range old.Item.Kit {
			delete(b.kits[c.SKU], it.SKU)
		}
	}
	b.all[it.SKU] = append(b.all[it.SKU], Version{From: pos, Item: *it})
	for _, c := range it.Kit {
		if b.kits[c.SKU] == nil {
			b.kits[c.SKU] = map[protocol.SKU]bool{}
		}
		b.kits[c.SKU][it.SKU] = true
	}
	b.dirty[shardOf(it.SKU)] = true
	touched := append(b.KitsWith(it.SKU), it.SKU)
	slices.Sort(touched)
	return touched
}

// KitsWith lists the kits that have an article, at any depth.
func (b *Book) KitsWith(sku protocol.SKU) []protocol.SKU {
	seen := map[protocol.SKU]bool{}
	var walk func(protocol.SKU)
	walk = func(s protocol.SKU) {
		for k := range b.kits[s] {
			if !seen[k] {
				seen[k] = true
				walk(k)
			}
		}
	}
	walk(sku)
	return slices.Sorted(maps.Keys(seen))
}

// Kit lists a kit's parts down to what has stock, per kit; nil for what is no kit.
func (b *Book) Kit(sku protocol.SKU) []protocol.KitComponent {
	v := b.last(sku)
	if v == nil || len(v.Item.Kit) == 0 {
		return nil
	}
	sums := map[protocol.SKU]protocol.Quantity{}
	b.explode(sku, 1000, ^uint64(0), 0, func(s protocol.SKU, q protocol.Quantity) { sums[s] += q })
	out := make([]protocol.KitComponent, 0, len(sums))
	for s, q := range sums {
		out = append(out, protocol.KitComponent{SKU: s, Quantity: q})
	}
	slices.SortFunc(out, func(x, y protocol.KitComponent) int { return cmp.Compare(x.SKU, y.SKU) })
	return out
}

// explode calls fn with the parts of qty kits, as known at a position.
func (b *Book) explode(sku protocol.SKU, qty protocol.Quantity, pos uint64, depth int, fn func(protocol.SKU, protocol.Quantity)) {
	v := b.at(sku, pos)
	if v == nil || len(v.Item.Kit) == 0 || depth > protocol.KitDepthMax {
		fn(sku, qty)
		return
	}
	for _, c := range v.Item.Kit {
		b.explode(c.SKU, times(qty, c.Quantity), pos, depth+1, fn)
	}
}

// at is the version that stood before a ledger position.
func (b *Book) at(sku protocol.SKU, pos uint64) *Version {
	list := b.all[sku]
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].From < pos {
			return &list[i]
		}
	}
	return nil
}

// times multiplies two quantities in thousandths; what does not come to whole
// thousandths is rounded half away from zero.
func times(a, b protocol.Quantity) protocol.Quantity {
	whole, rest := a/1000*b, a%1000*b
	if rest < 0 {
		return whole + (rest-500)/1000
	}
	return whole + (rest+500)/1000
}

// Note says how a line was read.
type Note struct {
	Version     uint64
	Kit         bool
	Converted   bool
	UnknownUnit bool
	UnknownSKU  bool
}

// Resolve turns a document's line into what moves, as known at a ledger position:
// its quantity in base units, a kit's parts where explode asks for them, or the
// raw code where its unit has no conversion. An article that is not in the book
// moves as it is said, in whatever unit.
func (b *Book) Resolve(sku protocol.SKU, qty protocol.Quantity, uom string, pos uint64, explode bool, into []protocol.HoldLine) ([]protocol.HoldLine, Note) {
	v := b.at(sku, pos)
	if v == nil {
		return append(into, protocol.HoldLine{SKU: sku, Quantity: qty}), Note{UnknownSKU: len(b.all) > 0}
	}
	n := Note{Version: v.Item.Version}
	base := v.Item.BaseUnit
	if base == "" {
		base = "EA"
	}
	if uom != "" && uom != base {
		i := slices.IndexFunc(v.Item.Units, func(u protocol.UnitOfItem) bool { return u.UOM == uom })
		if i < 0 {
			n.UnknownUnit = true
			return append(into, protocol.HoldLine{SKU: RawCode(sku, uom), Quantity: qty}), n
		}
		n.Converted = true
		qty = times(qty, v.Item.Units[i].Factor)
	}
	if !explode || len(v.Item.Kit) == 0 {
		return append(into, protocol.HoldLine{SKU: sku, Quantity: qty}), n
	}
	n.Kit = true
	b.explode(sku, qty, pos, 0, func(s protocol.SKU, q protocol.Quantity) {
		into = append(into, protocol.HoldLine{SKU: s, Quantity: q})
	})
	return into, n
}

// RawCode is the code under which an article counts in a unit without conversion:
// {sku}#{uom}, with the end of the SKU hashed where that would be too long.
func RawCode(sku protocol.SKU, uom string) protocol.SKU {
	code := string(sku) + "#" + uom
	if len(code) <= protocol.SKUBytesMax {
		return protocol.SKU(code)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(code))
	tail := fmt.Sprintf("~%016x#%s", h.Sum64(), uom)
	return protocol.SKU(string(sku)[:max(0, min(len(sku), protocol.SKUBytesMax-len(tail)))] + tail)
}

// Category is an article's category; "" where it has none.
func (b *Book) Category(sku protocol.SKU) string {
	if v := b.last(sku); v != nil {
		return v.Item.Category
	}
	return ""
}

func shardOf(sku protocol.SKU) uint16 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(sku))
	return uint16(h.Sum32() % shards)
}

// Chunks emits the shards that changed since the last call: a version, then each
// item's versions as JSON behind their length, in order of SKU.
func (b *Book) Chunks(emit func(no uint32, data []byte)) error {
	if len(b.dirty) == 0 {
		return nil
	}
	by := map[uint16][]protocol.SKU{}
	for sku := range b.all {
		if s := shardOf(sku); b.dirty[s] {
			by[s] = append(by[s], sku)
		}
	}
	for _, s := range slices.Sorted(maps.Keys(b.dirty)) {
		slices.Sort(by[s])
		data := []byte{chunkVersion}
		for _, sku := range by[s] {
			j, err := json.Marshal(b.all[sku])
			if err != nil {
				return fmt.Errorf("encode item %s: %w", sku, err)
			}
			data = append(binary.AppendUvarint(data, uint64(len(j))), j...)
		}
		emit(uint32(s), data)
	}
	clear(b.dirty)
	return nil
}

// Restore reads a chunk back.
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
		if len(list) == 0 || uint32(shardOf(list[0].Item.SKU)) != no {
			return fmt.Errorf("restore chunk %d: %w: an item does not belong there", no, ErrChunk)
		}
		for i := range list {
			b.Apply(&list[i].Item, list[i].From)
		}
		data = data[k+int(n):]
	}
	delete(b.dirty, uint16(no))
	return nil
}
