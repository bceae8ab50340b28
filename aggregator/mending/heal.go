package mending

import (
	"context"
	"slices"
	"time"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// Run carries policies out until ctx ends.
func (d *Desk) Run(ctx context.Context) error {
	t := time.NewTicker(d.o.Every)
	defer t.Stop()
	for {
		if err := d.keep(ctx); err != nil && ctx.Err() == nil {
			d.o.Log.Warn().Err(err).Msg("paused sources not kept; tried again")
		}
		if err := d.round(ctx); err != nil && ctx.Err() == nil {
			d.o.Log.Warn().Err(err).Msg("policies of sources not carried out; tried again")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-d.wake:
		}
	}
}

// round tries what is due, cause by cause, each for its source's policy. What is
// beyond the bound of one round follows with the next: it is due earlier then.
func (d *Desk) round(ctx context.Context) error {
	d.rounds.Lock()
	defer d.rounds.Unlock()
	var codes []string
	for i := range d.o.Policies {
		codes = append(codes, d.o.Policies[i].Retry...)
	}
	slices.Sort(codes)
	d.mu.Lock()
	arrived := d.arrived
	d.arrived = map[protocol.SKU]bool{}
	d.mu.Unlock()
	now, left := d.o.Now(), healMax
	for _, code := range slices.Compact(codes) {
		due := map[*Policy][]string{}
		if _, err := d.each(ledger.Filter{State: "open", Code: code}, func(x *protocol.Exception) {
			if p := d.policy(ledger.SourceOf(x.Origin)); p != nil && left > 0 && p.due(x, now, arrived) {
				due[p] = append(due[p], x.ID)
				left--
			}
		}); err != nil {
			return err
		}
		for i := range d.o.Policies {
			p := &d.o.Policies[i]
			if err := d.try(ctx, p, due[p]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Desk) try(ctx context.Context, p *Policy, ids []string) error {
	for part := range slices.Chunk(ids, stepMax) {
		list, refused, err := d.o.Decide(ctx, part, protocol.ExceptionRetry, "policy", "tried again by the policy of "+p.Source, p.again)
		if err != nil {
			return err
		}
		done := 0
		for i := range list {
			if list[i].State != "open" {
				done++
			}
		}
		if done > 0 {
			d.o.Log.Info().Str("source", p.Source).Int("healed", done).Int("open", len(list)-done).Int("refused", len(refused)).Msg("exceptions tried again by policy")
		}
	}
	return nil
}
