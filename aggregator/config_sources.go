package aggregator

import (
	"fmt"
	"time"

	"tillwire/aggregator/mending"
)

// SourceConfig says how what a source parks is dealt with. A list: [[sources]].
type SourceConfig struct {
	Source      string   `toml:"source" help:"a feed's name, agents for all stores, or * for all that are not named"`
	Retry       []string `toml:"retry" help:"causes that heal with time and are tried again, e.g. sku_unknown, unit_unknown; others wait for a person"`
	First       Duration `toml:"first" help:"how long until the first attempt; each next one waits twice as long (default 1m)"`
	Most        Duration `toml:"most" help:"longest time between attempts (default 1h)"`
	Attempts    int      `toml:"attempts" help:"after so many it waits for a person (default 50)"`
	StopPerHour int      `toml:"stop_per_hour" help:"parked documents within an hour beyond which the source is paused until a person resumes it; 0 never"`
}

func (c *Config) policies() []mending.Policy {
	list := make([]mending.Policy, len(c.Sources))
	for i, s := range c.Sources {
		list[i] = mending.Policy{
			Source: s.Source, Retry: s.Retry, First: time.Duration(s.First), Most: time.Duration(s.Most), Attempts: s.Attempts, StopPerHour: s.StopPerHour,
		}
	}
	return list
}

func (c *Config) checkSources() error {
	seen := map[string]bool{}
	for _, p := range c.policies() {
		if err := p.Check(); err != nil {
			return fmt.Errorf("sources: %w", err)
		}
		if seen[p.Source] {
			return fmt.Errorf("sources: %q stands twice; join the two", p.Source)
		}
		seen[p.Source] = true
	}
	return nil
}
