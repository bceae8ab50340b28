package aggregator

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"tillwire/aggregator/channel/marketplace"
	"tillwire/protocol"
)

// WebhooksConfig says whom outbound webhooks may call.
type WebhooksConfig struct {
	AllowNetworks []string `toml:"allow_networks" help:"networks that webhooks may call though they are not public, e.g. 10.1.0.0/16"`
	AllowHTTP     bool     `toml:"allow_http" help:"webhooks may call http addresses, too"`
}

// ChannelsConfig names the commerce systems and marketplaces.
type ChannelsConfig struct {
	Vendure      []VendureConfig     `toml:"vendure"`
	Shopify      []ShopifyConfig     `toml:"shopify"`
	Marketplaces []MarketplaceConfig `toml:"marketplaces"`
}

// VendureConfig is one Vendure shop.
type VendureConfig struct {
	Name           string         `toml:"name"`
	AdminURL       string         `toml:"admin_url"` // https://shop.example/admin-api
	User           string         `toml:"user"`
	Password       string         `toml:"password" secret:"true"`
	PasswordFile   string         `toml:"password_file"`
	Channel        string         `toml:"channel"`      // ours: whose availability; "" = name
	Fulfilment     string         `toml:"fulfilment"`   // delivery (default), ship_from_store or pickup
	HookSecrets    []string       `toml:"hook_secrets"` // whsec_…, of the shop's plugin
	Rate           float64        `toml:"rate"`         // mutations per second
	Burst          int            `toml:"burst"`
	BatchMax       int            `toml:"batch_max"`
	SLA            Duration       `toml:"sla"`
	PollEvery      Duration       `toml:"poll_every"`
	ReconcileEvery Duration       `toml:"reconcile_every"`
	Places         []PartnerPlace `toml:"places"`
}

// ShopifyConfig is one Shopify shop.
type ShopifyConfig struct {
	Name       string         `toml:"name"`
	Domain     string         `toml:"domain"` // x.myshopify.com
	Secrets    []string       `toml:"secrets"`
	Channel    string         `toml:"channel"`
	Fulfilment string         `toml:"fulfilment"`
	Location   string         `toml:"location"` // of orders that name none; "": sourced by policy
	StaleAfter Duration       `toml:"stale_after"`
	Places     []PartnerPlace `toml:"places"`
}

// MarketplaceConfig is one account at one marketplace.
type MarketplaceConfig struct {
	Name         string         `toml:"name"`
	Kind         string         `toml:"kind"`     // amazon-listings or amazon-external-fulfillment
	Endpoint     string         `toml:"endpoint"` // https://sellingpartnerapi-eu.amazon.com
	Account      string         `toml:"account"`  // seller id
	Marketplace  string         `toml:"marketplace"`
	ProductType  string         `toml:"product_type"`
	Channel      string         `toml:"channel"`
	Locations    []string       `toml:"locations"`     // listings: whose stock counts; none: all
	ListingsFile string         `toml:"listings_file"` // sku,partner sku per line; none: every article
	TokenURL     string         `toml:"token_url"`     // https://api.amazon.com/auth/o2/token
	ClientID     string         `toml:"client_id"`
	ClientSecret string         `toml:"client_secret" secret:"true"`
	RefreshToken string         `toml:"refresh_token" secret:"true"`
	Rate         float64        `toml:"rate"` // calls per second; 0: what the partner publishes
	Burst        int            `toml:"burst"`
	MinInterval  Duration       `toml:"min_interval"`
	DailyPerItem int            `toml:"daily_per_item"`
	BatchMax     int            `toml:"batch_max"`
	SLA          Duration       `toml:"sla"`
	Places       []PartnerPlace `toml:"places"`
}

// PartnerPlace names one location as the partner knows it.
type PartnerPlace struct {
	Location string `toml:"location"`
	ID       string `toml:"id"`
}

const slaUsual = 5 * time.Minute

func (d Duration) or(usual time.Duration) time.Duration {
	if d == 0 {
		return usual
	}
	return time.Duration(d)
}

func (c *ChannelsConfig) check() error {
	seen := map[string]bool{}
	named := func(section, name string, places []PartnerPlace) error {
		if err := protocol.CheckName(name); err != nil {
			return fmt.Errorf("channels.%s: name %q %w", section, name, err)
		}
		if seen[name] {
			return fmt.Errorf("channels.%s: name %q stands twice; connectors share one list", section, name)
		}
		seen[name] = true
		for _, p := range places {
			if err := protocol.CheckName(p.Location); err != nil || p.ID == "" {
				return fmt.Errorf("channels.%s %s: places need a location and the partner's id of it, got %q and %q", section, name, p.Location, p.ID)
			}
		}
		return nil
	}
	for i := range c.Vendure {
		v := &c.Vendure[i]
		if err := errors.Join(named("vendure", v.Name, v.Places), address("vendure", v.Name, "admin_url", v.AdminURL), fulfilment("vendure", v.Name, v.Fulfilment)); err != nil {
			return err
		}
		if len(v.Places) == 0 || v.User == "" || (v.Password == "") == (v.PasswordFile == "") {
			return fmt.Errorf("channels.vendure %s: user, one of password and password_file, and at least one of places are needed", v.Name)
		}
		if v.Rate < 0 || v.Burst < 0 || v.BatchMax < 0 || v.PollEvery < 0 || v.ReconcileEvery < 0 || v.SLA < 0 {
			return fmt.Errorf("channels.vendure %s: rate, burst, batch_max and durations cannot be below 0", v.Name)
		}
	}
	for i := range c.Shopify {
		s := &c.Shopify[i]
		if err := errors.Join(named("shopify", s.Name, s.Places), fulfilment("shopify", s.Name, s.Fulfilment)); err != nil {
			return err
		}
		if len(s.Secrets) == 0 || s.Secrets[0] == "" {
			return fmt.Errorf("channels.shopify %s: secrets is empty; copy the app's client secret", s.Name)
		}
	}
	for i := range c.Marketplaces {
		m := &c.Marketplaces[i]
		if err := errors.Join(named("marketplaces", m.Name, m.Places), address("marketplaces", m.Name, "endpoint", m.Endpoint)); err != nil {
			return err
		}
		if m.Kind != marketplace.KindListings && m.Kind != marketplace.KindFulfillment {
			return fmt.Errorf("channels.marketplaces %s: kind %q is not %s or %s", m.Name, m.Kind, marketplace.KindListings, marketplace.KindFulfillment)
		}
		if m.Account == "" || m.Marketplace == "" {
			return fmt.Errorf("channels.marketplaces %s: account (the seller id) and marketplace (the store's id) are needed", m.Name)
		}
		if m.Rate < 0 || m.Burst < 0 || m.BatchMax < 0 || m.DailyPerItem < 0 || m.MinInterval < 0 || m.SLA < 0 {
			return fmt.Errorf("channels.marketplaces %s: rate, burst, batch_max, daily_per_item and durations cannot be below 0", m.Name)
		}
	}
	return nil
}

func address(section, name, key, s string) error {
	if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("channels.%s %s: %s %q is not an http or https address", section, name, key, s)
	}
	return nil
}

func fulfilment(section, name, f string) error {
	switch f {
	case "", protocol.FulfilmentDelivery, protocol.FulfilmentShip, protocol.FulfilmentPickup:
		return nil
	}
	return fmt.Errorf("channels.%s %s: fulfilment %q is not %s, %s or %s", section, name, f, protocol.FulfilmentDelivery, protocol.FulfilmentShip, protocol.FulfilmentPickup)
}
