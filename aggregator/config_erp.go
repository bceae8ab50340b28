package aggregator

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"tillwire/aggregator/poster"
	"tillwire/aggregator/posting"
	"tillwire/protocol"
)

// Kinds of ERPs.
const (
	ERPTryton = "tryton"
	ERPHTTP   = "http" // a small service that speaks for another ERP
)

// ERPConfig is one ERP that books what stores move. A list: [[erp]].
type ERPConfig struct {
	Name         string `toml:"name" help:"also the source of its statements and articles"`
	Kind         string `toml:"kind" help:"tryton, or http for a service of your own (aggregator/poster/generic/README.md)"`
	URL          string `toml:"url" help:"of the database (http://host:port/DATABASE/), or of the service"`
	User         string `toml:"user"`
	Password     string `toml:"password" secret:"true" help:"or, better, password_file"`
	PasswordFile string `toml:"password_file" help:"file that holds the password or token alone"`

	Window   string   `toml:"window" help:"daily: a business day is posted when it is over; interval: whatever there is"`
	Every    Duration `toml:"every" help:"a store is posted no more often; late events wait for it too"`
	Grace    Duration `toml:"grace" help:"daily: how long after a day's end it is posted"`
	DayEnds  Duration `toml:"day_ends" help:"after midnight: when the business day ends"`
	Timezone string   `toml:"timezone" help:"of days and periods, e.g. Europe/Berlin"`
	Closed   string   `toml:"closed" help:"of a closed period: redate posts to the first open day, park asks a person"`
	Opening  bool     `toml:"opening" help:"posts what is in a store when it is first connected; else the ERP's own number stands"`
	Lines    int      `toml:"lines" help:"of one document, at most 200"`
	Rate     float64  `toml:"rate" help:"lines per second at most; 0: as fast as the ERP answers"`

	Master    Duration `toml:"master" help:"how often articles, units and barcodes are read from it; 0 never (tryton)"`
	Kits      bool     `toml:"kits" help:"takes its bills of materials as kits: only where those are not produced ahead"`
	Statement Duration `toml:"statement" help:"how often its stock is compared with ours; 0 never (tryton)"`

	Customer string `toml:"customer" help:"code of the party that sales are booked to (tryton)"`
	Supplier string `toml:"supplier" help:"code of the party that receipts are booked from (tryton)"`
	Transit  string `toml:"transit" help:"code of the location of goods between stores (tryton)"`
	Lookup   bool   `toml:"lookup" help:"asks for a key before it is sent, for an ERP that only inserts (http)"`

	Stores []ERPStoreConfig `toml:"stores"`
}

// ERPStoreConfig is a store that the ERP books. A list: [[erp.stores]].
type ERPStoreConfig struct {
	Store      string `toml:"store"`
	Warehouse  string `toml:"warehouse"`  // its code there; empty: the store's own name
	Unsellable string `toml:"unsellable"` // code of a location for what is there but not sellable (tryton)
}

// complete puts defaults where nothing is said.
func (c *ERPConfig) complete() {
	for _, x := range []struct {
		field *string
		usual string
	}{{&c.Window, "daily"}, {&c.Timezone, "UTC"}, {&c.Closed, "redate"}, {&c.Customer, "WALKIN"}, {&c.Supplier, "SUPPLIER"}} {
		if *x.field == "" {
			*x.field = x.usual
		}
	}
	if c.Every == 0 {
		c.Every = Duration(15 * time.Minute)
	}
	if c.Lines == 0 {
		c.Lines = posting.LinesMax
	}
}

func (c *ERPConfig) check() error {
	if err := protocol.CheckName(c.Name); err != nil || c.Name == "store" {
		return fmt.Errorf("erp: name %q is not usable: 1 to 64 of A-Z a-z 0-9 -, and not store", c.Name)
	}
	bad := func(key, format string, args ...any) error {
		return fmt.Errorf("erp %s: %s %s", c.Name, key, fmt.Sprintf(format, args...))
	}
	if c.Kind != ERPTryton && c.Kind != ERPHTTP {
		return bad("kind", "%q is not tryton or http", c.Kind)
	}
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return bad("url", "is not http://host:port/… without a user in it")
	}
	if c.Kind == ERPTryton && (c.User == "" || strings.Trim(mustPath(c.URL), "/") == "") {
		return bad("user", "and the database in url are needed: http://host:port/DATABASE/")
	}
	if c.Password != "" && c.PasswordFile != "" {
		return bad("password", "and password_file are both set; leave one out")
	}
	if c.Window != "daily" && c.Window != "interval" {
		return bad("window", "%q is not daily or interval", c.Window)
	}
	if c.Closed != "redate" && c.Closed != "park" {
		return bad("closed", "%q is not redate or park", c.Closed)
	}
	if _, err := time.LoadLocation(c.Timezone); err != nil {
		return bad("timezone", "%q is not known; write it as Europe/Berlin", c.Timezone)
	}
	if c.Every < Duration(time.Second) || c.Grace < 0 || c.DayEnds < 0 || c.DayEnds >= Duration(24*time.Hour) || c.Master < 0 || c.Statement < 0 {
		return bad("every", "must be at least 1s, grace, master and statement not below 0, day_ends below 24h")
	}
	if c.Lines < 1 || c.Lines > posting.LinesMax || c.Rate < 0 {
		return bad("lines", "must be 1 to %d, rate not below 0", posting.LinesMax)
	}
	if len(c.Stores) == 0 {
		return bad("stores", "names none; list them as [[erp.stores]]")
	}
	return nil
}

func mustPath(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return u.Path
}

// checkERPs looks at all of them: a store is booked by one.
func (c *Config) checkERPs() error {
	names, stores := map[string]bool{}, map[string]string{}
	for i := range c.ERPs {
		e := &c.ERPs[i]
		e.complete()
		if err := e.check(); err != nil {
			return err
		}
		if names[e.Name] {
			return fmt.Errorf("erp: name %q stands twice", e.Name)
		}
		names[e.Name] = true
		for _, s := range e.Stores {
			if err := protocol.CheckName(s.Store); err != nil {
				return fmt.Errorf("erp %s: store %q %w", e.Name, s.Store, err)
			}
			if other := stores[s.Store]; other != "" {
				return fmt.Errorf("erp %s: store %s is booked by %s already; a store has one ERP", e.Name, s.Store, other)
			}
			stores[s.Store] = e.Name
		}
	}
	return nil
}

// secret reads the password or token.
func (c *ERPConfig) secret() (string, error) {
	if c.PasswordFile == "" {
		return c.Password, nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("erp %s: read password_file: %w", c.Name, err)
	}
	s := strings.TrimSpace(string(b))
	if s == "" {
		return "", errors.New("erp " + c.Name + ": password_file is empty")
	}
	return s, nil
}

func (c *ERPConfig) calendar() poster.Calendar {
	zone, err := time.LoadLocation(c.Timezone)
	if err != nil {
		zone = time.UTC // check let none in
	}
	return poster.Calendar{
		Zone: zone, Ends: time.Duration(c.DayEnds), Grace: time.Duration(c.Grace), Daily: c.Window == "daily", Every: time.Duration(c.Every),
	}
}
