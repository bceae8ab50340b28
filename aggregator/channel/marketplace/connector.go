package marketplace

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tillwire/aggregator/channel"
	"tillwire/aggregator/channel/gateway"
	"tillwire/protocol"
)

// Config is one account at one marketplace.
type Config struct {
	Name, Kind  string
	Endpoint    string                      // of the API, without path
	Account     string                      // seller id
	Marketplace string                      // id of the store, such as A1PA6795UKMFR9
	ProductType string                      // of listings
	Channel     string                      // whose availability is told
	Locations   []protocol.StoreID          // listings: whose stock counts; none: all
	Places      map[protocol.StoreID]string // fulfilment: the partner's id per location
	Listings    map[protocol.SKU]string     // the partner's SKU; nil: every article, under our own
	Limit       gateway.Limit               // fields that are 0 are the dialect's
	TargetS     float64                     // age within which a change should be accepted
	Login       Login
}

// Options are what the connector works with.
type Options struct {
	Now       func() time.Time
	Log       zerolog.Logger
	Source    channel.Source
	Facts     channel.Facts
	Available func(sku protocol.SKU, at []protocol.StoreID, channel string) (protocol.Quantity, bool)
	Client    *http.Client // nil: the usual
}

// Connector tells one marketplace.
type Connector struct {
	c       Config
	o       Options
	d       *dialect
	client  *http.Client
	tokens  *tokens
	letters *channel.DeadLetters
	notes   channel.Notes
	teller  channel.Teller

	mu    sync.Mutex // guards what follows, and the teller's lane
	told  map[string]int64
	drift gateway.Drift
}

const factLetters = "channel/letters/"

// New makes a connector.
func New(c Config, o Options) (*Connector, error) {
	d := dialects[c.Kind]
	if d == nil {
		return nil, fmt.Errorf("marketplace %s: kind %q is not %s or %s", c.Name, c.Kind, KindListings, KindFulfillment)
	}
	l := d.limit
	if c.Limit.Rate > 0 {
		l.Rate = c.Limit.Rate
	}
	if c.Limit.Burst > 0 {
		l.Burst = c.Limit.Burst
	}
	if c.Limit.BatchMax > 0 {
		l.BatchMax = min(c.Limit.BatchMax, l.BatchMax)
	}
	l.DailyPerItem, l.MinIntervalUS = c.Limit.DailyPerItem, c.Limit.MinIntervalUS
	m := &Connector{c: c, o: o, d: d, client: o.Client, told: map[string]int64{}}
	m.teller = channel.Teller{Name: c.Name, Source: o.Source, Facts: o.Facts, Log: o.Log, Now: o.Now, Mark: m.mark, Tell: m.tell, Mu: &m.mu}
	if m.client == nil {
		m.client = channel.NewClient(nil, channel.CallTimeout)
	}
	m.tokens = &tokens{login: c.Login, client: m.client, now: o.Now}
	var err error
	if m.letters, err = channel.OpenDeadLetters(o.Facts, factLetters+c.Name); err != nil {
		return nil, err
	}
	return m, m.teller.Open(l)
}

// Run follows the changes and tells them.
func (m *Connector) Run(ctx context.Context) error { return m.teller.Run(ctx) }

// mark puts what changed in line, unless the partner has that number already.
func (m *Connector) mark(skus []protocol.SKU, us int64, after uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, sku := range skus {
		for _, key := range m.keysOf(sku) {
			if n, ok := m.told[key]; ok && !m.teller.Lane.Owes(key) {
				if now, _ := m.offerOf(key); now.quantity == n {
					continue
				}
			}
			m.teller.Put(key, us, after)
		}
	}
}

// keysOf are the listings of an article: SKU, or SKU, zero byte, location.
func (m *Connector) keysOf(sku protocol.SKU) []string {
	if m.c.Listings != nil {
		if _, ok := m.c.Listings[sku]; !ok {
			return nil
		}
	}
	if m.c.Kind == KindListings {
		return []string{string(sku)}
	}
	keys := make([]string, 0, len(m.c.Places))
	for loc := range m.c.Places {
		keys = append(keys, string(sku)+"\x00"+string(loc))
	}
	return keys
}

// offerOf is a key's number now.
func (m *Connector) offerOf(key string) (offer, bool) {
	sku, loc, _ := strings.Cut(key, "\x00")
	o := offer{key: key, sku: sku, place: m.c.Places[protocol.StoreID(loc)], seq: m.o.Now().UnixMicro()}
	if name, ok := m.c.Listings[protocol.SKU(sku)]; ok {
		o.sku = name
	}
	at := m.c.Locations
	if loc != "" {
		at = []protocol.StoreID{protocol.StoreID(loc)}
	}
	q, ok := m.o.Available(protocol.SKU(sku), at, m.c.Channel)
	o.quantity = units(q)
	return o, ok
}

// Status tells how it stands.
func (m *Connector) Status() protocol.Connector {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := protocol.Connector{Name: m.c.Name, Kind: m.c.Kind, Direction: protocol.ConnectorOut, Drift: m.drift.List(), DeadLetters: m.letters.Len()}
	m.teller.Fill(&c, m.c.Account, m.d.operation, m.c.TargetS)
	m.notes.Fill(&c)
	return c
}

// Deliver refuses: marketplaces are asked, they do not call.
func (m *Connector) Deliver(context.Context, http.Header, []byte) (protocol.WebhookReceipt, error) {
	return protocol.WebhookReceipt{}, channel.TakesNothing(m.c.Name)
}

// Letters are the listings that the partner refused.
func (m *Connector) Letters() *channel.DeadLetters { return m.letters }

// Retry tells a refused listing again.
func (m *Connector) Retry(_ context.Context, d *protocol.DeadLetter) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range d.Keys {
		key := strings.ReplaceAll(k, " @ ", "\x00")
		delete(m.told, key)
		if err := m.teller.Again(key); err != nil {
			return err
		}
	}
	return nil
}

// Divergences are not known: marketplaces are not read back.
func (m *Connector) Divergences() []protocol.Divergence { return nil }
