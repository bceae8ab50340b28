package shopify

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// topic is one kind of call. read gives nil where it changes nothing that is held.
type topic struct {
	shape gateway.Shape
	read  func(c *Config, body []byte) (*channel.Order, error)
}

// below are the known parts of an order that stock does not depend on. Everything
// below them is known, too: Shopify adds to them with every version.
var orderKnown = []string{
	"/id", "/name", "/number", "/order_number", "/created_at", "/updated_at", "/processed_at", "/closed_at", "/cancelled_at", "/cancel_reason", "/location_id", "/test", "/tags",
	"/currency", "/presentment_currency", "/financial_status", "/fulfillment_status", "/admin_graphql_api_id", "/app_id", "/user_id", "/source_name", "/source_identifier", "/source_url",
	"/confirmed", "/confirmation_number", "/gateway", "/reference", "/token", "/cart_token", "/checkout_token", "/checkout_id", "/email", "/contact_email", "/phone", "/note", "/browser_ip",
	"/buyer_accepts_marketing", "/customer_locale", "/landing_site", "/landing_site_ref", "/referring_site", "/order_status_url", "/processing_method", "/estimated_taxes", "/device_id", "/po_number",
	"/merchant_of_record_app_id", "/taxes_included", "/tax_exempt", "/duties_included", "/total_weight", "/company/**", "/merchant_business_entity_id",
	"/total_price", "/total_price_usd", "/subtotal_price", "/total_tax", "/total_discounts", "/total_line_items_price", "/total_outstanding", "/total_tip_received", "/total_cash_rounding_payment_adjustment_set/**",
	"/current_total_price", "/current_subtotal_price", "/current_total_discounts", "/current_total_tax", "/current_total_additional_fees_set/**", "/current_total_duties_set/**", "/current_total_price_set/**",
	"/current_subtotal_price_set/**", "/current_total_discounts_set/**", "/current_total_tax_set/**", "/original_total_duties_set/**", "/original_total_additional_fees_set/**", "/current_shipping_price_set/**",
	"/total_price_set/**", "/subtotal_price_set/**", "/total_tax_set/**", "/total_discounts_set/**", "/total_line_items_price_set/**", "/total_shipping_price_set/**", "/total_cash_rounding_refund_adjustment_set/**",
	"/line_items/*/**", "/fulfillments/**", "/refunds/**", "/shipping_lines/**", "/tax_lines/**", "/discount_codes/**", "/discount_applications/**", "/note_attributes/**", "/payment_gateway_names/**", "/payment_terms/**",
	"/payment_details/**", "/client_details/**", "/customer/**", "/billing_address/**", "/shipping_address/**", "/returns/**", "/line_item_groups/**",
}

var topics = map[string]topic{
	"orders/create":       {gateway.Shape{Known: orderKnown, Required: []string{"/id", "/line_items/*/id", "/line_items/*/quantity"}}, readOrder},
	"orders/paid":         {gateway.Shape{Known: orderKnown, Required: []string{"/id", "/line_items/*/id", "/line_items/*/quantity"}}, readOrder},
	"orders/updated":      {gateway.Shape{Known: orderKnown, Required: []string{"/id", "/line_items/*/id", "/line_items/*/quantity"}}, readOrder},
	"orders/cancelled":    {gateway.Shape{Known: orderKnown, Required: []string{"/id", "/cancelled_at", "/line_items/*/id", "/line_items/*/quantity"}}, readOrder},
	"fulfillments/create": {gateway.Shape{Known: fulfilmentKnown, Required: []string{"/id", "/order_id", "/line_items/*/id", "/line_items/*/quantity"}}, readFulfilment},
	"refunds/create": {gateway.Shape{
		Known: []string{
			"/id", "/order_id", "/created_at", "/processed_at", "/note", "/user_id", "/restock", "/admin_graphql_api_id", "/refund_line_items/*/**", "/transactions/**", "/order_adjustments/**",
			"/duties/**", "/total_duties_set/**", "/refund_shipping_lines/**", "/additional_fees/**", "/return/**",
		},
		Required: []string{"/id", "/order_id", "/refund_line_items/*/line_item_id", "/refund_line_items/*/quantity"},
	}, readRefund},
}

var fulfilmentKnown = []string{
	"/id", "/order_id", "/status", "/created_at", "/updated_at", "/service", "/tracking_company", "/shipment_status", "/location_id", "/origin_address/**", "/email", "/destination/**", "/tracking_number", "/tracking_numbers/**",
	"/tracking_url", "/tracking_urls/**", "/receipt/**", "/name", "/admin_graphql_api_id", "/line_items/*/**", "/variant_inventory_management",
}

// number is an id: Shopify's are too large for a float.
type number = json.Number

type lineItem struct {
	ID       number `json:"id"`
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
	Ships    *bool  `json:"requires_shipping"`
	Gift     bool   `json:"gift_card"`
	Origin   *struct {
		ID number `json:"id"`
	} `json:"origin_location"`
}

type fulfilment struct {
	ID       number     `json:"id"`
	Order    number     `json:"order_id"`
	Status   string     `json:"status"`
	Lines    []lineItem `json:"line_items"`
	Location number     `json:"location_id"`
}

type refund struct {
	ID    number `json:"id"`
	Order number `json:"order_id"`
	Lines []struct {
		Line     number `json:"line_item_id"`
		Quantity int64  `json:"quantity"`
		Restock  string `json:"restock_type"`
	} `json:"refund_line_items"`
}

func pieces(n int64) protocol.Quantity { return protocol.Quantity(n * 1000) }

// readOrder reads an order as it stands: its lines, what went out, what was taken
// back, and what is left of a cancelled one.
func readOrder(c *Config, body []byte) (*channel.Order, error) {
	var r struct {
		ID          number       `json:"id"`
		CancelledAt *string      `json:"cancelled_at"`
		Location    number       `json:"location_id"`
		Lines       []lineItem   `json:"line_items"`
		Fulfilments []fulfilment `json:"fulfillments"`
		Refunds     []refund     `json:"refunds"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read order: %w", err)
	}
	o := &channel.Order{ID: r.ID.String()}
	left := map[string]protocol.Quantity{}
	for i := range r.Lines {
		l := &r.Lines[i]
		if l.Gift || l.SKU == "" || l.Quantity == 0 { // nothing of it lies on a shelf of ours
			continue
		}
		if l.Quantity < 0 || l.Quantity > int64(protocol.QuantityMax)/1000 {
			return nil, fmt.Errorf("line %s has the quantity %d", l.ID, l.Quantity)
		}
		sku, err := protocol.NormalizeSKU(l.SKU)
		if err != nil {
			return nil, fmt.Errorf("line %s: sku %w", l.ID, err)
		}
		line := channel.OrderLine{ID: l.ID.String(), SKU: sku, Quantity: pieces(l.Quantity), Location: c.Default}
		if at, ok := c.Places[r.Location.String()]; ok {
			line.Location = at
		}
		o.Lines = append(o.Lines, line)
		left[line.ID] += line.Quantity
	}
	if len(o.Lines) == 0 {
		return nil, nil //nolint:nilnil // an order of gift cards holds nothing
	}
	if len(o.Lines) > protocol.ReservationLinesMax {
		return nil, fmt.Errorf("the order has %d lines, at most %d can be held", len(o.Lines), protocol.ReservationLinesMax)
	}
	for i := range r.Fulfilments {
		if p, ok := parcelOf(&r.Fulfilments[i]); ok {
			o.Parcels = append(o.Parcels, p)
		}
	}
	for i := range r.Refunds {
		if p, ok := takenBack(&r.Refunds[i]); ok {
			o.Parcels = append(o.Parcels, p)
		}
	}
	if r.CancelledAt != nil {
		for _, p := range o.Parcels {
			for id, q := range p.Lines {
				left[id] -= q
			}
		}
		rest := channel.Parcel{ID: "cancelled", Cancelled: true, Lines: map[string]protocol.Quantity{}}
		for id, q := range left {
			if q > 0 {
				rest.Lines[id] = q
			}
		}
		if len(rest.Lines) > 0 {
			o.Parcels = append(o.Parcels, rest)
		}
	}
	return o, nil
}

// parcelOf is what a fulfilment sent out; one that was cancelled or failed sent
// nothing.
func parcelOf(f *fulfilment) (channel.Parcel, bool) {
	p := channel.Parcel{ID: "f" + f.ID.String(), Lines: map[string]protocol.Quantity{}}
	switch f.Status {
	case "cancelled", "error", "failure":
		return p, false
	}
	for _, l := range f.Lines {
		if l.Quantity > 0 {
			p.Lines[l.ID.String()] += pieces(l.Quantity)
		}
	}
	return p, len(p.Lines) > 0
}

// takenBack is what a refund gives back of what had not gone out. Goods that come
// back (restock_type return) are no matter of the order: whoever takes them in
// journals a return.
func takenBack(r *refund) (channel.Parcel, bool) {
	p := channel.Parcel{ID: "r" + r.ID.String(), Cancelled: true, Lines: map[string]protocol.Quantity{}}
	for _, l := range r.Lines {
		if l.Restock == "cancel" && l.Quantity > 0 {
			p.Lines[l.Line.String()] += pieces(l.Quantity)
		}
	}
	return p, len(p.Lines) > 0
}

func readFulfilment(_ *Config, body []byte) (*channel.Order, error) {
	var f fulfilment
	if err := json.Unmarshal(body, &f); err != nil {
		return nil, fmt.Errorf("read fulfilment: %w", err)
	}
	return orderWith(f.Order, f.ID)(parcelOf(&f))
}

func readRefund(_ *Config, body []byte) (*channel.Order, error) {
	var r refund
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("read refund: %w", err)
	}
	return orderWith(r.Order, r.ID)(takenBack(&r))
}

func orderWith(order, id number) func(channel.Parcel, bool) (*channel.Order, error) {
	return func(p channel.Parcel, ok bool) (*channel.Order, error) {
		switch _, err := strconv.ParseInt(id.String(), 10, 64); {
		case err != nil || order.String() == "":
			return nil, errors.New("its id or order_id is no number")
		case !ok:
			return nil, nil //nolint:nilnil // it moves nothing
		}
		return &channel.Order{ID: order.String(), Parcels: []channel.Parcel{p}}, nil
	}
}

// orderOf is the order that a call is about, where that can be read.
func orderOf(topic string, body []byte) string {
	var r struct {
		ID    number `json:"id"`
		Order number `json:"order_id"`
	}
	if json.Unmarshal(body, &r) != nil {
		return ""
	}
	if r.Order != "" {
		return r.Order.String()
	}
	if _, ok := topics[topic]; ok {
		return r.ID.String()
	}
	return ""
}
