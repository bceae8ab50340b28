package vendure

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tillwire/aggregator/channel"
	"tillwire/protocol"
)

const ordersQuery = `query($o:OrderListOptions){orders(options:$o){items{id code state updatedAt orderPlacedAt lines{id quantity orderPlacedQuantity productVariant{sku}} fulfillments{id state lines{orderLineId quantity}}}}}`

// order is one as the shop tells it.
type order struct {
	Code    string     `json:"code"`
	State   string     `json:"state"`
	Updated time.Time  `json:"updatedAt"`
	Placed  *time.Time `json:"orderPlacedAt"`
	Lines   []struct {
		ID       string `json:"id"`
		Quantity int64  `json:"quantity"`
		Placed   int64  `json:"orderPlacedQuantity"`
		Variant  struct {
			SKU string `json:"sku"`
		} `json:"productVariant"`
	} `json:"lines"`
	Fulfilments []struct {
		ID    string `json:"id"`
		State string `json:"state"`
		Lines []struct {
			Line     string `json:"orderLineId"`
			Quantity int64  `json:"quantity"`
		} `json:"lines"`
	} `json:"fulfillments"`
}

// openStates are those in which something is still to happen.
var openStates = []string{"PaymentAuthorized", "PaymentSettled", "PartiallyShipped", "Shipped", "PartiallyDelivered", "Modifying", "ArrangingAdditionalPayment"}

// watch reads orders, and now and then all stock.
func (s *Shop) watch(ctx context.Context) {
	poll := time.NewTicker(s.c.Poll)
	defer poll.Stop()
	reconcile := time.NewTicker(s.c.Reconcile)
	defer reconcile.Stop()
	all := true
	for ctx.Err() == nil {
		err := s.readOrders(ctx, all)
		if err == nil {
			if names, due := s.stockDue(); all || due {
				if all {
					names = nil
				}
				err = s.reconcile(ctx, names)
			}
		}
		if err != nil {
			s.failed(ctx, err, "shop not read; it is tried on")
			if !sleep(ctx, errorPause) {
				return
			}
			continue
		}
		all = false
		select {
		case <-ctx.Done():
		case <-poll.C:
		case <-s.look:
		case <-reconcile.C:
			all = true
		}
	}
}

// stockDue tells whose stock is to be read; none: all.
func (s *Shop) stockDue() (names []string, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.stock
	s.stock = false
	for sku := range s.doubts {
		names = append(names, cmp.Or(s.names[sku], string(sku)))
	}
	clear(s.doubts)
	if all {
		return nil, true
	}
	return names, len(names) > 0
}

// readOrders reads those that hooks spoke of, those that changed, and where all is
// asked for every one that is open: a fulfilment alone does not change its order.
func (s *Shop) readOrders(ctx context.Context, all bool) error {
	s.mu.Lock()
	var codes []string
	for c := range s.codes {
		codes = append(codes, c)
	}
	since := s.cursor
	s.mu.Unlock()
	for len(codes) > 0 {
		part := codes[:min(len(codes), ordersPage)]
		codes = codes[len(part):]
		if _, err := s.page(ctx, map[string]any{"code": map[string]any{"in": part}}); err != nil {
			return err
		}
		s.mu.Lock()
		for _, c := range part {
			delete(s.codes, c)
		}
		s.mu.Unlock()
	}
	newest, err := s.page(ctx, map[string]any{"updatedAt": map[string]any{"after": since.Add(-cursorOverlap)}, "orderPlacedAt": map[string]any{"isNull": false}})
	if err == nil && all {
		_, err = s.page(ctx, map[string]any{"state": map[string]any{"in": openStates}})
	}
	if err != nil || !newest.After(since) {
		return err
	}
	s.mu.Lock()
	s.cursor = newest
	s.mu.Unlock()
	return s.o.Facts.Save(ctx, factCursor+s.c.Name, newest)
}

// page takes all orders that a filter lets through, the oldest change first.
func (s *Shop) page(ctx context.Context, filter map[string]any) (newest time.Time, err error) {
	for skip := 0; ; skip += ordersPage {
		var r struct {
			Orders struct {
				Items []order `json:"items"`
			} `json:"orders"`
		}
		_, err := s.api.call(ctx, ordersQuery, map[string]any{"o": map[string]any{"filter": filter, "sort": map[string]any{"updatedAt": "ASC"}, "take": ordersPage, "skip": skip}}, &r)
		if err != nil {
			return newest, err
		}
		for i := range r.Orders.Items {
			o := &r.Orders.Items[i]
			if err := s.take(ctx, o); err != nil {
				return newest, err
			}
			if o.Updated.After(newest) {
				newest = o.Updated
			}
		}
		if len(r.Orders.Items) < ordersPage {
			return newest, nil
		}
	}
}

// take has an order take effect.
func (s *Shop) take(ctx context.Context, o *order) error {
	if o.Placed == nil { // a basket
		return nil
	}
	told, why := s.orderOf(ctx, o)
	if why != "" {
		return s.letters.Add(ctx, protocol.DeadLetter{ID: "order-" + o.Code, At: s.o.Now().UTC(), Kind: "order", Reason: why, Keys: []string{o.Code}})
	}
	if told == nil {
		return nil
	}
	s.taking.Lock()
	out, err := s.o.Desk.Take(ctx, told)
	s.mu.Lock()
	for _, l := range out.Went { // the shop took them off by itself
		s.sold[keyOf(l.SKU, l.Location)] += pieces(l.Quantity)
	}
	s.mu.Unlock()
	s.taking.Unlock()
	if err != nil {
		var p *protocol.Problem
		if errors.As(err, &p) && p.Status < 500 {
			return s.letters.Add(ctx, protocol.DeadLetter{ID: "order-" + o.Code, At: s.o.Now().UTC(), Kind: "order", Reason: err.Error(), Keys: []string{o.Code}})
		}
		return err
	}
	if out.News {
		s.mu.Lock()
		s.n.in++
		s.mu.Unlock()
		s.notes.Went(o.Code, "order "+o.State, s.o.Now())
	}
	if len(out.Problems) > 0 {
		return s.letters.Add(ctx, protocol.DeadLetter{ID: "order-" + o.Code, At: s.o.Now().UTC(), Kind: "order", Reason: strings.Join(out.Problems, "; "), Keys: []string{o.Code}})
	}
	return nil
}

// orderOf is an order as the desk takes it, or why it cannot.
func (s *Shop) orderOf(ctx context.Context, o *order) (*channel.Order, string) {
	out := &channel.Order{ID: o.Code}
	for _, l := range o.Lines {
		if l.Placed <= 0 {
			continue
		}
		sku, err := protocol.NormalizeSKU(l.Variant.SKU)
		if err != nil || l.Placed > int64(protocol.QuantityMax)/1000 {
			return nil, fmt.Sprintf("line %s: sku %q, quantity %d cannot be held", l.ID, l.Variant.SKU, l.Placed)
		}
		out.Lines = append(out.Lines, channel.OrderLine{ID: l.ID, SKU: sku, Quantity: protocol.Quantity(l.Placed * 1000), Location: s.placeOf(ctx, sku)})
		if gone := l.Placed - l.Quantity; gone > 0 {
			out.Parcels = append(out.Parcels, channel.Parcel{ID: "c" + l.ID, Cancelled: true, Total: true, Lines: map[string]protocol.Quantity{l.ID: protocol.Quantity(gone * 1000)}})
		}
	}
	if len(out.Lines) == 0 {
		return nil, ""
	}
	if len(out.Lines) > protocol.ReservationLinesMax {
		return nil, fmt.Sprintf("it has %d lines, at most %d can be held", len(out.Lines), protocol.ReservationLinesMax)
	}
	for _, f := range o.Fulfilments {
		if f.State == "Cancelled" {
			continue
		}
		p := channel.Parcel{ID: "f" + f.ID, Lines: map[string]protocol.Quantity{}}
		for _, l := range f.Lines {
			p.Lines[l.Line] += protocol.Quantity(l.Quantity * 1000)
		}
		out.Parcels = append(out.Parcels, p)
	}
	return out, ""
}

// placeOf guesses where the shop allocated a new order's line, which it does not
// tell: where it allocates most beyond what we hold for it. "" where the shop does not
// say: it is sourced by policy.
func (s *Shop) placeOf(ctx context.Context, sku protocol.SKU) protocol.StoreID {
	s.mu.Lock()
	places := len(s.ids)
	only := protocol.StoreID("")
	for loc := range s.ids {
		only = loc
	}
	s.mu.Unlock()
	if places == 1 {
		return only
	}
	levels, err := s.levels(ctx, []string{s.nameOf(sku)})
	if err != nil || len(levels) != 1 {
		return ""
	}
	best, most := protocol.StoreID(""), int64(0)
	for loc, l := range levels[0].at {
		_, held, err := s.expected(ctx, keyOf(sku, loc))
		if err != nil {
			return ""
		}
		if over := l.allocated - held; over > most || over == most && over > 0 && loc < best {
			best, most = loc, over
		}
	}
	return best
}

// hook is what the shop's plugin posts.
type hook struct {
	Type      string `json:"type"` // order.transition | stock.movement
	Code      string `json:"code"` // of the order
	Kind      string `json:"kind"`
	Movements []struct {
		Type string `json:"type"`
	} `json:"movements"`
}

// Deliver takes a hook: it says what to read, and is believed for nothing else.
func (s *Shop) Deliver(_ context.Context, h http.Header, body []byte) (protocol.WebhookReceipt, error) {
	if err := s.o.Verify(s.c.HookSecrets, h, body, s.o.Now(), hookTolerance); err != nil {
		return protocol.WebhookReceipt{}, channel.Unsigned(err)
	}
	id := h.Get("Webhook-Id")
	var k hook
	if err := json.Unmarshal(body, &k); err != nil {
		return protocol.WebhookReceipt{Status: "ignored", ID: id, Detail: "it is no JSON: " + err.Error()}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := protocol.WebhookReceipt{Status: "accepted", ID: id}
	switch {
	case k.Type == "stock.movement" && k.Kind == "ADJUSTMENT":
		if n := len(k.Movements); n > 0 && n <= s.echoes { // what we wrote ourselves
			s.echoes -= n
			s.n.echoes += uint64(n)
			r.Status, r.Detail = "ignored", "it is the echo of our own write"
			return r, nil
		}
		s.stock = true
	case k.Code != "":
		s.codes[k.Code] = true
	default:
		s.stock = true
	}
	ring(s.look)
	return r, nil
}

// Retry tells a number again, or reads an order again.
func (s *Shop) Retry(ctx context.Context, d *protocol.DeadLetter) error {
	if d.Kind == "order" {
		_, err := s.page(ctx, map[string]any{"code": map[string]any{"in": d.Keys}})
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range d.Keys {
		key := strings.ReplaceAll(k, " @ ", "\x00")
		delete(s.told, key)
		if err := s.teller.Again(key); err != nil {
			return err
		}
	}
	return nil
}
