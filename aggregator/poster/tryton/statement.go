package tryton

import (
	"context"
	"encoding/json"
	"fmt"

	"tillwire/protocol"
)

// Stock is what Tryton says is in a store, sellable or not, of articles that a till
// can name.
func (c *Connector) Stock(ctx context.Context, store protocol.StoreID) (map[protocol.SKU]protocol.Quantity, error) {
	if err := c.prepare(ctx); err != nil {
		return nil, told(err)
	}
	p, err := c.place(ctx, store)
	if err != nil {
		return nil, told(err)
	}
	if len(c.catalog.byID) == 0 {
		if err := c.refresh(ctx); err != nil {
			return nil, told(err)
		}
	}
	at := []int64{p.storage}
	if p.unsellable != 0 {
		at = append(at, p.unsellable)
	}
	c.extra = map[string]any{"locations": at, "stock_date_end": date(int32(c.o.Now().Unix()/86_400) + 1)}
	defer func() { c.extra = nil }()
	out := map[protocol.SKU]protocol.Quantity{}
	err = c.pages(ctx, "model.product.product.search_read", []any{[]any{"quantity", "!=", json.Number("0.0")}}, []string{"quantity"}, func(raw json.RawMessage) error {
		var r struct {
			ID       int64   `json:"id"`
			Quantity float64 `json:"quantity"`
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("read stock: %w", err)
		}
		q, err := quantityOf(r.Quantity)
		if p := c.catalog.byID[r.ID]; err == nil && q != 0 && p != nil && len(p.skus) > 0 {
			out[p.skus[0]] += q
		}
		return err
	})
	return out, told(err)
}
