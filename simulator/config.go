package simulator

import "tillwire/store/config"

// Config is simulator.toml; every key is also an environment variable:
// TILLWIRE_, then section and key in upper case joined by underscores. Flags
// stand above both.
type Config struct {
	Stores  int    `toml:"stores" help:"agents of a demo"`
	Seed    int64  `toml:"seed" help:"of everything random; the same seed makes the same baskets"`
	DataDir string `toml:"data_dir" help:"fresh folder for journals and ledger; empty takes a temporary one and removes it"`
	HTTP    struct {
		Listen string `toml:"listen" help:"address of the aggregator's UI and API; another free port where it is taken"`
	} `toml:"http"`
	Log struct {
		Level string `toml:"level" help:"debug, info, warn or error, of the programs' own logs on stderr"`
	} `toml:"log"`
}

// loadConfig reads path ("" = environment only) over the defaults.
func loadConfig(path string, lookup func(string) (string, bool)) (Config, error) {
	c := Config{Stores: 400, Seed: 1}
	c.HTTP.Listen = "127.0.0.1:7400"
	c.Log.Level = "error"
	return c, config.Load(path, lookup, &c)
}
