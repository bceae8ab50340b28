package trytontest

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"tillwire/protocol"
)

// Stores have a warehouse each, under their own name; S1 has a place for what is not
// sellable, S1-DMG.
var Stores = []protocol.StoreID{"S1", "S2", "S3"}

// SKU is the code of the n-th article. Every tenth is known by a barcode only; the
// last is sold by weight.
func SKU(n int) protocol.SKU {
	if n%10 == 9 {
		return protocol.SKU(gtin(n))
	}
	return protocol.SKU(fmt.Sprintf("A%04d", n))
}

func gtin(n int) string {
	body := fmt.Sprintf("0590%09d", n)
	for c := range 10 {
		if s := body + strconv.Itoa(c); protocol.CheckDigitOK(s) {
			return s
		}
	}
	return ""
}

// Date is a day as Tryton writes it.
func Date(t time.Time) map[string]any {
	return map[string]any{"__class__": "date", "year": t.Year(), "month": int(t.Month()), "day": t.Day()}
}

func decimal(s string) map[string]any {
	return map[string]any{"__class__": "Decimal", "decimal": s}
}

type record = map[string]any

func created(list ...record) []any { return []any{[]any{"create", list}} }

// setup fills an empty database.
func setup(s *Server) {
	make1 := func(model string, r record) int64 {
		s.tb.Helper()
		var ids []int64
		s.Call(&ids, "model."+model+".create", []record{r})
		return ids[0]
	}
	currency := make1("currency.currency", record{"name": "Euro", "code": "EUR", "symbol": "€", "rounding": decimal("0.01"), "rates": created(record{"rate": decimal("1"), "date": Date(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))})})
	party := make1("party.party", record{"name": "ACME Retail"})
	company := make1("company.company", record{"party": party, "currency": currency})
	s.Call(nil, "model.res.user.write", []int64{int64(s.uid)}, record{"companies": []any{[]any{"add", []int64{company}}}, "company": company})
	s.ask(&s.ctx, "model.res.user.get_preferences", true, map[string]any{})
	for _, p := range []string{"WALKIN", "SUPPLIER"} {
		make1("party.party", record{"name": p, "code": p, "addresses": created(record{})})
	}
	production := make1("stock.location", record{"name": "Production", "type": "production", "code": "PRO"})
	make1("stock.location", record{"name": "Between stores", "type": "storage", "code": "TRANSIT"})
	for _, store := range Stores {
		lost := make1("stock.location", record{"name": "Lost of " + string(store), "type": "lost_found", "code": string(store) + "-LOST"})
		storage := make1("stock.location", record{"name": "Stock of " + string(store), "type": "storage", "code": string(store) + "-STO"})
		warehouse := make1("stock.location", record{
			"name": string(store), "type": "warehouse", "code": store, "input_location": storage, "output_location": storage, "storage_location": storage,
			"lost_found_location": lost, "production_location": production,
		})
		s.Call(nil, "model.stock.location.write", []int64{storage}, record{"parent": warehouse})
		if store == "S1" {
			make1("stock.location", record{"name": "Damaged of S1", "type": "storage", "code": "S1-DMG", "parent": warehouse})
		}
	}
	var uoms []struct {
		ID   int64  `json:"id"`
		Name string `json:"name"`
	}
	s.Call(&uoms, "model.product.uom.search_read", []any{}, 0, nil, nil, []string{"name"})
	unit := map[string]int64{}
	for _, u := range uoms {
		unit[u.Name] = u.ID
	}
	templates := make([]record, Products)
	for n := range templates {
		p := record{"cost_price": decimal("0.80")}
		if n%10 == 9 {
			p["identifiers"] = created(record{"type": "ean", "code": gtin(n)[1:]})
		} else {
			p["suffix_code"] = string(SKU(n))
		}
		templates[n] = record{"name": fmt.Sprintf("Article %d", n), "type": "goods", "default_uom": unit["Unit"], "list_price": decimal("1.20"), "cost_price_method": "fixed", "products": created(p)}
	}
	templates[Products-2]["default_uom"] = unit["Kilogram"]
	s.Call(nil, "model.product.template.create", templates)
}

// Stock is what Tryton itself says is at a location and all below it, by article
// code or barcode, without what is zero.
func (s *Server) Stock(location string) map[protocol.SKU]protocol.Quantity {
	s.tb.Helper()
	var at []int64
	s.Call(&at, "model.stock.location.search", []any{[]any{"code", "=", location}}, 0, 1, nil)
	var products []struct {
		ID          int64   `json:"id"`
		Code        string  `json:"code"`
		Identifiers []int64 `json:"identifiers"`
		Quantity    float64 `json:"quantity"`
	}
	s.With(map[string]any{"locations": at, "stock_date_end": Date(time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC))},
		&products, "model.product.product.search_read", []any{}, 0, nil, nil, []string{"code", "identifiers", "quantity"})
	out := map[protocol.SKU]protocol.Quantity{}
	for _, p := range products {
		sku := protocol.SKU(p.Code)
		if len(p.Identifiers) > 0 {
			var ids []struct {
				Code string `json:"code"`
			}
			s.Call(&ids, "model.product.identifier.read", p.Identifiers, []string{"code"})
			sku, _ = protocol.NormalizeSKU(ids[0].Code)
		}
		if q := protocol.Quantity(math.Round(p.Quantity * 1000)); q != 0 {
			out[sku] = q
		}
	}
	return out
}

// Close closes the stock period up to a day.
func (s *Server) Close(day time.Time) {
	s.tb.Helper()
	var ids []int64
	s.Call(&ids, "model.stock.period.create", []record{{"date": Date(day), "company": s.ctx["company"]}})
	s.Work("model.stock.period.close", ids)
}

// Shipments counts a kind of shipment by state.
func (s *Server) Shipments(model string) map[string]int {
	s.tb.Helper()
	var list []struct {
		State string `json:"state"`
	}
	s.Call(&list, "model."+model+".search_read", []any{}, 0, nil, nil, []string{"state"})
	out := map[string]int{}
	for _, x := range list {
		out[x.State]++
	}
	return out
}

// Take has units of an article leave a store without anybody but Tryton knowing.
func (s *Server) Take(store protocol.StoreID, article int, units int) {
	s.tb.Helper()
	var from, to, product []int64
	s.Call(&from, "model.stock.location.search", []any{[]any{"code", "=", string(store) + "-STO"}}, 0, 1, nil)
	s.Call(&to, "model.stock.location.search", []any{[]any{"code", "=", string(store) + "-LOST"}}, 0, 1, nil)
	s.Call(&product, "model.product.product.search", []any{[]any{"code", "=", SKU(article)}}, 0, 1, nil)
	var uom []struct {
		Unit int64 `json:"default_uom"`
	}
	s.Call(&uom, "model.product.product.read", product, []string{"default_uom"})
	var moves []int64
	today := Date(time.Now().UTC())
	s.Call(&moves, "model.stock.move.create", []record{{
		"product": product[0], "uom": uom[0].Unit, "quantity": units, "from_location": from[0], "to_location": to[0], "company": s.ctx["company"], "planned_date": today, "effective_date": today,
	}})
	s.Work("model.stock.move.do", moves)
}
