package aggregator

import "tillwire/protocol"

// putChannels writes how connectors and outbound webhooks stand.
func (a *Aggregator) putChannels(x *exposition) {
	list := connectors{partners: &a.partners, feeds: a.feeds}.Connectors()
	each := func(name, kind, help string, value func(c *protocol.Connector) any) {
		x.family("connector_"+name, kind, help)
		for i := range list {
			x.of("connector_"+name, "connector", list[i].Name, value(&list[i]))
		}
	}
	each("up", "gauge", "1 where the connector's last call went through.", func(c *protocol.Connector) any {
		return map[bool]int{true: 1}[c.State == protocol.ConnectorOK]
	})
	each("lag_seconds", "gauge", "Age of the oldest change that the partner has not accepted, or of the oldest file that waits for us.", func(c *protocol.Connector) any { return c.LagS })
	each("pending", "gauge", "Numbers that wait for the partner.", func(c *protocol.Connector) any { return c.Pending })
	each("in_total", "counter", "Documents taken of the partner.", func(c *protocol.Connector) any { return c.In })
	each("parked_total", "counter", "Documents of it that could not be taken and wait as exceptions.", func(c *protocol.Connector) any { return c.Parked })
	each("duplicates_total", "counter", "Documents of it that were known.", func(c *protocol.Connector) any { return c.Duplicates })
	each("delay_seconds", "gauge", "How old the newest document's moment was when it came.", func(c *protocol.Connector) any { return c.DelayS })
	each("out_total", "counter", "Numbers that the partner accepted.", func(c *protocol.Connector) any { return c.Out })
	each("retries_total", "counter", "Calls that failed and were tried again.", func(c *protocol.Connector) any { return c.Retries })
	each("throttled_total", "counter", "Calls that the partner refused for their rate.", func(c *protocol.Connector) any { return c.Throttled })
	each("refused_total", "counter", "What one side would not take of the other.", func(c *protocol.Connector) any { return c.Refused })
	each("dead_letters", "gauge", "What waits for a person.", func(c *protocol.Connector) any { return c.DeadLetters })
	each("divergences", "gauge", "Numbers that the partner shows otherwise than it should.", func(c *protocol.Connector) any { return c.Divergences })
	each("drift_fields", "gauge", "Fields that the partner sends beyond what is known.", func(c *protocol.Connector) any { return len(c.Drift) })
	each("accepted_age_seconds", "gauge", "Age of a change when the partner accepted it, 99 of 100.", func(c *protocol.Connector) any {
		if c.SLA == nil {
			return 0
		}
		return c.SLA.P99S
	})
	a.putWebhooks(x)
}

// putWebhooks writes the subscriptions by state: there may be hundreds, and the API
// tells of each.
func (a *Aggregator) putWebhooks(x *exposition) {
	states, worst, pending, letters := map[string]int{}, 0.0, 0, 0
	var sent, retries uint64
	for _, s := range a.hub.List() {
		states[s.State]++
		worst = max(worst, s.LagS)
		pending += s.Pending
		letters += s.DeadLetters
		sent += s.Sent
		retries += s.Retries
	}
	x.family("webhook_subscriptions", "gauge", "Outbound webhooks by state.")
	for _, s := range []string{protocol.SubscriptionActive, protocol.SubscriptionFailing, protocol.SubscriptionPaused} {
		x.of("webhook_subscriptions", "state", s, states[s])
	}
	x.gauge("webhook_lag_seconds", "Age of the oldest change that a receiver has not taken, the worst of all.", worst)
	x.gauge("webhook_pending", "Keys that are owed to receivers.", pending)
	x.gauge("webhook_dead_letters", "Messages that receivers called wrong.", letters)
	x.gauge("webhook_sent", "Messages taken by the receivers of today's subscriptions, since start.", sent)
	x.gauge("webhook_retries", "Messages that they did not take at once, since start.", retries)
}
