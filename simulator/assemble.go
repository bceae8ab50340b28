package simulator

import (
	"cmp"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/agent/link"
	"tillwire/aggregator"
	"tillwire/protocol"
)

// agentPlan is one agent of a fleet.
type agentPlan struct {
	Store   protocol.StoreID
	Dir     string
	Broker  string // host:port, or a URL
	Token   string
	CAFile  string
	Listen  string // of the POS port; "" = any free one
	Version string
	Dial    dialFunc
	Now     func() time.Time // nil = the machine's
	Timing  link.Timing
	Codec   *protocol.FrameCodec
	Log     zerolog.Logger
}

// config is the agent's configuration. Only the ballast file is left out, since
// four hundred of them would fill a laptop.
func (p *agentPlan) config() agent.Config {
	c := agent.Defaults()
	c.Store, c.Agent, c.DataDir, c.Dev = string(p.Store), "server", p.Dir, true
	c.HTTP.Listen = cmp.Or(p.Listen, "127.0.0.1:0")
	c.Link.Broker, c.Link.Token = p.Broker, cmp.Or(p.Token, "simulated") // any token does in development mode
	c.Link.CAFile = p.CAFile
	if !strings.Contains(p.Broker, "://") {
		c.Link.Broker = "mqtt://" + p.Broker
	}
	c.Journal.BallastMiB = 0
	return c
}

// simulatedTiming brings agents back within seconds of their line, where a
// chain's would spread over two minutes: nobody watches a demo for that long.
var simulatedTiming = link.Timing{AckTimeout: 5 * time.Second, ReconnectCap: 10 * time.Second, LongOutageSpread: 5 * time.Second}

// timingAt shortens what depends on the story's clock alone: how long a link rests
// before it dials again. Answers take as long as they take.
func timingAt(rate float64) link.Timing {
	story := func(d, least time.Duration) time.Duration { return max(least, time.Duration(float64(d)/max(rate, 1))) }
	return link.Timing{
		AckTimeout: 5 * time.Second, ReconnectMin: story(time.Second, 50*time.Millisecond),
		ReconnectCap: min(10*time.Second, story(2*time.Minute, time.Second)), LongOutage: story(time.Minute, time.Second),
		LongOutageSpread: min(5*time.Second, story(30*time.Second, 500*time.Millisecond)), StableAfter: story(time.Minute, 2*time.Second),
	}
}

// newAgent makes a real agent: its own journal on disk, its own HTTP port, its
// own MQTT connection through Dial.
func newAgent(p agentPlan) (*agent.Agent, error) {
	t := p.Timing
	if t == (link.Timing{}) {
		t = simulatedTiming
	}
	return agent.New(p.config(), agent.Deps{
		Log: p.Log, Dial: p.Dial, Codec: p.Codec, Version: cmp.Or(p.Version, "simulated"), Timing: t, Now: p.Now,
	})
}

// head is the aggregator as fleet sees it.
type head interface {
	program
	MQTTAddr() string
}

// newHead makes the real aggregator in development mode, with a folder of its
// own and the fleet's names.
func newHead(p fleetPlan) (head, error) {
	c := aggregator.Defaults()
	c.DataDir, c.Dev = filepath.Join(p.Dir, "aggregator"), true
	c.MQTT.Listen = "127.0.0.1:0"
	c.HTTP.Listen = "127.0.0.1:0"
	if p.Warehouse {
		c.Stores = append(c.Stores, aggregator.StoreConfig{Store: string(warehouseStore), Name: "Distribution centre", Region: "Centre", Type: "dc"})
	}
	for _, pl := range p.Places {
		c.Stores = append(c.Stores, aggregator.StoreConfig{Store: string(pl.Store), Name: pl.Name, Region: pl.Region, Type: "store"})
	}
	if p.Program != "" {
		return newHeadProcess(p.Program, p.Dir, c.Stores)
	}
	d := aggregator.Deps{Log: p.Log, Version: "simulated", Now: p.Now, Warp: p.Warp}
	if p.HTTP != "" {
		l, _, err := listenNear(p.HTTP)
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", p.HTTP, err)
		}
		c.HTTP.Listen = l.Addr().String()
		d.HTTPListener = l
	}
	return aggregator.New(c, d)
}
