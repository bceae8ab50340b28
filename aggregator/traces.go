package aggregator

import (
	"context"
	"strings"

	"tillwire/aggregator/ingest"
	"tillwire/aggregator/telemetry"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// afterMerge tells what followed from a merged document behind the ledger: the
// promise that it handed out, and the ERP documents that carry it.
func (a *Aggregator) afterMerge(ctx context.Context, ev *protocol.Event, _ ledger.Position) ([]protocol.Hop, error) {
	hops, err := a.promised(ctx, ev)
	if err != nil || len(a.erps) == 0 {
		return hops, err
	}
	list, err := a.ingest.PostingsOf(ctx, ev.ID)
	for i := range list {
		p := &list[i]
		hop := protocol.Hop{Hop: "posting", At: p.CutAt, Clock: "aggregator", By: p.ERP, Detail: p.Class + " posting is " + string(p.State), Ref: map[string]any{"posting": p.ID}}
		if p.ERPID != "" {
			hop.At, hop.Detail = p.DecidedAt, "posted as "+p.ERPID
		}
		hops = append(hops, hop)
	}
	return hops, err
}

func (a *Aggregator) promised(ctx context.Context, ev *protocol.Event) ([]protocol.Hop, error) {
	id := ev.HoldID
	if id == "" {
		id = ev.OrderID
	}
	if id == "" || ev.Kind != protocol.KindSale && ev.Kind != protocol.KindHold {
		return nil, nil
	}
	r, ok, err := a.ingest.Reservation(ctx, id)
	if err != nil || !ok {
		return nil, err
	}
	return []protocol.Hop{{
		Hop: "reservation", At: r.UpdatedAt, Clock: "aggregator", By: r.Channel, Detail: "reservation " + r.ReservationID + " is " + string(r.State),
		Ref: map[string]any{"reservation": r.ReservationID},
	}}, nil
}

// openTelemetry makes the exporter, where a collector is configured, and returns
// what ingest tells of documents whose sender follows them.
func (a *Aggregator) openTelemetry() func(*ingest.Traced) {
	if a.cfg.OTel.Endpoint == "" {
		return nil
	}
	headers := map[string]string{}
	for _, h := range a.cfg.OTel.Headers {
		name, value, _ := strings.Cut(h, "=")
		headers[name] = value
	}
	a.otel = telemetry.New(telemetry.Options{Endpoint: a.cfg.OTel.Endpoint, Headers: headers, Version: a.deps.Version, Log: a.deps.Log})
	return func(t *ingest.Traced) {
		if telemetry.Sampled(t.Traceparent) {
			d := telemetry.Document(*t)
			a.otel.Tell(&d)
		}
	}
}

func (a *Aggregator) putTelemetry(x *exposition) {
	if a.otel == nil {
		return
	}
	sent, dropped, failed := a.otel.Counts()
	x.counter("otel_documents_total", "Documents whose way was exported.", sent)
	x.counter("otel_documents_dropped_total", "Documents not exported because too many waited.", dropped)
	x.counter("otel_documents_failed_total", "Documents not exported because the collector did not take them.", failed)
}
