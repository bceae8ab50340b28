package simulator

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"tillwire/agent"
	"tillwire/agent/link"
	"tillwire/aggregator"
	"tillwire/protocol"
)

// agentPlan is one agent of a fleet.
type agentPlan struct {
	Store  protocol.StoreID
	Dir    string
	Broker string // host:port
	Dial   dialFunc
	Codec  *protocol.FrameCodec
	Log    zerolog.Logger
}

// simulatedTiming brings agents back within seconds of their line, where a
// chain's would spread over two minutes: nobody watches a demo for that long.
var simulatedTiming = link.Timing{AckTimeout: 5 * time.Second, ReconnectCap: 10 * time.Second, LongOutageSpread: 5 * time.Second}

// newAgent makes a real agent: its own journal on disk, its own HTTP port, its
// own MQTT connection through Dial. Only the ballast file is left out, since
// four hundred of them would fill a laptop.
func newAgent(p agentPlan) (*agent.Agent, error) {
	c := agent.Defaults()
	c.Store, c.Agent, c.DataDir, c.Dev = string(p.Store), "server", p.Dir, true
	c.HTTP.Listen = "127.0.0.1:0"
	c.Link.Broker, c.Link.Token = "mqtt://"+p.Broker, "simulated" // any token does in development mode
	c.Journal.BallastMiB = 0
	return agent.New(c, agent.Deps{
		Log: p.Log, Dial: p.Dial, Codec: p.Codec, Version: "simulated", Timing: simulatedTiming,
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
	for _, pl := range p.Places {
		c.Stores = append(c.Stores, aggregator.StoreConfig{Store: string(pl.Store), Name: pl.Name, Region: pl.Region, Type: "store"})
	}
	if p.Program != "" {
		return newHeadProcess(p.Program, p.Dir, c.Stores)
	}
	d := aggregator.Deps{Log: p.Log, Version: "simulated"}
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
