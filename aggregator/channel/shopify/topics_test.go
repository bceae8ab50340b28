package shopify

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tillwire/aggregator/channel"
	"tillwire/protocol"
)

func TestReadOrder(t *testing.T) {
	c := &Config{Default: "DC1", Places: map[string]protocol.StoreID{"77": "S1"}}
	lines := func(loc protocol.StoreID) []channel.OrderLine {
		return []channel.OrderLine{{ID: "1", SKU: "04006381333931", Quantity: 2000, Location: loc}}
	}
	for name, x := range map[string]struct {
		body string
		want *channel.Order
		err  string
	}{
		"a GTIN without zeros": {`{"id":9007199254740993,"line_items":[{"id":1,"sku":"4006381333931","quantity":2}]}`, &channel.Order{ID: "9007199254740993", Lines: lines("DC1")}, ""},
		"sold in a shop":       {`{"id":5,"location_id":77,"line_items":[{"id":1,"sku":"4006381333931","quantity":2}]}`, &channel.Order{ID: "5", Lines: lines("S1")}, ""},
		"cancelled":            {`{"id":5,"cancelled_at":"2026-11-23T10:00:00Z","line_items":[{"id":1,"sku":"4006381333931","quantity":2}]}`, &channel.Order{ID: "5", Lines: lines("DC1"), Parcels: []channel.Parcel{{ID: "cancelled", Cancelled: true, Lines: map[string]protocol.Quantity{"1": 2000}}}}, ""},
		"a failed fulfilment":  {`{"id":5,"line_items":[{"id":1,"sku":"4006381333931","quantity":2}],"fulfillments":[{"id":3,"status":"failure","line_items":[{"id":1,"quantity":2}]}]}`, &channel.Order{ID: "5", Lines: lines("DC1")}, ""},
		"returned goods":       {`{"id":5,"line_items":[{"id":1,"sku":"4006381333931","quantity":2}],"refunds":[{"id":3,"refund_line_items":[{"line_item_id":1,"quantity":2,"restock_type":"return"}]}]}`, &channel.Order{ID: "5", Lines: lines("DC1")}, ""},
		"gift cards only":      {`{"id":5,"line_items":[{"id":1,"sku":"G","quantity":2,"gift_card":true}]}`, nil, ""},
		"a wrong check digit":  {`{"id":5,"line_items":[{"id":1,"sku":"4006381333932","quantity":2}]}`, nil, "line 1: sku"},
		"less than nothing":    {`{"id":5,"line_items":[{"id":1,"sku":"A","quantity":-2}]}`, nil, "quantity -2"},
	} {
		got, err := readOrder(c, []byte(x.body))
		if d := cmp.Diff(x.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if x.err == "" && err != nil || x.err != "" && (err == nil || !strings.Contains(err.Error(), x.err)) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// Whatever is posted, what is read of it can be held, and nobody's name is kept.
func FuzzTopics(f *testing.F) {
	f.Add("orders/create", []byte(`{"id":1,"line_items":[{"id":1,"sku":"A","quantity":1}],"customer":{"first_name":"Jon"}}`))
	f.Add("fulfillments/create", []byte(`{"id":1,"order_id":2,"line_items":[{"id":1,"quantity":1}]}`))
	f.Add("refunds/create", []byte(`{"id":1,"order_id":2,"refund_line_items":[{"line_item_id":1,"quantity":1,"restock_type":"cancel"}]}`))
	f.Fuzz(func(t *testing.T, name string, body []byte) {
		_ = orderOf(name, body)
		if strings.Contains(string(withoutPersons(body)), `"customer":`) && !strings.Contains(string(body), `\`) && strings.Count(string(body), "customer") == 1 && strings.HasPrefix(string(body), `{"customer":`) {
			t.Errorf("kept: %s", withoutPersons(body))
		}
		x, ok := topics[name]
		if !ok {
			return
		}
		if _, _, err := x.shape.Judge(body); err != nil {
			return
		}
		o, err := x.read(&Config{}, body)
		if err != nil || o == nil {
			return
		}
		for _, l := range o.Lines {
			if l.Quantity <= 0 || l.Quantity > protocol.QuantityMax || l.SKU == "" {
				t.Errorf("line %+v", l)
			}
		}
		for _, p := range o.Parcels {
			for _, q := range p.Lines {
				if q <= 0 {
					t.Errorf("parcel %+v", p)
				}
			}
		}
	})
}
