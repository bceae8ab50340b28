package aggregator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"tillwire/aggregator/feed"
	"tillwire/protocol"
	"tillwire/protocol/csvdoc"
	"tillwire/protocol/edi"
	"tillwire/protocol/epcis"
	"tillwire/store/ledger"
)

// FeedConfig is one watched folder into which an outer system drops files.
type FeedConfig struct {
	Name        string        `toml:"name"` // the source, as in reconcile.owners
	Kind        string        `toml:"kind"` // csv, edi, epcis, json or poslog
	Dir         string        `toml:"dir"`  // done, failed and taken are made in it
	Poll        Duration      `toml:"poll"`
	Location    string        `toml:"location"`            // whose stock it is where a document names no place
	Zone        string        `toml:"zone"`                // of the partner's clock, e.g. Europe/Berlin
	Clockless   string        `toml:"clockless"`           // dates without a time: park (default) or end_of_day
	Destination string        `toml:"unknown_destination"` // goods that leave for nowhere known: park (default) or sale
	Complete    bool          `toml:"complete"`            // a statement names all that is there
	Encoding    string        `toml:"encoding"`            // latin1; empty: as declared, else UTF-8
	ItemCodes   []string      `toml:"item_codes"`          // qualifiers of article numbers, the best first
	Places      []PlaceConfig `toml:"places"`

	CSV csvdoc.Mapping `toml:"csv"` // what the columns of a csv mean
}

// The policies of goods and of times that a document leaves open.
const (
	policyPark     = "park"
	policySale     = "sale"
	policyEndOfDay = "end_of_day"
)

func destination(key, s string) error {
	if s != "" && s != policyPark && s != policySale {
		return fmt.Errorf("%s %q is not park or sale", key, s)
	}
	return nil
}

func (f *FeedConfig) check() error {
	at := "feeds " + f.Name
	if err := protocol.CheckName(f.Name); err != nil {
		return fmt.Errorf("feeds: name %q %w", f.Name, err)
	}
	if !filepath.IsAbs(f.Dir) {
		return fmt.Errorf("%s: dir %q is not an absolute path", at, f.Dir)
	}
	switch f.Kind {
	case "epcis", "json":
	case "csv", "edi", "poslog":
		if f.Zone == "" {
			return fmt.Errorf("%s: zone is empty; files of kind %s write times without one, so say whose clock it is, e.g. Europe/Berlin", at, f.Kind)
		}
	default:
		return fmt.Errorf("%s: kind %q is not csv, edi, epcis, json or poslog", at, f.Kind)
	}
	if err := f.CSV.Check(); err != nil {
		return fmt.Errorf("%s: csv: %w", at, err)
	}
	if _, err := time.LoadLocation(f.Zone); err != nil {
		return fmt.Errorf("%s: zone %q is not known: %w", at, f.Zone, err)
	}
	if f.Kind == "poslog" && f.Location == "" {
		return fmt.Errorf("%s: location is empty; name the store of these tills", at)
	}
	if f.Location != "" {
		if err := protocol.CheckName(f.Location); err != nil {
			return fmt.Errorf("%s: location %q %w", at, f.Location, err)
		}
	}
	if f.Clockless != "" && f.Clockless != policyPark && f.Clockless != policyEndOfDay {
		return fmt.Errorf("%s: clockless %q is not park or end_of_day", at, f.Clockless)
	}
	if f.Encoding != "" && f.Encoding != "latin1" {
		return fmt.Errorf("%s: encoding %q is not latin1; leave it empty for UTF-8 and what files declare", at, f.Encoding)
	}
	if f.Poll < 0 {
		return fmt.Errorf("%s: poll cannot be below 0", at)
	}
	return errors.Join(destination(at+": unknown_destination", f.Destination), checkPlaces(at, f.Places))
}

func checkPlaces(at string, places []PlaceConfig) error {
	for _, p := range places {
		if err := protocol.CheckName(p.Location); err != nil || p.ID == "" {
			return fmt.Errorf("%s: places need a location and the partner's id of it, got %q and %q", at, p.Location, p.ID)
		}
	}
	return nil
}

func checkFeeds(list []FeedConfig, channels *ChannelsConfig) error {
	seen, dirs := map[string]bool{}, map[string]bool{}
	for i := range channels.Vendure {
		seen[channels.Vendure[i].Name] = true
	}
	for i := range channels.Shopify {
		seen[channels.Shopify[i].Name] = true
	}
	for i := range channels.Marketplaces {
		seen[channels.Marketplaces[i].Name] = true
	}
	for i := range list {
		f := &list[i]
		if err := f.check(); err != nil {
			return err
		}
		dir := filepath.Clean(f.Dir)
		if seen[f.Name] || dirs[dir] {
			return fmt.Errorf("feeds: name %q or folder %s stands twice; connectors share one list, and a folder has one reader", f.Name, dir)
		}
		seen[f.Name], dirs[dir] = true, true
	}
	return nil
}

// epcisOptions are what EPCIS senders leave open.
func (c *Config) epcisOptions() epcis.Options {
	return epcis.Options{Places: c.places(c.EPCIS.Places), SaleAway: c.EPCIS.Destination == policySale}
}

// places names locations by the partner's ids, and by their own names.
func (c *Config) places(list []PlaceConfig) epcis.Places {
	m := epcis.Places{}
	for _, s := range c.Stores {
		m[s.Store] = protocol.StoreID(s.Store)
	}
	for _, p := range list {
		m[p.ID] = protocol.StoreID(p.Location)
	}
	return m
}

func (c *Config) format(f *FeedConfig) (feed.Format, error) {
	zone, err := time.LoadLocation(f.Zone)
	if err != nil {
		return feed.Format{}, fmt.Errorf("feeds %s: zone: %w", f.Name, err)
	}
	places := c.places(c.EPCIS.Places)
	maps.Copy(places, c.places(f.Places))
	switch f.Kind {
	case "epcis":
		return feed.EPCISFiles(&epcis.Options{Places: places, SaleAway: f.Destination == policySale}), nil
	case "json":
		return feed.JSONFiles(), nil
	case "poslog":
		return feed.POSLogFiles(protocol.StoreID(f.Location), zone), nil
	case "csv":
		return feed.CSVFiles(&csvdoc.Options{
			Mapping: f.CSV, Store: protocol.StoreID(f.Location), Zone: zone, Feed: true, Places: places, Complete: f.Complete,
		}, f.Encoding), nil
	}
	return feed.EDI(&edi.Tables{
		Places: places, Location: protocol.StoreID(f.Location), Zone: zone, EndOfDay: f.Clockless == policyEndOfDay,
		SaleAway: f.Destination == policySale, Complete: f.Complete, Encoding: f.Encoding, ItemCodes: f.ItemCodes,
	}), nil
}

// openFeeds makes the desk and its watched folders. What it reads again for the
// door's retries needs nothing of the door.
func (a *Aggregator) openFeeds() error {
	var err error
	a.feeds, err = feed.New(feed.Options{
		Accept: a.accept,
		Fact:   a.ledger.Fact, EPCIS: a.cfg.epcisOptions(), Now: a.deps.Now,
	})
	if err != nil {
		return fmt.Errorf("open feeds: %w", err)
	}
	for i := range a.cfg.Feeds {
		c := &a.cfg.Feeds[i]
		f, err := a.cfg.format(c)
		if err != nil {
			return err
		}
		d, err := a.feeds.OpenDrop(c.Name, c.Dir, f, time.Duration(c.Poll), a.deps.Log)
		if err != nil {
			return err
		}
		a.drops = append(a.drops, d)
	}
	return nil
}

// knownFeeds shows the sources that the ledger knows.
func (a *Aggregator) knownFeeds(marks []ledger.Mark) {
	for _, m := range marks {
		if m.Origin.IsFeed() && m.Origin.Store != protocol.ChainStore && m.Origin.Agent != protocol.DecisionsOrigin.Agent && m.Origin.Agent != protocol.ReservationsOrigin.Agent {
			a.feeds.Known(string(m.Origin.Agent)[len(protocol.FeedAgentPrefix):], time.UnixMicro(m.MergedUS))
		}
	}
}

func (a *Aggregator) runFeeds(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range a.drops {
		g.Go(func() error { return d.Run(ctx) })
	}
	return g.Wait()
}
