package ingest

import (
	"context"
	"encoding/json"
	"fmt"

	"tillwire/protocol"
)

// PutPolicy makes a new version of a policy; a repeat of what holds makes none.
func (i *Ingest) PutPolicy(ctx context.Context, p *protocol.Policy, who string) (stored protocol.Policy, err error) {
	return i.policy(ctx, p.PolicyID, func(nowUS int64) (*protocol.Policy, *protocol.Problem) {
		return i.eng.Policies.Put(p, who, nowUS)
	})
}

// DeletePolicy ends a policy; its versions are kept.
func (i *Ingest) DeletePolicy(ctx context.Context, id, who string) (stored protocol.Policy, err error) {
	return i.policy(ctx, id, func(nowUS int64) (*protocol.Policy, *protocol.Problem) {
		return i.eng.Policies.Delete(id, who, nowUS)
	})
}

func (i *Ingest) policy(ctx context.Context, id string, decide func(nowUS int64) (*protocol.Policy, *protocol.Problem)) (stored protocol.Policy, err error) {
	var refused *protocol.Problem
	err = i.call(ctx, func(i *Ingest, nowUS int64) error {
		next, p := decide(nowUS)
		if p != nil {
			refused = p
			return nil //nolint:nilerr // told to the caller; nothing was changed
		}
		if next == nil {
			stored = i.eng.Policies.History(id)[0]
			return nil
		}
		body, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("encode policy %s: %w", id, err)
		}
		if err := i.journal(protocol.PoliciesOrigin, protocol.KindPolicy, "", id, body, nowUS); err != nil {
			return err
		}
		i.eng.Policies.Apply(next)
		i.compile(nowUS)
		stored = *next
		return nil
	})
	if err == nil && refused != nil {
		err = refused
	}
	return stored, err
}

// ListPolicies returns what is in force or dated, by id.
func (i *Ingest) ListPolicies(ctx context.Context) (list []protocol.Policy, err error) {
	err = i.call(ctx, func(i *Ingest, _ int64) error { list = i.eng.Policies.List(); return nil })
	return list, err
}

// PolicyHistory returns the versions of a policy, newest first.
func (i *Ingest) PolicyHistory(ctx context.Context, id string) (list []protocol.Policy, err error) {
	err = i.call(ctx, func(i *Ingest, _ int64) error { list = i.eng.Policies.History(id); return nil })
	return list, err
}

// compile makes the policies' table anew: after a change, and when a dated one
// begins or ends.
func (i *Ingest) compile(nowUS int64) {
	if i.o.PolicyWorld == nil {
		return
	}
	i.set = i.eng.Policies.Snapshot(i.o.PolicyWorld, nowUS)
	i.o.Policies(i.set)
}

// Week is how a location's demand runs over the hours of its local week, with
// mean 1, and where that week's midnight is.
type Week struct {
	Profile   *[168]float32
	OffsetMin int // of local time from UTC, minutes, as its newest sale told it
}

// Weeks tells it of each location.
func (i *Ingest) Weeks(ctx context.Context, locs []protocol.StoreID) (map[protocol.StoreID]Week, error) {
	out := make(map[protocol.StoreID]Week, len(locs))
	err := i.call(ctx, func(i *Ingest, _ int64) error {
		for _, loc := range locs {
			out[loc] = Week{Profile: i.eng.Demand.Profile(loc), OffsetMin: i.eng.Demand.Offset(loc)}
		}
		return nil
	})
	return out, err
}
