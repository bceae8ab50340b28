package tryton

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"tillwire/aggregator/poster"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// product is an article of Tryton's.
type product struct {
	id, uom    int64
	digits     int // of a quantity in its unit
	cost, list string
	name, code string
	active     bool
	template   int64
	skus       []protocol.SKU // its GTINs, else its code
}

// catalog is what is known of Tryton's articles, by every code that a till may scan.
type catalog struct {
	bySKU map[protocol.SKU]*product
	byID  map[int64]*product
	uoms  map[int64]*uom
	wrong []Wrong
	asked time.Time
}

// uom is a unit of measure.
type uom struct {
	ID       int64   `json:"id"`
	Name     string  `json:"name"`
	Symbol   string  `json:"symbol"`
	Factor   float64 `json:"factor"`
	Digits   int     `json:"digits"`
	Category int64   `json:"category"`
}

// Wrong is an article that cannot be used as it is, and why.
type Wrong struct {
	Article string
	Reason  string
}

// resolve finds a document's articles, in its order. What Tryton does not have, or
// cannot hold in its unit, is named: the rest can go without it.
func (c *Connector) resolve(ctx context.Context, d *posting.Doc) ([]*product, error) {
	for again := false; ; again = true {
		list, unknown, why := make([]*product, len(d.Lines)), []protocol.SKU(nil), ""
		missing := false
		for i := range d.Lines {
			l := &d.Lines[i]
			p := c.catalog.bySKU[l.SKU]
			switch {
			case p == nil || !p.active:
				unknown, missing = append(unknown, l.SKU), true
				why = fmt.Sprintf("Tryton has no active article with code or barcode %s", l.SKU)
			case !fits(l.Qty, p.digits):
				unknown = append(unknown, l.SKU)
				why = fmt.Sprintf("%s of %s does not fit its unit in Tryton, which has %d decimals", l.Qty, l.SKU, p.digits)
			}
			list[i] = p
		}
		if len(unknown) == 0 {
			return list, nil
		}
		if stale := c.o.Now().Sub(c.catalog.asked) > refreshEvery; missing && !again && stale {
			if err := c.refresh(ctx); err != nil {
				return nil, err
			}
			continue
		}
		code := "product_unknown"
		if !missing {
			code = "quantity_precision"
		}
		return nil, &poster.Refusal{Remedy: poster.Park, Code: code, Reason: why, Unknown: unknown}
	}
}

// fits tells whether a quantity has no more decimals than its unit.
func fits(q protocol.Quantity, digits int) bool {
	for step := protocol.Quantity(1000); ; step /= 10 {
		if q%step == 0 {
			return true
		}
		if digits--; digits < 0 || step == 1 {
			return false
		}
	}
}

// refresh reads all articles, their barcodes and the units.
func (c *Connector) refresh(ctx context.Context) error {
	k := catalog{bySKU: map[protocol.SKU]*product{}, byID: map[int64]*product{}, uoms: map[int64]*uom{}, asked: c.o.Now()}
	var uoms []*uom
	if err := c.call(ctx, &uoms, "model.product.uom.search_read", []any{}, 0, pageMax, nil, []string{"name", "symbol", "factor", "digits", "category"}); err != nil {
		return err
	}
	for _, u := range uoms {
		k.uoms[u.ID] = u
	}
	if err := c.pages(ctx, "model.product.product.search_read", []any{[]any{"template.type", "=", "goods"}},
		[]string{"code", "active", "template", "rec_name", "default_uom", "cost_price", "list_price"}, k.product); err != nil {
		return err
	}
	if err := c.pages(ctx, "model.product.identifier.search_read", []any{}, []string{"code", "type", "product"}, k.identifier); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(k.byID)) {
		p := k.byID[id]
		if p.code != "" { // what has a barcode too may be scanned, or keyed in by its number
			k.name(p, p.code, "code")
		}
		if len(p.skus) == 0 {
			k.wrong = append(k.wrong, Wrong{p.name, "it has neither a code nor a barcode, so no till can name it"})
		}
	}
	c.catalog = k
	return nil
}

// pages reads all records, page by page in order of their ids.
func (c *Connector) pages(ctx context.Context, method string, domain []any, fields []string, take func(json.RawMessage) error) error {
	for last := int64(0); ; {
		var page []json.RawMessage
		if err := c.call(ctx, &page, method, append([]any{[]any{"id", ">", last}}, domain...), 0, pageMax, []any{[]string{"id", "ASC"}}, fields); err != nil {
			return err
		}
		for _, raw := range page {
			var id struct {
				ID int64 `json:"id"`
			}
			if err := json.Unmarshal(raw, &id); err != nil {
				return fmt.Errorf("read %s: %w", method, err)
			}
			last = id.ID
			if err := take(raw); err != nil {
				return err
			}
		}
		if len(page) < pageMax {
			return nil
		}
	}
}

func (k *catalog) product(raw json.RawMessage) error {
	var r struct {
		ID       int64           `json:"id"`
		Code     *string         `json:"code"`
		Active   truth           `json:"active"`
		Template int64           `json:"template"`
		Name     string          `json:"rec_name"`
		UOM      int64           `json:"default_uom"`
		Cost     json.RawMessage `json:"cost_price"`
		List     json.RawMessage `json:"list_price"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read product: %w", err)
	}
	u := k.uoms[r.UOM]
	if u == nil {
		k.wrong = append(k.wrong, Wrong{r.Name, fmt.Sprintf("its unit %d is not known", r.UOM)})
		return nil
	}
	p := &product{id: r.ID, uom: r.UOM, digits: u.Digits, cost: decimalOf(r.Cost), list: decimalOf(r.List), name: r.Name, active: bool(r.Active), template: r.Template}
	if r.Code != nil {
		p.code = *r.Code
	}
	k.byID[r.ID] = p
	if len(k.byID) > productsMax {
		return fmt.Errorf("more than %d articles", productsMax)
	}
	return nil
}

func (k *catalog) identifier(raw json.RawMessage) error {
	var r struct {
		Code    string  `json:"code"`
		Type    *string `json:"type"`
		Product int64   `json:"product"`
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read identifier: %w", err)
	}
	if p := k.byID[r.Product]; p != nil {
		k.name(p, r.Code, "barcode")
	}
	return nil
}

// name makes an article known by a code, unless it is another's already.
func (k *catalog) name(p *product, code, what string) {
	sku, err := protocol.NormalizeSKU(code)
	if err != nil {
		k.wrong = append(k.wrong, Wrong{p.name, fmt.Sprintf("its %s %q %v", what, code, err)})
		return
	}
	if other := k.bySKU[sku]; other != nil && other != p {
		k.wrong = append(k.wrong, Wrong{p.name, fmt.Sprintf("its %s %s is that of %s too", what, sku, other.name)})
		return
	}
	k.bySKU[sku] = p
	p.skus = append(p.skus, sku)
}
