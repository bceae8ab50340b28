package aggregator

import (
	"context"
	"time"

	"tillwire/aggregator/fleet"
	"tillwire/protocol"
)

// followFlows keeps, minute by minute, how each connection to another system goes:
// partners and feeds, receivers of webhooks, ERPs.
func (a *Aggregator) followFlows(ctx context.Context) error {
	t := time.NewTicker(locationsTick)
	defer t.Stop()
	for {
		if now := a.deps.Now().UnixMicro(); a.flows.Due(now) {
			if all, err := a.flowsNow(ctx); err == nil { // a minute without the ERPs would forget them: the next second looks again
				a.flows.Sample(now, all)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// flowsNow are all of them as they stand.
func (a *Aggregator) flowsNow(ctx context.Context) (out []fleet.Flow, err error) {
	for _, c := range (connectors{partners: &a.partners, feeds: a.feeds}).Connectors() {
		out = append(out, fleet.Flow{Name: protocol.FlowConnector + c.Name, LagS: c.LagS, Waits: uint64(c.Pending), Moved: c.In + c.Out})
	}
	if len(a.erps) > 0 {
		list, err := a.standings(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range list {
			out = append(out, fleet.Flow{Name: protocol.FlowERP + s.ERP, LagS: s.LagS, Waits: uint64(s.Due), Moved: s.Posted})
		}
	}
	for _, s := range a.hub.List() {
		out = append(out, fleet.Flow{Name: protocol.FlowSubscription + s.ID, LagS: s.LagS, Waits: uint64(s.Pending), Moved: s.Items})
	}
	return out, nil
}
