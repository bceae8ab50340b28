package agent

import (
	"context"
	"fmt"

	"tillwire/agent/intake"
	"tillwire/agent/siblings"
	"tillwire/protocol"
	"tillwire/store/journal"
)

// LANConfig lets the agents of one shop see each other's journals while one of
// them counts. It is for shops with one agent per till.
type LANConfig struct {
	Listen   string   `toml:"listen" help:"address where the shop's other agents ask, e.g. 192.168.1.11:7412; empty: nobody may ask"`
	Siblings []string `toml:"siblings" help:"the shop's other agents, as till-02=192.168.1.12:7412"`
	Secret   string   `toml:"secret" secret:"true" help:"known to all agents of the shop and nobody else, 16 characters or more"`
}

// seeing is the journal, with an eye on the shop's other journals: counts get
// their cuts before they are written.
type seeing struct {
	*journal.Journal

	see *siblings.Siblings
}

// Append completes a count by its sibling cuts and journals it.
func (j seeing) Append(ctx context.Context, e *protocol.Event) (journal.Receipt, error) {
	return j.Journal.Append(ctx, j.see.See(ctx, e))
}

// AppendAll does so with each of many.
func (j seeing) AppendAll(ctx context.Context, events []*protocol.Event) ([]journal.Receipt, []error) {
	seen := make([]*protocol.Event, len(events))
	for i, e := range events {
		seen[i] = j.see.See(ctx, e)
	}
	return j.Journal.AppendAll(ctx, seen)
}

func (c *LANConfig) options() (siblings.Options, error) {
	o := siblings.Options{Secret: c.Secret}
	for _, s := range c.Siblings {
		p, err := siblings.ParsePeer(s)
		if err != nil {
			return o, fmt.Errorf("lan.siblings: %w", err)
		}
		o.Peers = append(o.Peers, p)
	}
	return o, nil
}

func (c *LANConfig) used() bool { return c.Listen != "" || len(c.Siblings) > 0 }

// openLAN comes after the journal and before all that writes into it.
func (a *Agent) openLAN() error {
	a.writer = a.journal
	if !a.cfg.LAN.used() {
		return nil
	}
	o, err := a.cfg.LAN.options()
	if err != nil {
		return err
	}
	o.Store, o.Agent, o.Now, o.Log = a.origin().Store, a.origin().Agent, a.deps.Now, a.deps.Log
	o.Epoch = func() uint64 { return a.journal.State().Epoch }
	o.CutAt = a.journal.CutAt
	if a.siblings, err = siblings.New(o); err != nil {
		return err
	}
	a.writer = seeing{a.journal, a.siblings}
	if a.cfg.LAN.Listen == "" {
		return nil
	}
	if a.lan, err = a.deps.Listen("tcp", a.cfg.LAN.Listen); err != nil {
		return fmt.Errorf("listen for the shop's other agents: %w; is lan.listen an address of this machine, and free?", err)
	}
	return nil
}

func (a *Agent) siblingStatus() []intake.StatusSibling {
	if a.siblings == nil {
		return nil
	}
	var out []intake.StatusSibling
	for _, p := range a.siblings.Status() {
		s := intake.StatusSibling{Agent: p.Agent, Address: p.Addr, LastError: p.LastError}
		if !p.SeenAt.IsZero() {
			s.SeenAt = &p.SeenAt
		}
		out = append(out, s)
	}
	return out
}
