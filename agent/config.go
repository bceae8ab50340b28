package agent

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/pelletier/go-toml/v2"

	"tillwire/agent/siblings"
	"tillwire/agent/update"
	"tillwire/protocol"
	"tillwire/protocol/release"
	"tillwire/store/config"
)

// Config is agent.toml. Every key is also an environment variable: TILLWIRE_,
// then section and key in upper case joined by underscores.
type Config struct {
	Store   string        `toml:"store" help:"business identity of the shop, e.g. S0042"`
	Agent   string        `toml:"agent" help:"name of this journal within the shop: server, till-03"`
	DataDir string        `toml:"data_dir" help:"folder of the journal, the inbox and addresses.json"`
	Dev     bool          `toml:"dev" help:"loopback only, no tokens asked; never in a shop"`
	HTTP    HTTPConfig    `toml:"http"`
	Link    LinkConfig    `toml:"link"`
	Inbox   InboxConfig   `toml:"inbox"`
	LAN     LANConfig     `toml:"lan"`
	Journal JournalConfig `toml:"journal"`
	Update  UpdateConfig  `toml:"update"`
	Log     LogConfig     `toml:"log"`

	Barcodes []protocol.RCNScheme `toml:"barcodes"` // price- and weight-embedded barcodes of the house
}

// HTTPConfig is the POS's port.
type HTTPConfig struct {
	Listen string   `toml:"listen" help:"address of the POS port; port 0 picks one and writes it to addresses.json"`
	Tokens []string `toml:"tokens" secret:"true" help:"bearer tokens of registers; demanded where listen is not loopback"`
	Hosts  []string `toml:"hosts" help:"further Host names under which the port may be called"`
}

// LinkConfig is the way up.
type LinkConfig struct {
	Broker string `toml:"broker" help:"mqtt://host:port or mqtts://host:port; empty journals without a link"`
	Token  string `toml:"token" secret:"true" help:"this agent's secret, from enroll or tillwire-aggregator token"`
	CAFile string `toml:"ca_file" help:"PEM file of the authority behind mqtts://; empty uses the system's"`

	CertFile string `toml:"cert_file" help:"PEM file of this agent's certificate, from enroll; renewed in its place"`
	KeyFile  string `toml:"key_file" help:"PEM file of its key; made on this host, mode 0600"`
}

// InboxConfig is the folder for legacy file drops.
type InboxConfig struct {
	Dir     string `toml:"dir" help:"folder watched for CSV and POSLog files; empty switches it off"`
	Mapping string `toml:"mapping" help:"TOML file that maps CSV columns to fields"`
	Zone    string `toml:"zone" help:"IANA time zone of files whose times carry none, e.g. Europe/Berlin"`
}

// UpdateConfig says whose releases this host runs. Without keys it updates itself
// never, whatever is wanted of it.
type UpdateConfig struct {
	URL         string   `toml:"url" help:"where releases are served, e.g. https://stock.example; enroll writes it"`
	Keys        []string `toml:"keys" help:"base64 of the Ed25519 keys that sign releases; empty switches self-update off"`
	Threshold   int      `toml:"threshold" help:"how many of the keys it takes"`
	KeysVersion uint64   `toml:"keys_version" help:"version of that set of keys; a higher one takes the place of what was learnt"`
}

func (c *UpdateConfig) trusted() release.Keys {
	if len(c.Keys) == 0 {
		return release.Keys{}
	}
	return release.Keys{Version: c.KeysVersion, Threshold: c.Threshold, Public: c.Keys}
}

// JournalConfig bounds the disk.
type JournalConfig struct {
	RetentionDays int   `toml:"retention_days" help:"days that safe events are kept"`
	BallastMiB    int64 `toml:"ballast_mib" help:"space kept back to recover from a full disk; 0 for none"`
}

// LogConfig says where the log goes.
type LogConfig struct {
	Level string `toml:"level" help:"debug, info, warn or error"`
	File  string `toml:"file" help:"rotated log file; empty writes to stderr"`
}

// Defaults are the values before any file is read.
func Defaults() Config {
	return Config{
		Agent: "server", DataDir: defaultDataDir(),
		HTTP:    HTTPConfig{Listen: "127.0.0.1:7410"},
		Link:    LinkConfig{Broker: "mqtt://127.0.0.1:7483"},
		Journal: JournalConfig{RetentionDays: 35, BallastMiB: 64},
		Update:  UpdateConfig{Threshold: 1, KeysVersion: 1},
		Log:     LogConfig{Level: "info"},
	}
}

// defaultDataDir is absolute: a Windows service starts in System32.
func defaultDataDir() string {
	if runtime.GOOS == "windows" {
		if d := os.Getenv("ProgramData"); d != "" {
			return filepath.Join(d, "Tillwire", "Agent")
		}
		return `C:\ProgramData\Tillwire\Agent`
	}
	return "/var/lib/tillwire-agent"
}

// DefaultConfigPath is read where no --config is given and it exists.
func DefaultConfigPath() string {
	if runtime.GOOS == "windows" {
		return filepath.Join(defaultDataDir(), "agent.toml")
	}
	return "/etc/tillwire/agent.toml"
}

// LoadConfig reads path ("" = defaults and environment only) over Defaults.
func LoadConfig(path string, lookup func(string) (string, bool)) (Config, error) {
	c := Defaults()
	if err := config.Load(path, lookup, &c); err != nil {
		return c, err
	}
	return c, nil
}

// TOML is the configuration as a file that LoadConfig reads back.
func (c *Config) TOML() ([]byte, error) {
	b, err := toml.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return append([]byte("# Written by tillwire-agent enroll; `tillwire-agent config` explains the keys.\n"), b...), nil
}

// Check names the first thing that is wrong with a configuration, and how to
// mend it.
func (c *Config) Check() error {
	if err := protocol.CheckName(c.Store); err != nil {
		return fmt.Errorf("store %q %w; set it in agent.toml or with TILLWIRE_STORE", c.Store, err)
	}
	if err := protocol.CheckName(c.Agent); err != nil {
		return fmt.Errorf("agent %q %w; the usual name is \"server\"", c.Agent, err)
	}
	if c.DataDir == "" {
		return errors.New("data_dir is empty; name the folder for the journal")
	}
	if c.Journal.RetentionDays < 1 || c.Journal.BallastMiB < 0 {
		return fmt.Errorf("journal.retention_days is %d and journal.ballast_mib %d; they must be at least 1 and 0", c.Journal.RetentionDays, c.Journal.BallastMiB)
	}
	if err := c.checkListen(); err != nil {
		return err
	}
	if c.LAN.used() {
		o, err := c.LAN.options()
		if err != nil {
			return err
		}
		o.Agent = protocol.AgentID(c.Agent)
		if _, err := siblings.New(o); err != nil {
			return err
		}
	}
	if _, err := update.New(update.Options{URL: c.Update.URL, Keys: c.Update.trusted()}); err != nil {
		return err
	}
	return c.checkBroker()
}

func (c *Config) checkListen() error {
	host, _, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		return fmt.Errorf("http.listen %q is not host:port: %w", c.HTTP.Listen, err)
	}
	ip := net.ParseIP(host)
	if host == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	if c.Dev {
		return fmt.Errorf("http.listen %q is not loopback; --dev allows loopback only", c.HTTP.Listen)
	}
	if len(c.HTTP.Tokens) == 0 {
		return fmt.Errorf("http.listen %q is open to the network; set http.tokens so that only your tills may write", c.HTTP.Listen)
	}
	return nil
}

func (c *Config) checkBroker() error {
	if (c.Link.CertFile == "") != (c.Link.KeyFile == "") {
		return errors.New("link.cert_file and link.key_file go together; set both or neither")
	}
	if c.Link.Broker == "" {
		return nil
	}
	u, err := url.Parse(c.Link.Broker)
	if err != nil || u.Host == "" || (u.Scheme != "mqtt" && u.Scheme != "mqtts") {
		return fmt.Errorf("link.broker %q is not mqtt://host:port or mqtts://host:port", c.Link.Broker)
	}
	if u.Port() == "" {
		return fmt.Errorf("link.broker %q names no port; the usual ones are 7483 for mqtt and 8883 for mqtts", c.Link.Broker)
	}
	if c.Link.CertFile != "" && u.Scheme != "mqtts" {
		return fmt.Errorf("link.broker %q is not mqtts://, but link.cert_file is set; a certificate needs TLS", c.Link.Broker)
	}
	return nil
}

// Retention is how long safe events are kept.
func (c *Config) Retention() time.Duration {
	return time.Duration(c.Journal.RetentionDays) * 24 * time.Hour
}
