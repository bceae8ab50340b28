package catalog

import (
	"fmt"
	"strings"

	"tillwire/protocol"
)

// design looks at kits as they would be with a new version of one item. What is
// known of an article is kept, so that each is looked at once.
type design struct {
	b     *Book
	it    *protocol.Item
	sizes map[protocol.SKU]size
	path  []string
}

// size is what one of an article comes to.
type size struct {
	levels int // of kits; 0 = it is none
	lines  int
	peak   protocol.Quantity // the most of one part, at any level
	ok     bool              // neither more lines nor more of a part than there can be
}

// check refuses a kit that would contain itself, at any depth, and a version that
// makes a kit too deep or too large: itself or one that has it.
func (b *Book) check(it *protocol.Item) *protocol.Problem {
	if len(it.Kit) == 0 {
		return nil
	}
	d := &design{b: b, it: it, sizes: map[protocol.SKU]size{}}
	if p := d.cycle(it.Kit, map[protocol.SKU]bool{}); p != nil {
		return p
	}
	if p := d.fits(it.SKU); p != nil {
		return p
	}
	for _, kit := range b.KitsWith(it.SKU) {
		if p := d.fits(kit); p != nil {
			return p
		}
	}
	return nil
}

func (d *design) kit(sku protocol.SKU) []protocol.KitComponent {
	if sku == d.it.SKU {
		return d.it.Kit
	}
	if v := d.b.last(sku); v != nil {
		return v.Item.Kit
	}
	return nil
}

// cycle looks for the item among its own parts. The kits below are free of
// cycles, so that the search ends.
func (d *design) cycle(kit []protocol.KitComponent, seen map[protocol.SKU]bool) *protocol.Problem {
	for _, c := range kit {
		if c.SKU == d.it.SKU {
			steps := append(append([]string{string(d.it.SKU)}, d.path...), string(d.it.SKU))
			return protocol.NewProblem(422, "kit_cycle", "The kit would contain itself", strings.Join(steps, " → "), "take the kit out of the parts that it has")
		}
		if seen[c.SKU] {
			continue
		}
		seen[c.SKU] = true
		d.path = append(d.path, string(c.SKU))
		if p := d.cycle(d.kit(c.SKU), seen); p != nil {
			return p
		}
		d.path = d.path[:len(d.path)-1]
	}
	return nil
}

func (d *design) fits(sku protocol.SKU) *protocol.Problem {
	switch n := d.size(sku); {
	case n.levels > protocol.KitDepthMax:
		return protocol.NewProblem(422, "kit_too_deep", "The kit is nested too deep", fmt.Sprintf("%s: %d levels, at most %d", d.deepest(sku), n.levels, protocol.KitDepthMax), "state the kit's parts instead of kits of kits")
	case !n.ok:
		return protocol.NewProblem(422, "kit_too_large", "The kit has too many parts", fmt.Sprintf("%s comes to more than %d lines, or more than %s of one part", sku, kitLinesMax, protocol.QuantityMax), "divide it into kits that are sold one by one")
	}
	return nil
}

func (d *design) size(sku protocol.SKU) size {
	if n, known := d.sizes[sku]; known {
		return n
	}
	kit := d.kit(sku)
	if len(kit) == 0 {
		return size{lines: 1, peak: protocol.Units(1), ok: true}
	}
	n := size{ok: true}
	for _, c := range kit {
		part := d.size(c.SKU)
		q, ok := times(max(part.peak, protocol.Units(1)), c.Quantity) // of the part itself, and of what it comes to
		n.lines = min(n.lines+part.lines, kitLinesMax+1)
		n.ok = n.ok && ok && part.ok && n.lines <= kitLinesMax
		n.peak = max(n.peak, q)
		n.levels = max(n.levels, part.levels+1)
	}
	d.sizes[sku] = n
	return n
}

// deepest names the first kits on the way down.
func (d *design) deepest(sku protocol.SKU) string {
	path := []string{string(sku)}
	for kit := d.kit(sku); len(kit) > 0 && len(path) < pathShown; kit = d.kit(sku) {
		sku = kit[0].SKU
		for _, c := range kit {
			if d.size(c.SKU).levels > d.size(sku).levels {
				sku = c.SKU
			}
		}
		path = append(path, string(sku))
	}
	return strings.Join(path, " → ") + " …"
}
