package aggregator

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"tillwire/aggregator/account"
	"tillwire/aggregator/availability"
	"tillwire/aggregator/merge"
	"tillwire/aggregator/reserve"
	"tillwire/aggregator/web"
	"tillwire/protocol"
)

// The small translations through which the rooms meet.

func (a *Aggregator) apiKey(token string) (role, name string, err error) {
	r, n, err := a.keys.CheckKey(token)
	return string(r), n, err
}

var errStarting = errors.New("the aggregator is starting or stopping")

func (a *Aggregator) readiness() error {
	if !a.up.Load() {
		return errStarting
	}
	return nil
}

// group lists the locations of a region.
func (a *Aggregator) group(name string) ([]protocol.StoreID, bool) {
	var out []protocol.StoreID
	for _, s := range a.cfg.Stores {
		if s.Region == name {
			out = append(out, protocol.StoreID(s.Store))
		}
	}
	return out, len(out) > 0
}

// Enroll trades a code for an agent's credential. The code is spent in the
// ledger before the credential is given out: a crash between the two costs a
// code, never a second credential.
func (a *Aggregator) Enroll(ctx context.Context, code string, o protocol.Origin, csr string) (protocol.Enrolled, error) {
	refuse := func(err error) (protocol.Enrolled, error) {
		return protocol.Enrolled{}, protocol.NewProblem(http.StatusForbidden, "enrolment_refused", "The enrolment token is not accepted", err.Error(),
			fmt.Sprintf("issue another: tillwire-aggregator token --enroll --store %s", o.Store))
	}
	nonce, err := a.keys.CheckEnrolment(code, o)
	if err != nil {
		return refuse(err)
	}
	if err := a.checkCSR(csr); err != nil {
		return protocol.Enrolled{}, err
	}
	fresh, err := a.ingest.SpendFact(ctx, factSpent+nonce, []byte(o.String()))
	if err != nil {
		return protocol.Enrolled{}, err
	}
	if !fresh {
		return refuse(errors.New("token was used already"))
	}
	e, err := a.credential(ctx, o, csr)
	if err == nil {
		a.deps.Log.Info().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Bool("certificate", e.Certificate != "").Msg("agent enrolled")
	}
	return e, err
}

func (a *Aggregator) brokerURL() string {
	if a.cfg.MQTT.Advertise != "" {
		return a.cfg.MQTT.Advertise
	}
	if a.cfg.MQTT.CertFile != "" || a.cfg.MQTT.TLS == TLSOwn {
		return "mqtts://" + a.MQTTAddr()
	}
	return "mqtt://" + a.MQTTAddr()
}

func (a *Aggregator) webOptions(manual []byte) web.Options {
	d := desk{a.ingest, a, protocol.ViaUI}
	o := web.Options{
		Now: a.deps.Now, Log: a.deps.Log, Dev: a.cfg.Dev, Version: a.deps.Version, Manual: manual, Fleet: a.fleet,
		Availability: func(sku protocol.SKU) (protocol.Availability, bool) { return a.model.Get(sku, nil) },
		Explain: func(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, limit int, when web.Moment) (protocol.Explanation, error) {
			x, err := a.explain(ctx, sku, loc, merge.Question{Limit: limit, AtUS: when.AtUS, KnownUS: when.KnownUS})
			if err != nil {
				return protocol.Explanation{}, err
			}
			return *x, nil
		},
		Search: a.model.Search, Exceptions: a.ledger.Exceptions, Exception: a.ledger.Exception, Mending: d, OpenCount: a.openExceptions,
		Retry: func(ctx context.Context, id, who string) error {
			_, err := d.Retry(ctx, id, who)
			return err
		},
		Discard: func(ctx context.Context, id, who, note string) error {
			_, err := d.Discard(ctx, id, note, who)
			return err
		},
		Acknowledge: d.Acknowledge, CountNext: a.ingest.CountNext, Reservations: d, Reconciliations: d, OpenDrift: func() int { return int(a.drift.Load()) }, Orders: d, Bundle: a.bundles.read,
		Policies: d, Items: a.ingest.Master().Items, Item: a.ingest.Master().Item, Enrolment: d, Identities: d.Identities, APIKeys: d.APIKeys, Audit: a.trail.List, Accounts: d, People: people{a, d},
		Postings: postings{a, d}, Parked: func() int { return int(a.parked.Load()) }, Connectors: connectors{&a.partners, a.feeds, d}, Subscriptions: subscriptions{a.hub, d}, Flow: a.flows.History,
		Trace: a.tracer.Trace, Releases: releases{a.releases, d}, Outcomes: a.ingest.Outcomes,
		Secure: a.cfg.HTTP.secure() || strings.HasPrefix(a.cfg.OIDC.PublicURL, "https://"),
	}
	if a.cfg.OIDC.Issuer != "" {
		o.OIDC, o.OIDCName = oidcDoor{people{a, d}, account.NewOIDC(a.cfg.OIDC.options(), a.deps.Now)}, a.cfg.OIDC.Name
	}
	return o
}

// explain joins what the fold says of a position with what is held of it, what is
// held back and how fresh its location's knowledge is. A past moment is told of
// the fold alone: holds and buffers are of now.
func (a *Aggregator) explain(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, q merge.Question) (*protocol.Explanation, error) {
	x, err := a.ingest.Explain(ctx, sku, loc, q)
	if err != nil {
		return nil, err
	}
	if q.AtUS == 0 && q.KnownUS == 0 {
		if x.Holds, err = a.ingest.HoldsAt(ctx, reserve.Key{Location: loc, SKU: sku}); err != nil {
			return nil, err
		}
		a.explainNow(x)
	}
	for _, h := range x.Holds {
		x.Reserved += h.Reserved
		x.Allocated += h.Allocated
	}
	for _, b := range x.Buffers {
		switch b.Quantity {
		case "safety_stock":
			x.SafetyStock += b.Value
		case "risk_buffer":
			x.RiskBuffer += b.Value
		}
	}
	x.Available = max(0, x.OnHand-x.Unavailable-x.Reserved-x.Allocated-x.SafetyStock-x.RiskBuffer)
	return x, nil
}

// explainNow adds freshness and buffers.
func (a *Aggregator) explainNow(x *protocol.Explanation) {
	x.Buffers = a.rules.set().Explain(x.SKU, x.Location, "")
	v, ok := a.model.Get(x.SKU, []protocol.StoreID{x.Location})
	if !ok || len(v.Locations) != 1 {
		return
	}
	l := &v.Locations[0]
	x.AsOf, x.LagS, x.Provisional = l.AsOf, l.LagS, l.Provisional
	if l.RiskBuffer == 0 {
		return
	}
	why := fmt.Sprintf("what may have been sold in the %.0f s since the store was last known whole, at a service level of %g", l.LagS, l.ServiceLevel)
	if l.Dark {
		why += "; the store is dark"
	}
	x.Buffers = append(x.Buffers, protocol.ExplainBuffer{Quantity: "risk_buffer", Value: l.RiskBuffer, Reason: why})
}

// Explain is the desk's explanation: with holds, buffers and freshness.
func (d desk) Explain(ctx context.Context, sku protocol.SKU, loc protocol.StoreID, q merge.Question) (*protocol.Explanation, error) {
	return d.a.explain(ctx, sku, loc, q)
}

// thresholds follows the passages between in, low and out.
func (a *Aggregator) thresholds(ctx context.Context, channel string, locs []protocol.StoreID, after uint64, emit func(no uint64, reset bool, events any) error) error {
	sub, err := a.model.Subscribe(availability.Filter{States: true, Channel: channel, Locations: locs, After: after})
	if err != nil {
		return err
	}
	defer sub.Close()
	for {
		d, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if d.Reset || len(d.Events) > 0 {
			if err := emit(d.No, d.Reset, d.Events); err != nil {
				return err
			}
		}
	}
}
