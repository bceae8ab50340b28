package tryton

import (
	"context"
	"encoding/json"
	"fmt"

	"tillwire/aggregator/poster"
	"tillwire/protocol"
)

// Store is where a store's goods are in Tryton.
type Store struct {
	Warehouse  string // code of the warehouse; "" = the store's own name
	Unsellable string // code of a storage location for what is there but not sellable; "": Tryton does not tell it apart
}

// place is a store's warehouse, resolved.
type place struct {
	warehouse, storage, input, output, lost int64
	unsellable                              int64 // 0: none
}

// ground is what all documents need, asked for once a session.
type ground struct {
	company, currency            int64
	customer, address            int64
	supplier                     int64
	customerPlace, supplierPlace int64
	transit                      int64
	places                       map[protocol.StoreID]place
}

// fatal is a mistake of configuration: nothing can be posted before it is mended.
func fatal(code, format string, args ...any) *poster.Refusal {
	return &poster.Refusal{Remedy: poster.Fatal, Code: code, Reason: fmt.Sprintf(format, args...)}
}

// prepare asks once for what all documents need.
func (c *Connector) prepare(ctx context.Context) error {
	if c.ground != nil {
		return nil
	}
	g := &ground{places: map[protocol.StoreID]place{}}
	if c.session == "" {
		if err := c.login(ctx); err != nil {
			return err
		}
	}
	id, _ := c.ctx["company"].(float64)
	if g.company = int64(id); g.company == 0 {
		return fatal("erp_company", "the user %s has no company in Tryton; give it one in its preferences", c.user)
	}
	var company []struct {
		Currency int64 `json:"currency"`
	}
	if err := c.call(ctx, &company, "model.company.company.read", []int64{g.company}, []string{"currency"}); err != nil {
		return err
	}
	if len(company) == 1 {
		g.currency = company[0].Currency
	}
	if err := c.parties(ctx, g); err != nil {
		return err
	}
	var err error
	if g.transit, err = c.locationBy(ctx, "code", c.o.Transit); err != nil {
		return err
	}
	if g.transit == 0 && c.o.Transit != "" {
		return fatal("erp_location", "Tryton has no location with code %q (transit): make a storage location with it", c.o.Transit)
	}
	c.ground = g
	return nil
}

// parties finds who buys and who delivers, and from where goods come and go.
func (c *Connector) parties(ctx context.Context, g *ground) error {
	for _, p := range []struct {
		role, code string
		id, place  *int64
		field      string
	}{{"customer", c.o.Customer, &g.customer, &g.customerPlace, "customer_location"}, {"supplier", c.o.Supplier, &g.supplier, &g.supplierPlace, "supplier_location"}} {
		var found []map[string]json.RawMessage
		if err := c.call(ctx, &found, "model.party.party.search_read", []any{[]any{"code", "=", p.code}}, 0, 1, nil, []string{"id", p.field, "addresses"}); err != nil {
			return err
		}
		if len(found) == 0 {
			return fatal("erp_party", "Tryton has no party with code %q (%s): make one, with an address", p.code, p.role)
		}
		var addresses []int64
		_ = json.Unmarshal(found[0]["id"], p.id)
		_ = json.Unmarshal(found[0][p.field], p.place)
		_ = json.Unmarshal(found[0]["addresses"], &addresses)
		if p.role == "customer" && len(addresses) == 0 {
			return fatal("erp_party", "party %q has no address in Tryton, which deliveries need: give it one", p.code)
		}
		if p.role == "customer" {
			g.address = addresses[0]
		}
		if *p.place != 0 {
			continue
		}
		id, err := c.locationBy(ctx, "type", p.role) // Tryton's own default
		if err != nil {
			return err
		}
		*p.place = id
	}
	return nil
}

func (c *Connector) locationBy(ctx context.Context, field, value string) (int64, error) {
	if value == "" {
		return 0, nil
	}
	var ids []int64
	err := c.call(ctx, &ids, "model.stock.location.search", []any{[]any{field, "=", value}}, 0, 1, nil)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	return ids[0], nil
}

// place resolves a store's warehouse. A store that Tryton does not have parks its
// own documents and nobody else's.
func (c *Connector) place(ctx context.Context, store protocol.StoreID) (place, error) {
	if p, ok := c.ground.places[store]; ok {
		return p, nil
	}
	s := c.o.Stores[store]
	code := s.Warehouse
	if code == "" {
		code = string(store)
	}
	var found []struct {
		ID      int64 `json:"id"`
		Storage int64 `json:"storage_location"`
		Input   int64 `json:"input_location"`
		Output  int64 `json:"output_location"`
		Lost    int64 `json:"lost_found_location"`
	}
	err := c.call(ctx, &found, "model.stock.location.search_read", []any{[]any{"type", "=", "warehouse"}, []any{"code", "=", code}}, 0, 1, nil,
		[]string{"storage_location", "input_location", "output_location", "lost_found_location"})
	if err != nil {
		return place{}, err
	}
	if len(found) == 0 {
		return place{}, &poster.Refusal{Remedy: poster.Park, Code: "warehouse_unknown", Reason: fmt.Sprintf("Tryton has no warehouse with code %q for store %s", code, store)}
	}
	p := place{warehouse: found[0].ID, storage: found[0].Storage, input: found[0].Input, output: found[0].Output, lost: found[0].Lost}
	if p.lost == 0 {
		if p.lost, err = c.locationBy(ctx, "type", "lost_found"); err != nil {
			return place{}, err
		}
	}
	if s.Unsellable != "" {
		if p.unsellable, err = c.locationBy(ctx, "code", s.Unsellable); err != nil {
			return place{}, err
		}
		if p.unsellable == 0 {
			return place{}, &poster.Refusal{Remedy: poster.Park, Code: "warehouse_unknown", Reason: fmt.Sprintf("Tryton has no location with code %q, where store %s keeps what is not sellable", s.Unsellable, store)}
		}
	}
	c.ground.places[store] = p
	return p, nil
}
