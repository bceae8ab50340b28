package tryton

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"tillwire/protocol"
)

// Master is what Tryton has of articles, as ours.
type Master struct {
	Items []*protocol.Item // in order of their ids in Tryton
	Wrong []Wrong          // what was left out, and why
}

// rec20 are the codes of units by Tryton's names for them.
var rec20 = map[string]string{
	"unit": "EA", "kilogram": "KGM", "gram": "GRM", "pound": "LBR", "ounce": "ONZ", "meter": "MTR", "centimeter": "CMT", "millimeter": "MMT",
	"liter": "LTR", "milliliter": "MLT", "cubic meter": "MTQ", "square meter": "MTK", "case": "CS", "box": "BX", "dozen": "DZN", "pack": "PK", "pallet": "PF",
}

// codeOf is a unit's code; a unit that Tryton's user made may have it as its symbol.
func (u *uom) codeOf() string {
	if code := rec20[strings.ToLower(u.Name)]; code != "" {
		return code
	}
	if s := u.Symbol; len(s) >= 2 && len(s) <= 3 && strings.ToUpper(s) == s {
		return s
	}
	return ""
}

// Master reads all articles with their units, barcodes and, where kits is set, bills
// of materials. An article with a barcode is known by it, another by its code.
func (c *Connector) Master(ctx context.Context, kits bool) (*Master, error) {
	if err := c.prepare(ctx); err != nil {
		return nil, told(err)
	}
	if err := c.refresh(ctx); err != nil {
		return nil, told(err)
	}
	m := &Master{Wrong: slices.Clone(c.catalog.wrong)}
	parts := map[int64][]protocol.KitComponent{}
	if kits {
		var err error
		if parts, err = c.boms(ctx, m); err != nil {
			return nil, told(err)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.catalog.byID)) {
		p := c.catalog.byID[id]
		if !p.active || len(p.skus) == 0 {
			continue
		}
		base := c.catalog.uoms[p.uom]
		it := &protocol.Item{SKU: p.skus[0], Name: clipText(p.name), BaseUnit: base.codeOf(), Kit: parts[id]}
		if it.BaseUnit == "" {
			m.Wrong = append(m.Wrong, Wrong{p.name, fmt.Sprintf("its unit %q has no UN/ECE code: write the code as its symbol", base.Name)})
			continue
		}
		it.Units = c.units(base)
		m.Items = append(m.Items, it)
	}
	return m, nil
}

// units are the conversions to a base unit that come to whole thousandths.
func (c *Connector) units(base *uom) (list []protocol.UnitOfItem) {
	for _, id := range slices.Sorted(maps.Keys(c.catalog.uoms)) {
		u := c.catalog.uoms[id]
		code := u.codeOf()
		if u == base || u.Category != base.Category || code == "" || base.Factor == 0 || len(list) == protocol.ItemUnitsMax {
			continue
		}
		f := u.Factor / base.Factor * 1000
		if whole := math.Round(f); whole >= 1 && whole < 1e12 && math.Abs(f-whole) < 1e-6*whole {
			list = append(list, protocol.UnitOfItem{UOM: code, Factor: protocol.Quantity(whole)})
		}
	}
	return list
}

// boms reads the bills of materials of articles that have one, per piece.
func (c *Connector) boms(ctx context.Context, m *Master) (map[int64][]protocol.KitComponent, error) {
	type line struct {
		BOM      int64   `json:"bom"`
		Product  int64   `json:"product"`
		Quantity float64 `json:"quantity"`
		UOM      int64   `json:"uom"`
	}
	read := func(model string, into map[int64][]line) error {
		return c.pages(ctx, "model."+model+".search_read", []any{[]any{"bom.active", "=", true}}, []string{"bom", "product", "quantity", "uom"}, func(raw json.RawMessage) error {
			var l line
			err := json.Unmarshal(raw, &l)
			into[l.BOM] = append(into[l.BOM], l)
			return err
		})
	}
	in, out := map[int64][]line{}, map[int64][]line{}
	if err := read("production.bom.input", in); err != nil {
		return nil, err
	}
	if err := read("production.bom.output", out); err != nil {
		return nil, err
	}
	kits := map[int64][]protocol.KitComponent{}
	for _, bom := range slices.Sorted(maps.Keys(out)) {
		o := out[bom]
		p := c.catalog.byID[o[0].Product]
		if len(o) != 1 || p == nil || o[0].Quantity <= 0 || kits[o[0].Product] != nil {
			continue // no kit: it makes several things, or another bill makes it already
		}
		parts, why := parts(&c.catalog, in[bom], func(l line) (int64, float64) {
			return l.Product, l.Quantity * c.ratio(l.UOM, l.Product) / o[0].Quantity
		})
		if why != "" {
			m.Wrong = append(m.Wrong, Wrong{p.name, "its bill of materials is left out: " + why})
			continue
		}
		kits[o[0].Product] = parts
	}
	return kits, nil
}

// parts makes a kit's parts of a bill's lines.
func parts[L any](k *catalog, lines []L, of func(L) (int64, float64)) (list []protocol.KitComponent, why string) {
	for _, l := range lines {
		id, per := of(l)
		p := k.byID[id]
		if p == nil || len(p.skus) == 0 {
			return nil, "a part is no article that can be sold"
		}
		f := per * 1000
		q := protocol.Quantity(math.Round(f))
		if q <= 0 || math.Abs(f-float64(q)) > 1e-6*f {
			return nil, fmt.Sprintf("%g of %s is not in whole thousandths", per, p.name)
		}
		list = append(list, protocol.KitComponent{SKU: p.skus[0], Quantity: q})
	}
	if len(list) > protocol.KitPartsMax {
		return nil, fmt.Sprintf("it has %d parts, at most %d are kept", len(list), protocol.KitPartsMax)
	}
	return list, ""
}

// ratio converts a unit to an article's own.
func (c *Connector) ratio(unit, product int64) float64 {
	u, p := c.catalog.uoms[unit], c.catalog.byID[product]
	if u == nil || p == nil || c.catalog.uoms[p.uom].Factor == 0 {
		return 1
	}
	return u.Factor / c.catalog.uoms[p.uom].Factor
}

// Locations lists the codes of Tryton's warehouses.
func (c *Connector) Locations(ctx context.Context) ([]string, error) {
	if err := c.prepare(ctx); err != nil {
		return nil, told(err)
	}
	var found []struct {
		Code *string `json:"code"`
	}
	err := c.call(ctx, &found, "model.stock.location.search_read", []any{[]any{"type", "=", "warehouse"}}, 0, nil, []any{[]string{"code", "ASC"}}, []string{"code"})
	var out []string
	for _, f := range found {
		if f.Code != nil {
			out = append(out, *f.Code)
		}
	}
	return out, told(err)
}
