package simulator

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"tillwire/protocol"
)

// host is where one store's agent lives. It may die and come back, on the same
// folder and the same port, as another version.
type host struct {
	plan  agentPlan
	agent program
	stop  context.CancelFunc
	ended chan struct{}
}

// startAgent starts the i-th store's agent and its till.
func (f *fleet) startAgent(ctx context.Context, i int) error {
	pl := f.plan.Places[i]
	dir := filepath.Join(f.plan.Dir, "agents", string(pl.Store))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make folder of %s: %w", pl.Store, err)
	}
	h := &host{plan: agentPlan{
		Store: pl.Store, Dir: dir, Broker: f.MQTT, Dial: f.Lines[i].Dial, Codec: f.codec, Log: f.plan.Log, Timing: f.plan.Timing,
	}}
	if e := f.plan.Elsewhere; e != nil {
		h.plan.CAFile = e.CAFile
		var err error
		if h.plan.Token, err = f.Chain.enrol(ctx, pl.Store); err != nil {
			return fmt.Errorf("enrol agent of %s: %w", pl.Store, err)
		}
	}
	if f.plan.NowAt != nil {
		h.plan.Now = func() time.Time { return f.plan.NowAt(i) }
	}
	f.hosts[i] = h
	if err := f.bring(ctx, i); err != nil {
		return err
	}
	f.Tills[i] = &till{store: pl.Store, base: "http://" + h.agent.HTTPAddr(), http: f.client, slots: f.slots}
	return nil
}

// bring starts a host's agent, and waits until it answers.
func (f *fleet) bring(ctx context.Context, i int) error {
	h := f.hosts[i]
	var a program
	var err error
	if f.plan.Sample[i] {
		a, err = newShopProcess(f.plan.Agent, h.plan, f.Lines[i])
	} else {
		a, err = newAgent(h.plan)
	}
	if err != nil {
		return fmt.Errorf("make agent of %s: %w", h.plan.Store, err)
	}
	living, stop := context.WithCancel(f.serving)
	h.agent, h.stop, h.ended = a, stop, make(chan struct{})
	f.agents.Add(1)
	go func() {
		defer f.agents.Done()
		defer close(h.ended)
		f.runOne(living, "agent of "+string(h.plan.Store), a)
	}()
	if err := f.await(ctx, a); err != nil {
		return fmt.Errorf("start agent of %s: %w", h.plan.Store, err)
	}
	h.plan.Listen = a.HTTPAddr()
	return nil
}

// restart ends the i-th agent and starts it again as another version.
func (f *fleet) restart(ctx context.Context, i int, version string) error {
	h := f.hosts[i]
	h.stop()
	select {
	case <-h.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	h.plan.Version = version
	return f.bring(ctx, i)
}

// enrol gets a token for a store's agent; in development mode none is asked.
func (c *chain) enrol(ctx context.Context, s protocol.StoreID) (string, error) {
	if c.key == "" {
		return "", nil
	}
	var once struct {
		Token string `json:"token"`
	}
	ask := fmt.Appendf(nil, `{"store":%q,"agent":"server"}`, s)
	if err := c.do(ctx, http.MethodPost, "/v1/enrollment-tokens", ask, &once); err != nil {
		return "", err
	}
	body, err := json.Marshal(protocol.Enroll{Token: once.Token, Store: s, Agent: "server"})
	if err != nil {
		return "", err
	}
	var got struct {
		Token string `json:"token"`
	}
	return got.Token, c.do(ctx, http.MethodPost, "/v1/enroll", body, &got)
}
