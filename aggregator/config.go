package aggregator

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"tillwire/aggregator/identity"
	"tillwire/aggregator/ingest"
	"tillwire/aggregator/reconcile"
	"tillwire/protocol"
	"tillwire/store/config"
)

// Config is aggregator.toml. Every key is also an environment variable:
// TILLWIRE_, then section and key in upper case joined by underscores.
type Config struct {
	DataDir string        `toml:"data_dir" help:"folder of the ledger, the token key and addresses.json"`
	Dev     bool          `toml:"dev" help:"loopback only, neither API keys nor agent tokens asked; says so on every page"`
	HTTP    HTTPConfig    `toml:"http"`
	MQTT    MQTTConfig    `toml:"mqtt"`
	Log     LogConfig     `toml:"log"`
	Stores  []StoreConfig `toml:"stores"`

	Reconcile ReconcileConfig `toml:"reconcile"`
	EPCIS     EPCISConfig     `toml:"epcis"`
	Feeds     []FeedConfig    `toml:"feeds"`
	Backup    BackupConfig    `toml:"backup"`
	Releases  ReleasesConfig  `toml:"releases"`
	OTel      OTelConfig      `toml:"otel"`
	Webhooks  WebhooksConfig  `toml:"webhooks"`
	Channels  ChannelsConfig  `toml:"channels"`
	Sources   []SourceConfig  `toml:"sources"`
	ERPs      []ERPConfig     `toml:"erp"`
	OIDC      OIDCConfig      `toml:"oidc"`
	Identity  IdentityConfig  `toml:"identity"`
}

// OTelConfig says whom to tell the way of documents that carry a sampled traceparent.
type OTelConfig struct {
	Endpoint string   `toml:"endpoint" help:"URL of OTLP over HTTP, e.g. http://127.0.0.1:4318/v1/traces; empty exports nothing"`
	Headers  []string `toml:"headers" secret:"true" help:"headers of each call as name=value, for a collector's credentials"`
}

func (c *OTelConfig) check() error {
	if c.Endpoint == "" {
		return nil
	}
	if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("otel.endpoint %q is not an http or https URL", c.Endpoint)
	}
	for _, h := range c.Headers {
		if name, _, ok := strings.Cut(h, "="); !ok || name == "" {
			return errors.New("otel.headers: one of them is not name=value")
		}
	}
	return nil
}

// BackupConfig says where copies of the ledger go. Without a folder there are none,
// and what is merged counts as safe: stores may trim what exists nowhere else then.
type BackupConfig struct {
	To           string   `toml:"to" help:"folder of the copies, best a mount of another machine; it must exist. Empty: no backups"`
	Every        Duration `toml:"every" help:"how often a copy is made"`
	Keep         int      `toml:"keep" help:"copies that are kept"`
	After        []string `toml:"after" help:"command that carries a copy away, e.g. rclone, sync, {dir}, remote:tillwire; only its exit 0 makes the copy count"`
	AfterTimeout Duration `toml:"after_timeout" help:"how long that command may take"`
	Rehearse     Duration `toml:"rehearse" help:"how often a copy is restored for a trial and folded; 0 never"`
}

func (c *Config) safeCoveredBy() string {
	if c.Backup.To == "" {
		return ingest.CoveredByNone
	}
	return ingest.CoveredByBackup
}

func (b *BackupConfig) check() error {
	if b.To == "" {
		return nil
	}
	if !filepath.IsAbs(b.To) {
		return fmt.Errorf("backup.to %q is not an absolute path", b.To)
	}
	if b.Every < Duration(time.Second) || b.AfterTimeout <= 0 || b.Rehearse < 0 || b.Keep < 1 {
		return errors.New("backup.every must be at least 1s, backup.after_timeout above 0, backup.rehearse not below 0, backup.keep at least 1")
	}
	return nil
}

// Duration is written as 90s, 15m or 24h.
type Duration time.Duration

// UnmarshalText reads it.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 90s, 15m or 24h", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

func (d Duration) String() string { return time.Duration(d).String() }

// ReconcileConfig says how statements of outer systems are judged.
type ReconcileConfig struct {
	AgreeCycles  int           `toml:"agree_cycles" help:"agreeing statements until an uncertain difference of the record is adopted"`
	ZeroShareMax float64       `toml:"zero_share_max" help:"share of a location's articles that one statement may zero without an approval"`
	Owners       []OwnerConfig `toml:"owners"`
}

// OwnerConfig names the record of on hand for a location, or for all of a type.
type OwnerConfig struct {
	Location string `toml:"location"`
	Type     string `toml:"type"`
	Source   string `toml:"source"` // "store", or a feed's source
}

func (c *Config) rules() reconcile.Rules {
	r := reconcile.Rules{AgreeCycles: c.Reconcile.AgreeCycles, ZeroShareMax: c.Reconcile.ZeroShareMax}
	for _, o := range c.Reconcile.Owners {
		r.Owners = append(r.Owners, reconcile.Owner{Location: protocol.StoreID(o.Location), Type: o.Type, Source: o.Source})
	}
	return r
}

// EPCISConfig says which locations the identifiers of EPCIS senders mean.
type EPCISConfig struct {
	Destination string        `toml:"unknown_destination" help:"goods shipped to nowhere known: park (asks a person) or sale"`
	Places      []PlaceConfig `toml:"places"`
}

// PlaceConfig names one location's identifier.
type PlaceConfig struct {
	ID       string `toml:"id"` // an URI, or GLN, or GLN-extension
	Location string `toml:"location"`
}

// HTTPConfig is the port of APIs and ops UI.
type HTTPConfig struct {
	Listen string   `toml:"listen" help:"address of APIs and ops UI; port 0 picks one and writes it to addresses.json"`
	Hosts  []string `toml:"hosts" help:"further Host names under which the port may be called"`

	TLS      string `toml:"tls" help:"own: HTTPS with a certificate of the aggregator's own authority; empty: plain, or that of cert_file"`
	CertFile string `toml:"cert_file" help:"PEM certificate; with key_file the port speaks HTTPS; read again when it changes"`
	KeyFile  string `toml:"key_file" help:"PEM key of cert_file"`
}

func (c *HTTPConfig) secure() bool { return c.CertFile != "" || c.TLS == TLSOwn }

// MQTTConfig is the embedded broker.
type MQTTConfig struct {
	Listen       string `toml:"listen" help:"address of the embedded broker"`
	Advertise    string `toml:"advertise" help:"broker URL told to agents that enrol; empty derives it from listen"`
	TLS          string `toml:"tls" help:"own: agents prove themselves by certificates of the aggregator's own authority, and the broker too unless cert_file is set"`
	Tokens       bool   `toml:"tokens" help:"with tls = own: let agents in that have a token still, while a chain changes over"`
	CertFile     string `toml:"cert_file" help:"PEM certificate; with key_file the broker speaks TLS 1.3; read again when it changes"`
	KeyFile      string `toml:"key_file" help:"PEM key of cert_file"`
	ClientsMax   int    `toml:"clients_max" help:"most connections at once"`
	PerAddrMax   int    `toml:"per_address_max" help:"most connections from one address"`
	PerAddrLocal int    `toml:"per_loopback_max" help:"most connections from this machine itself"`
}

// LogConfig says where the log goes.
type LogConfig struct {
	Level string `toml:"level" help:"debug, info, warn or error"`
	File  string `toml:"file" help:"rotated log file; empty writes to stderr"`
}

// StoreConfig names a shop for people. Stores that are not listed show their
// number.
type StoreConfig struct {
	Store  string   `toml:"store"`
	Name   string   `toml:"name"`
	Region string   `toml:"region"`
	Type   string   `toml:"type"`  // store (default) or dc
	Zones  []string `toml:"zones"` // that counts may name; none: any
	Phone  string   `toml:"phone"` // shown beside the store that needs a call
}

// Defaults are the values before any file is read.
func Defaults() Config {
	return Config{
		DataDir: defaultDataDir(),
		HTTP:    HTTPConfig{Listen: "127.0.0.1:7400"},
		MQTT:    MQTTConfig{Listen: "127.0.0.1:7483", ClientsMax: 8000, PerAddrMax: 64, PerAddrLocal: 8000},
		Log:     LogConfig{Level: "info"},

		OIDC:      OIDCConfig{Name: "Single sign-on", NameClaim: "email", RoleClaim: "groups", Scopes: []string{"profile", "email"}},
		Identity:  IdentityConfig{Lifetime: Duration(identity.Lifetime), Grace: Duration(identity.Grace)},
		EPCIS:     EPCISConfig{Destination: policyPark},
		Reconcile: ReconcileConfig{AgreeCycles: 2, ZeroShareMax: 0.2},
		Releases:  ReleasesConfig{Threshold: 1, KeysVersion: 1},
		Backup:    BackupConfig{Every: Duration(time.Hour), Keep: 48, AfterTimeout: Duration(30 * time.Minute), Rehearse: Duration(24 * time.Hour)},
	}
}

func defaultDataDir() string {
	if runtime.GOOS == "windows" {
		if d := os.Getenv("ProgramData"); d != "" {
			return filepath.Join(d, "Tillwire", "Aggregator")
		}
		return `C:\ProgramData\Tillwire\Aggregator`
	}
	return "/var/lib/tillwire-aggregator"
}

// DefaultConfigPath is read where no --config is given and it exists.
func DefaultConfigPath() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(defaultDataDir(), "aggregator.toml")
	}
	return "/etc/tillwire/aggregator.toml"
}

// LoadConfig reads path ("" = defaults and environment only) over Defaults.
func LoadConfig(path string, lookup func(string) (string, bool)) (Config, error) {
	c := Defaults()
	if err := config.Load(path, lookup, &c); err != nil {
		return c, err
	}
	return c, nil
}

// Check names the first thing that is wrong, and how to mend it.
func (c *Config) Check() error {
	if c.DataDir == "" {
		return errors.New("data_dir is empty; name the folder for the ledger")
	}
	for _, l := range []struct{ key, addr string }{{"http.listen", c.HTTP.Listen}, {"mqtt.listen", c.MQTT.Listen}} {
		host, _, err := net.SplitHostPort(l.addr)
		if err != nil {
			return fmt.Errorf("%s %q is not host:port: %w", l.key, l.addr, err)
		}
		ip := net.ParseIP(host)
		if c.Dev && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return fmt.Errorf("%s %q is not loopback; --dev asks nobody for a key, so it allows loopback only", l.key, l.addr)
		}
	}
	if (c.MQTT.CertFile == "") != (c.MQTT.KeyFile == "") {
		return errors.New("mqtt.cert_file and mqtt.key_file go together; set both or neither")
	}
	if c.MQTT.ClientsMax < 1 || c.MQTT.PerAddrMax < 1 || c.MQTT.PerAddrLocal < 1 {
		return errors.New("mqtt.clients_max, per_address_max and per_loopback_max must be at least 1")
	}
	if c.Reconcile.AgreeCycles < 1 || c.Reconcile.ZeroShareMax <= 0 || c.Reconcile.ZeroShareMax > 1 {
		return errors.New("reconcile.agree_cycles must be at least 1 and reconcile.zero_share_max above 0 and at most 1")
	}
	for _, o := range c.Reconcile.Owners {
		if o.Source == "" || (o.Location == "") == (o.Type == "") {
			return fmt.Errorf("reconcile.owners: source %q needs either a location or a type", o.Source)
		}
	}
	if err := errors.Join(c.Backup.check(), c.Releases.check(), c.OTel.check(), c.checkIdentity()); err != nil {
		return err
	}
	if _, err := c.Webhooks.guard(); err != nil {
		return err
	}
	if err := errors.Join(c.Channels.check(), checkFeeds(c.Feeds, &c.Channels), destination("epcis.unknown_destination", c.EPCIS.Destination), checkPlaces("epcis", c.EPCIS.Places)); err != nil {
		return err
	}
	if err := c.checkERPs(); err != nil {
		return err
	}
	if err := errors.Join(c.OIDC.check(), c.checkSources()); err != nil {
		return err
	}
	seen := map[string]bool{}
	for _, s := range c.Stores {
		if err := protocol.CheckName(s.Store); err != nil {
			return fmt.Errorf("stores: store %q %w", s.Store, err)
		}
		if seen[s.Store] {
			return fmt.Errorf("stores: store %q stands twice", s.Store)
		}
		seen[s.Store] = true
		if s.Type != "" && s.Type != "store" && s.Type != "dc" {
			return fmt.Errorf("stores: type %q of %s is not store or dc", s.Type, s.Store)
		}
	}
	return nil
}
