package aggregator

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/aggregator/channel/marketplace"
	"tillwire/aggregator/channel/shopify"
	"tillwire/aggregator/channel/vendure"
	"tillwire/aggregator/channel/webhook"
	"tillwire/aggregator/feed"
	"tillwire/aggregator/reserve"
	"tillwire/protocol"
)

// partners are the outer systems that the configuration names, as the API asks them.
type partners struct {
	list  []channel.Partner
	names []string
}

// openPartners makes a connector for each.
func (a *Aggregator) openPartners() error {
	add := func(name string, p channel.Partner, err error) error {
		if err == nil {
			a.partners.list, a.partners.names = append(a.partners.list, p), append(a.partners.names, name)
		}
		return err
	}
	c := &a.cfg.Channels
	for i := range c.Vendure {
		p, err := a.vendure(&c.Vendure[i])
		if err := add(c.Vendure[i].Name, p, err); err != nil {
			return err
		}
	}
	for i := range c.Shopify {
		p, err := a.shopify(&c.Shopify[i])
		if err := add(c.Shopify[i].Name, p, err); err != nil {
			return err
		}
	}
	for i := range c.Marketplaces {
		p, err := a.marketplace(&c.Marketplaces[i])
		if err := add(c.Marketplaces[i].Name, p, err); err != nil {
			return err
		}
	}
	return nil
}

func (p *partners) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, x := range p.list {
		g.Go(func() error { return x.Run(ctx) })
	}
	return g.Wait()
}

// source is what changed, for those who tell it on.
func (a *Aggregator) source() channel.Source {
	return channel.Source{Now: a.deps.Now, Model: a.model, Touched: a.touched, Everything: a.model.After}
}

// desk turns a channel's orders into reservations.
func (a *Aggregator) desk(name, ch, fulfilment string) *channel.Desk {
	command := func(what reserve.Command) func(context.Context, string) (protocol.Reservation, error) {
		return func(ctx context.Context, id string) (protocol.Reservation, error) {
			return a.ingest.Command(ctx, id, what, 0)
		}
	}
	return &channel.Desk{
		Name: name, Channel: cmp.Or(ch, name), Fulfilment: cmp.Or(fulfilment, protocol.FulfilmentDelivery), Facts: a.facts(),
		Book: channel.Reservations{
			Reserve: a.ingest.Reserve, Confirm: command(reserve.Confirm), Release: command(reserve.Release), Fulfil: command(reserve.Fulfil),
			Split: a.ingest.Split, Get: a.ingest.Reservation,
		},
	}
}

func (a *Aggregator) vendure(c *VendureConfig) (channel.Partner, error) {
	password := c.Password
	if c.PasswordFile != "" {
		b, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("channels.vendure %s: password_file: %w", c.Name, err)
		}
		password = strings.TrimSpace(string(b))
	}
	var secrets [][]byte
	for _, s := range c.HookSecrets {
		b, err := webhook.DecodeSecret(s)
		if err != nil {
			return nil, fmt.Errorf("channels.vendure %s: hook_secrets: %w", c.Name, err)
		}
		secrets = append(secrets, b)
	}
	places := map[string]protocol.StoreID{}
	for _, p := range c.Places {
		places[p.ID] = protocol.StoreID(p.Location)
	}
	return vendure.New(vendure.Config{
		Name: c.Name, AdminURL: c.AdminURL, User: c.User, Password: password, Channel: cmp.Or(c.Channel, c.Name), Places: places, HookSecrets: secrets,
		Limit:   gateway.Limit{Rate: c.Rate, Burst: c.Burst, BatchMax: c.BatchMax},
		TargetS: c.SLA.or(slaUsual).Seconds(), Poll: time.Duration(c.PollEvery), Reconcile: time.Duration(c.ReconcileEvery),
	}, vendure.Options{
		Now: a.deps.Now, Log: a.deps.Log, Source: a.source(), Facts: a.facts(), Desk: a.desk(c.Name, c.Channel, c.Fulfilment),
		Position: a.ownPosition(c.Name), Verify: webhook.Verify,
	})
}

// ownPosition tells what a channel may sell at a place, and what is held there for a
// connector's own orders. Both are of one moment: what is held is asked before and
// after.
func (a *Aggregator) ownPosition(name string) func(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, ch string) (available, held protocol.Quantity, err error) {
	own := func(ctx context.Context, k reserve.Key) (sum protocol.Quantity, err error) {
		list, err := a.ingest.HoldsAt(ctx, k)
		for i := range list {
			if strings.HasPrefix(list[i].ReservationID, name+".") {
				sum += list[i].Reserved + list[i].Allocated
			}
		}
		return sum, err
	}
	return func(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, ch string) (available, held protocol.Quantity, err error) {
		k := reserve.Key{Location: loc, SKU: sku}
		for range 5 {
			if held, err = own(ctx, k); err != nil {
				return 0, 0, err
			}
			available, _ = a.available(sku, []protocol.StoreID{loc}, ch)
			after, err := own(ctx, k)
			if err != nil {
				return 0, 0, err
			}
			if after == held {
				break
			}
			held = min(held, after) // rather too little than sold twice
		}
		return available, held, nil
	}
}

// available is what a channel may sell of an article at some places; nil: at all.
func (a *Aggregator) available(sku protocol.SKU, at []protocol.StoreID, ch string) (protocol.Quantity, bool) {
	v, ok := a.model.GetFor(sku, at, ch)
	return v.Totals.Available, ok
}

func (a *Aggregator) shopify(c *ShopifyConfig) (channel.Partner, error) {
	places := map[string]protocol.StoreID{}
	for _, p := range c.Places {
		places[p.ID] = protocol.StoreID(p.Location)
	}
	return shopify.New(shopify.Config{
		Name: c.Name, Domain: c.Domain, Secrets: c.Secrets, Channel: cmp.Or(c.Channel, c.Name), Default: protocol.StoreID(c.Location), Places: places, StaleAge: time.Duration(c.StaleAfter),
	}, shopify.Options{Now: a.deps.Now, Log: a.deps.Log, Facts: a.facts(), Desk: a.desk(c.Name, c.Channel, c.Fulfilment)})
}

func (a *Aggregator) marketplace(c *MarketplaceConfig) (channel.Partner, error) {
	m := marketplace.Config{
		Name: c.Name, Kind: c.Kind, Endpoint: c.Endpoint, Account: c.Account, Marketplace: c.Marketplace, ProductType: cmp.Or(c.ProductType, "PRODUCT"),
		Channel: cmp.Or(c.Channel, c.Name), Places: map[protocol.StoreID]string{}, TargetS: c.SLA.or(slaUsual).Seconds(),
		Limit: gateway.Limit{Rate: c.Rate, Burst: c.Burst, MinIntervalUS: time.Duration(c.MinInterval).Microseconds(), DailyPerItem: c.DailyPerItem, BatchMax: c.BatchMax},
		Login: marketplace.Login{TokenURL: c.TokenURL, ClientID: c.ClientID, ClientSecret: c.ClientSecret, RefreshToken: c.RefreshToken},
	}
	for _, l := range c.Locations {
		m.Locations = append(m.Locations, protocol.StoreID(l))
	}
	for _, p := range c.Places {
		m.Places[protocol.StoreID(p.Location)] = p.ID
	}
	if m.Kind == marketplace.KindFulfillment && len(m.Places) == 0 {
		return nil, fmt.Errorf("channels.marketplaces %s: kind %s needs places: which location is which supply source", c.Name, c.Kind)
	}
	if c.ListingsFile != "" {
		var err error
		if m.Listings, err = listings(c.ListingsFile); err != nil {
			return nil, fmt.Errorf("channels.marketplaces %s: listings_file: %w", c.Name, err)
		}
	}
	return marketplace.New(m, marketplace.Options{Now: a.deps.Now, Log: a.deps.Log, Source: a.source(), Facts: a.facts(), Available: a.available})
}

// listings reads which articles a partner lists, and under which SKU of its own.
func listings(path string) (map[protocol.SKU]string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[protocol.SKU]string{}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		ours, theirs, _ := strings.Cut(strings.TrimSpace(line), ",")
		if ours = strings.TrimSpace(ours); ours == "" || strings.HasPrefix(ours, "#") {
			continue
		}
		sku, err := protocol.NormalizeSKU(ours)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: sku %q %w", path, n, ours, err)
		}
		out[sku] = cmp.Or(strings.TrimSpace(theirs), ours)
	}
	return out, nil
}

// connectors are the partners, and the feeds that only come in.
type connectors struct {
	*partners
	feeds *feed.Desk
	desk  desk
}

// ReplayFeed has a watched folder read its files again.
func (c connectors) ReplayFeed(ctx context.Context, name string, from time.Time, who string) (int, error) {
	n, err := c.feeds.Replay(name, from)
	c.desk.record(ctx, who, "feed.replay", name, "from "+from.UTC().Format(time.RFC3339), nil, map[string]int{"files": n}, err)
	return n, err
}

// Connectors tells how each stands.
func (c connectors) Connectors() []protocol.Connector {
	return append(c.partners.Connectors(), c.feeds.Connectors()...)
}

// Connectors tells how each stands.
func (p *partners) Connectors() []protocol.Connector {
	out := make([]protocol.Connector, len(p.list))
	for i, x := range p.list {
		out[i] = x.Status()
	}
	return out
}

func (p *partners) find(name string) (channel.Partner, error) {
	for i, n := range p.names {
		if n == name {
			return p.list[i], nil
		}
	}
	return nil, protocol.NewProblem(http.StatusNotFound, "unknown_connector", "No such connector", name, "name it in [channels] of the configuration; GET /v1/connectors lists those that are")
}

// Deliver passes on what a partner posts.
func (p *partners) Deliver(ctx context.Context, name string, h http.Header, body []byte) (protocol.WebhookReceipt, error) {
	x, err := p.find(name)
	if err != nil {
		return protocol.WebhookReceipt{}, err
	}
	return x.Deliver(ctx, h, body)
}

// LettersOf lists what of a partner could not take effect.
func (p *partners) LettersOf(name string) ([]protocol.DeadLetter, error) {
	x, err := p.find(name)
	if err != nil {
		return nil, err
	}
	return x.Letters().List(), nil
}

// DecideLetter has a dead letter take effect, or forgets it.
func (p *partners) DecideLetter(ctx context.Context, name, letter string, retry bool) (protocol.DeadLetter, error) {
	x, err := p.find(name)
	if err != nil {
		return protocol.DeadLetter{}, err
	}
	d, ok := x.Letters().Get(letter)
	if !ok {
		return d, channel.NoSuchLetter(letter)
	}
	if retry {
		if err := x.Retry(ctx, &d); err != nil {
			return d, protocol.NewProblem(http.StatusConflict, "still_refused", "It still cannot take effect", err.Error(), "mend what it names, or discard it: DELETE")
		}
	}
	_, _, err = x.Letters().Remove(ctx, letter)
	return d, err
}

// Divergences lists what a partner shows otherwise than it should.
func (p *partners) Divergences(name string) ([]protocol.Divergence, error) {
	x, err := p.find(name)
	if err != nil {
		return nil, err
	}
	return x.Divergences(), nil
}
