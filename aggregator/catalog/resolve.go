package catalog

import (
	"fmt"
	"hash/fnv"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf8"

	"tillwire/protocol"
)

// Note says how a line was read.
type Note struct {
	Version     uint64
	Kit         bool
	Converted   bool
	UnknownUnit bool // counted under the raw code: no conversion, or more than a quantity can be
	UnknownSKU  bool
}

// Resolve turns a document's line into what moves, as known at a ledger position:
// its quantity in base units, a kit's parts where explode asks for them, or the
// raw code where its unit has no conversion, or what it comes to is beyond
// protocol.QuantityMax. An article that is not in the book moves as it is said, in
// whatever unit. It appends to into and allocates nothing but that.
func (s *Set) Resolve(sku protocol.SKU, qty protocol.Quantity, uom string, pos uint64, explode bool, into []protocol.HoldLine) ([]protocol.HoldLine, Note) {
	if s.items == 0 {
		return append(into, protocol.HoldLine{SKU: sku, Quantity: qty}), Note{}
	}
	v := s.at(sku, pos)
	if v == nil {
		return append(into, protocol.HoldLine{SKU: sku, Quantity: qty}), Note{UnknownSKU: true}
	}
	n := Note{Version: v.Item.Version}
	base := v.Item.BaseUnit
	if base == "" {
		base = "EA"
	}
	in, ok := qty, true
	if uom != "" && uom != base {
		i := slices.IndexFunc(v.Item.Units, func(u protocol.UnitOfItem) bool { return u.UOM == uom })
		if i < 0 {
			n.UnknownUnit = true
			return append(into, protocol.HoldLine{SKU: RawCode(sku, uom), Quantity: qty}), n
		}
		n.Converted = true
		in, ok = times(qty, v.Item.Units[i].Factor)
		base = uom
	}
	from := len(into)
	switch {
	case ok && (!explode || len(v.Item.Kit) == 0):
		return append(into, protocol.HoldLine{SKU: sku, Quantity: in}), n
	case ok:
		n.Kit = true
		if into, ok = s.explode(v, in, pos, 1, into, from+kitLinesMax); ok {
			return into, n
		}
	}
	return append(into[:from], protocol.HoldLine{SKU: RawCode(sku, base), Quantity: qty}), Note{Version: n.Version, UnknownUnit: true}
}

// explode appends the parts of qty kits, as known at a position; not ok where
// they are more than a quantity can be, or more lines than most in all.
func (s *Set) explode(kit *Version, qty protocol.Quantity, pos uint64, depth int, into []protocol.HoldLine, most int) ([]protocol.HoldLine, bool) {
	for i := range kit.Item.Kit {
		c := &kit.Item.Kit[i]
		n, ok := times(qty, c.Quantity)
		if !ok {
			return into, false
		}
		if v := s.at(c.SKU, pos); v != nil && len(v.Item.Kit) > 0 && depth < protocol.KitDepthMax {
			if into, ok = s.explode(v, n, pos, depth+1, into, most); !ok {
				return into, false
			}
			continue
		}
		if len(into) == most {
			return into, false
		}
		into = append(into, protocol.HoldLine{SKU: c.SKU, Quantity: n})
	}
	return into, true
}

// times multiplies two quantities in thousandths; what does not come to whole
// thousandths is rounded half away from zero. It is not ok where the product is
// beyond protocol.QuantityMax.
func times(a, b protocol.Quantity) (protocol.Quantity, bool) {
	const one = 1000
	hi, lo := bits.Mul64(magnitude(a), magnitude(b))
	lo, carry := bits.Add64(lo, one/2, 0)
	if hi += carry; hi >= one {
		return 0, false
	}
	n, _ := bits.Div64(hi, lo, one)
	if n > uint64(protocol.QuantityMax) {
		return 0, false
	}
	if (a < 0) != (b < 0) {
		return -protocol.Quantity(n), true
	}
	return protocol.Quantity(n), true
}

func magnitude(q protocol.Quantity) uint64 {
	if q < 0 {
		return -uint64(q)
	}
	return uint64(q)
}

// RawCode is the code under which an article counts in a unit without conversion:
// {sku}#{uom}, with a hash in place of what would be too long for a SKU.
func RawCode(sku protocol.SKU, uom string) protocol.SKU {
	code := string(sku) + "#" + uom
	if len(code) <= protocol.SKUBytesMax && !strings.Contains(uom, "#") {
		return protocol.SKU(code)
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(string(sku) + "\x00" + uom))
	tail := fmt.Sprintf("~%016x#%s", h.Sum64(), uom)
	if len(tail) > protocol.SKUBytesMax/2 || strings.Contains(uom, "#") {
		tail = tail[:17] + "#"
	}
	keep := min(len(sku), protocol.SKUBytesMax-len(tail))
	for keep > 0 && keep < len(sku) && !utf8.RuneStart(sku[keep]) {
		keep--
	}
	return sku[:keep] + protocol.SKU(tail)
}
