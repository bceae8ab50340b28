package aggregator

import (
	"context"
	"fmt"
	"net/netip"

	"tillwire/aggregator/availability"
	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/webhook"
	"tillwire/protocol"
)

// facts are what channels keep in the ledger.
func (a *Aggregator) facts() channel.Facts {
	return channel.Facts{Read: a.ledger.Fact, Put: a.ingest.PutFact}
}

// openWebhooks makes the hub of outbound webhooks.
func (a *Aggregator) openWebhooks() error {
	guard, err := a.cfg.Webhooks.guard()
	if err != nil {
		return err
	}
	if a.cfg.Dev { // whose receivers are of this machine
		guard.Allow = append(guard.Allow, netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))
	}
	a.hub, err = webhook.Open(webhook.Options{
		Now: a.deps.Now, Log: a.deps.Log, Availability: a.model, Facts: a.facts(), Secret: a.keys.WebhookSecret, Source: "urn:tillwire:" + a.ledgerID,
		Thresholds: a.passages, State: a.stateOf, Touched: a.touched, Everything: a.model.After, PositionAt: a.positionAt,
		Guard: guard, AllowHTTP: a.cfg.Webhooks.AllowHTTP || a.cfg.Dev,
	})
	if err != nil {
		return fmt.Errorf("open webhooks: %w", err)
	}
	return nil
}

// guard is who may be called.
func (c *WebhooksConfig) guard() (channel.Guard, error) {
	var g channel.Guard
	for _, s := range c.AllowNetworks {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return g, fmt.Errorf("webhooks.allow_networks: %q is not a network such as 10.1.0.0/16", s)
		}
		g.Allow = append(g.Allow, p)
	}
	return g, nil
}

// passages follows the passages between in, low and out for a webhook.
func (a *Aggregator) passages(ctx context.Context, ch string, locs []protocol.StoreID, emit func(reset bool, events []protocol.StateChange) error) error {
	sub, err := a.model.Subscribe(availability.Filter{States: true, Channel: ch, Locations: locs})
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		d, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		out := make([]protocol.StateChange, len(d.Events))
		for i := range d.Events {
			e := &d.Events[i]
			out[i] = protocol.StateChange{
				SKU: e.SKU, Channel: e.Channel, Location: e.Location, State: e.State.String(), Was: e.Was.String(), Available: e.Available, LowAt: e.LowAt, At: e.At,
			}
		}
		if err := emit(d.Reset, out); err != nil {
			return err
		}
	}
}

// stateOf is where an article stands now: in the chain, or at one location.
func (a *Aggregator) stateOf(sku protocol.SKU, loc protocol.StoreID, ch string) (protocol.StateChange, bool) {
	var at []protocol.StoreID
	if loc != "" {
		at = []protocol.StoreID{loc}
	}
	v, ok := a.model.GetFor(sku, at, ch)
	if !ok {
		return protocol.StateChange{}, false
	}
	low := a.rules.For(sku, 0).For(loc).LowAt
	if loc == "" {
		low = a.rules.For(sku, 0).Default.LowAt
	}
	if ch != "" {
		low = a.rules.LowAt(sku, loc, ch)
	}
	c := protocol.StateChange{SKU: sku, Channel: ch, Location: loc, Available: v.Totals.Available, LowAt: low, At: v.AsOf}
	c.State = availability.Judge(c.Available, low).String()
	return c, true
}
