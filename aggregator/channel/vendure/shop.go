package vendure

import (
	"context"
	"errors"
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

// Config is one shop.
type Config struct {
	Name           string
	AdminURL       string // of the admin API
	User, Password string
	Channel        string
	Places         map[string]protocol.StoreID // by the name of Vendure's stock location
	HookSecrets    [][]byte
	Limit          gateway.Limit // fields that are 0 are the usual
	TargetS        float64
	Poll           time.Duration // for new orders
	Reconcile      time.Duration // for all stock
}

// Options are what the shop works with.
type Options struct {
	Now    func() time.Time
	Log    zerolog.Logger
	Source channel.Source
	Facts  channel.Facts
	Desk   *channel.Desk
	// Position tells what the channel may sell of an article at a location, and what is
	// held there for the channel's own orders.
	Position func(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, channel string) (available, held protocol.Quantity, err error)
	// Verify believes a hook, or says why not.
	Verify func(secrets [][]byte, h http.Header, body []byte, now time.Time, tolerance time.Duration) error
	Client *http.Client // nil: the usual
}

// Shop keeps one shop and the chain together.
type Shop struct {
	c       Config
	o       Options
	api     *admin
	letters *channel.DeadLetters
	notes   channel.Notes
	teller  channel.Teller
	look    chan struct{} // orders, and stock, are to be read

	taking sync.RWMutex // held while an order takes effect: numbers of one moment are told

	mu       sync.Mutex                  // guards what follows, and the teller's lane
	variants map[protocol.SKU]string     // id by article
	places   map[string]protocol.StoreID // ours by Vendure's id
	ids      map[protocol.StoreID]string
	told     map[string]int64      // pieces on hand, as last seen or accepted
	sold     map[string]int64      // pieces that orders took off it since
	doubts   map[protocol.SKU]bool // articles of which the shop shows what nothing explains
	sure     map[string]bool       // differences that a second look confirmed
	diverged map[string]*protocol.Divergence
	names    map[protocol.SKU]string // by article, where the shop spells it otherwise
	codes    map[string]bool         // orders that hooks spoke of
	stock    bool                    // all stock is to be read
	echoes   int                     // adjustments that our own writes will be heard as
	cursor   time.Time               // newest order read
	n        struct{ in, duplicates, echoes uint64 }
}

const (
	factLetters = "channel/letters/"
	factCursor  = "channel/cursor/"
)

// New makes it.
func New(c Config, o Options) (*Shop, error) {
	l := gateway.Limit{Rate: rateUsual, Burst: burstUsual, BatchMax: batchUsual, MinIntervalUS: c.Limit.MinIntervalUS}
	if c.Limit.Rate > 0 {
		l.Rate = c.Limit.Rate
	}
	if c.Limit.Burst > 0 {
		l.Burst = c.Limit.Burst
	}
	if c.Limit.BatchMax > 0 {
		l.BatchMax = c.Limit.BatchMax
	}
	if c.Poll == 0 {
		c.Poll = pollUsual
	}
	if c.Reconcile == 0 {
		c.Reconcile = reconcileUsual
	}
	s := &Shop{
		c: c, o: o, look: make(chan struct{}, 1),
		variants: map[protocol.SKU]string{}, places: map[string]protocol.StoreID{}, ids: map[protocol.StoreID]string{}, told: map[string]int64{}, sold: map[string]int64{}, doubts: map[protocol.SKU]bool{}, sure: map[string]bool{},
		diverged: map[string]*protocol.Divergence{}, names: map[protocol.SKU]string{}, codes: map[string]bool{},
	}
	s.teller = channel.Teller{Name: c.Name, Source: o.Source, Facts: o.Facts, Log: o.Log, Now: o.Now, Mark: s.mark, Tell: s.tell, Mu: &s.mu}
	client := o.Client
	if client == nil {
		client = channel.NewClient(nil, channel.CallTimeout)
	}
	s.api = &admin{url: c.AdminURL, user: c.User, password: c.Password, client: client}
	var err error
	if s.letters, err = channel.OpenDeadLetters(o.Facts, factLetters+c.Name); err != nil {
		return nil, err
	}
	return s, errors.Join(s.teller.Open(l), o.Facts.Load(factCursor+c.Name, &s.cursor))
}

// Run serves until ctx ends. A shop that is away is waited for.
func (s *Shop) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := s.begin(ctx)
		if err == nil {
			break
		}
		s.failed(ctx, err, "shop not read; it is tried on")
		if !sleep(ctx, errorPause) {
			return nil
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	var wg sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	wg.Go(func() { s.watch(ctx) })
	err := s.teller.Run(ctx)
	stop()
	wg.Wait()
	return err
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (s *Shop) failed(ctx context.Context, err error, words string) {
	if ctx.Err() == nil && s.notes.Failed(err, s.o.Now()) {
		s.o.Log.Warn().Err(err).Str("connector", s.c.Name).Msg(words)
	}
}

// begin reads what does not change often: stock locations and variants.
func (s *Shop) begin(ctx context.Context) error {
	var r struct {
		StockLocations struct {
			Items []struct{ ID, Name string } `json:"items"`
		} `json:"stockLocations"`
	}
	if _, err := s.api.call(ctx, `{stockLocations(options:{take:1000}){items{id name}}}`, nil, &r); err != nil {
		return err
	}
	s.mu.Lock()
	for _, l := range r.StockLocations.Items {
		if loc, ok := s.c.Places[l.Name]; ok {
			s.places[l.ID], s.ids[loc] = loc, l.ID
		}
	}
	n := len(s.places)
	s.mu.Unlock()
	if n < len(s.c.Places) {
		return fmt.Errorf("%w: %d of the %d stock locations that the configuration names are not there; their names must be the same", errRefused, len(s.c.Places)-n, len(s.c.Places))
	}
	levels, err := s.levels(ctx, nil)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range levels {
		s.variants[levels[i].sku] = levels[i].id
	}
	return nil
}

// ring wakes whoever waits at a bell.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// keyOf and splitKey are of one article at one location.
func keyOf(sku protocol.SKU, loc protocol.StoreID) string { return string(sku) + "\x00" + string(loc) }

func splitKey(key string) (protocol.SKU, protocol.StoreID) {
	a, b, _ := strings.Cut(key, "\x00")
	return protocol.SKU(a), protocol.StoreID(b)
}

// Status tells how it stands.
func (s *Shop) Status() protocol.Connector {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := protocol.Connector{
		Name: s.c.Name, Kind: "vendure", Direction: protocol.ConnectorBoth, In: s.n.in, Duplicates: s.n.duplicates, Echoes: s.n.echoes,
		DeadLetters: s.letters.Len(), Divergences: s.open(),
	}
	s.teller.Fill(&c, "", "updateProductVariants", s.c.TargetS)
	s.notes.Fill(&c)
	if len(s.places) < len(s.c.Places) && c.State == protocol.ConnectorOK {
		c.State = protocol.ConnectorStarting
	}
	return c
}

// open counts the divergences that are still there. The caller holds mu.
func (s *Shop) open() (n int) {
	for _, d := range s.diverged {
		if d.CorrectedAt == nil {
			n++
		}
	}
	return n
}

// Letters are the orders that could not be held, and the numbers that were refused.
func (s *Shop) Letters() *channel.DeadLetters { return s.letters }
