package aggregator

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/VictoriaMetrics/metrics"

	"tillwire/aggregator/fleet"
	"tillwire/aggregator/ingest"
	"tillwire/protocol"
)

// exposition is Prometheus text, version 0.0.4: base units, _total for counters.
type exposition struct{ b []byte }

func (x *exposition) family(name, kind, help string) {
	x.b = fmt.Appendf(x.b, "# HELP tillwire_%s %s\n# TYPE tillwire_%s %s\n", name, help, name, kind)
}

func (x *exposition) sample(name string, v any) { x.b = fmt.Appendf(x.b, "tillwire_%s %v\n", name, v) }

// of writes a sample with one label.
func (x *exposition) of(name, label, value string, v any) {
	x.b = fmt.Appendf(x.b, "tillwire_%s{%s=%s} %v\n", name, label, strconv.Quote(value), v)
}

func (x *exposition) gauge(name, help string, v any) {
	x.family(name, "gauge", help)
	x.sample(name, v)
}

func (x *exposition) counter(name, help string, v any) {
	x.family(name, "counter", help)
	x.sample(name, v)
}

// metrics answers GET /metrics. Stores have no series of their own: there may be
// tens of thousands, and the UI shows them with their reasons.
func (a *Aggregator) metrics(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	metrics.ExposeMetadata(true) // also of what the library writes below
	var x exposition
	a.putIngest(&x)
	a.putLedger(&x)
	a.putFleet(&x)
	a.putSafe(&x)
	a.putMending(&x)
	a.putBroker(&x)
	a.putTelemetry(&x)
	a.putChannels(&x)
	a.putPostings(r.Context(), &x)
	_, _ = w.Write(x.b)
	a.api.WriteMetrics(w)
	metrics.WriteProcessMetrics(w)
}

func (a *Aggregator) putIngest(x *exposition) {
	n := a.ingest.Stats()
	x.counter("ingest_frames_total", "Frames merged, of stores and feeds.", n.Frames)
	x.counter("ingest_events_total", "Events merged into the ledger.", n.Events)
	x.counter("ingest_duplicates_total", "Events that had been merged before.", n.Duplicates)
	x.counter("ingest_parked_total", "Events put aside as exceptions.", n.Parked)
	x.counter("ingest_commits_total", "Ledger transactions.", n.Commits)
	x.counter("ingest_commit_seconds_total", "Time spent in ledger transactions.", float64(n.CommitUS)/1e6)
	x.counter("ingest_nacks_total", "Frames answered by a refusal.", n.Nacks)
	x.family("ingest_refused_total", "counter", "What was not taken of agents, by reason.")
	a.refusals.each(func(why protocol.NackReason, n uint64) { x.of("ingest_refused_total", "reason", string(why), n) })
	x.counter("ingest_busy_total", "Frames and calls sent away because the queue was full.", n.Busy)
	x.gauge("ingest_queue_items", "Items that wait for the writer.", n.QueueItems)
	x.gauge("ingest_voids_waiting", "Voids whose original has not come yet.", n.Pending)
	x.counter("ingest_digests_total", "Digests announced by agents.", n.Digests)
	x.counter("ingest_digests_kept_total", "Digests that agreed with the ledger.", n.DigestsKept)
	x.counter("ingest_digests_wrong_total", "Digests that did not agree with the ledger.", n.DigestsWrong)
	x.counter("ingest_digests_dropped_total", "Digests not compared because too many waited.", n.DigestsDropped)
}

func (a *Aggregator) putLedger(x *exposition) {
	l := a.ledger.Stats()
	x.counter("ledger_entries_total", "Entries of the log.", uint64(l.Head))
	x.gauge("ledger_bytes", "Size of the ledger's file.", l.Bytes)
	x.gauge("ledger_free_bytes", "Bytes of it that await reuse.", l.FreeBytes)
	x.gauge("ledger_last_commit_seconds", "Duration of the last transaction.", float64(l.CommitUS)/1e6)
	x.gauge("availability_skus", "Articles in the read model.", a.model.SKUs())
	x.gauge("availability_cells", "Article-location pairs in the read model.", a.model.Cells())
}

// lagQuantiles are of the stores, nearest rank.
var lagQuantiles = []float64{0.5, 0.9, 0.99, 1}

func (a *Aggregator) putFleet(x *exposition) {
	s := a.fleet.Snapshot()
	t, now := s.Totals, a.deps.Now().UnixMicro()
	x.gauge("fleet_locations", "Locations, configured or heard of.", t.Stores)
	x.gauge("fleet_stores_current", "Locations that are less than a minute behind.", t.Current)
	x.gauge("fleet_backlog_events", "Events that agents hold and the ledger does not.", t.BacklogEvents)
	presences, codes := map[protocol.Presence]int{}, map[string]int{}
	var lags []int64
	for _, st := range s.Stores {
		presences[st.Presence]++
		for _, c := range st.Codes {
			codes[c]++
		}
		if st.Type == "store" {
			lags = append(lags, st.BehindUS(now))
		}
	}
	for _, in := range s.Chain {
		codes[in.Code]++
	}
	x.family("fleet_stores", "gauge", "Locations by what they need.")
	for _, p := range protocol.Presences() {
		x.of("fleet_stores", "presence", string(p), presences[p])
	}
	x.family("fleet_lag_seconds", "gauge", "Age of the newest complete knowledge of a store, by quantile of the stores.")
	slices.Sort(lags)
	for _, q := range lagQuantiles {
		if n := len(lags); n > 0 {
			x.of("fleet_lag_seconds", "quantile", strconv.FormatFloat(q, 'g', -1, 64), float64(lags[max(int(q*float64(n)+0.5), 1)-1])/1e6)
		}
	}
	x.family("fleet_incidents", "gauge", "Open incidents by code; each code is a section of OPERATIONS.md.")
	for _, c := range fleet.Codes {
		x.of("fleet_incidents", "code", c, codes[c])
	}
	x.gauge("exceptions_open", "Events parked and not decided.", t.Exceptions)
}

// putSafe writes what the two watermarks rest on.
func (a *Aggregator) putSafe(x *exposition) {
	s := a.backups.Status()
	x.gauge("cloud_generation", "Raised by every restore.", s.Generation)
	x.family("safe_covered_by", "gauge", "1 for what lets stores trim their journals.")
	x.of("safe_covered_by", "source", s.CoveredBy, 1)
	if s.CoveredBy == ingest.CoveredByNone {
		return
	}
	x.counter("backup_attempts_total", "Copies begun.", s.Attempts)
	x.counter("backup_failures_total", "Copies that failed.", s.Failures)
	x.gauge("backup_period_seconds", "How often a copy is due.", s.EveryS)
	x.gauge("backup_overdue", "1 when no copy counted for two periods.", map[bool]int{true: 1}[s.Overdue])
	if s.Last != nil {
		x.gauge("backup_last_success_timestamp_seconds", "When the last copy that counts was made.", fmt.Sprintf("%.3f", float64(s.Last.At.UnixMilli())/1000))
		x.gauge("backup_last_duration_seconds", "How long it took.", s.Last.DurationS)
		x.gauge("backup_last_bytes", "Its size.", s.Last.Bytes)
		x.gauge("backup_last_position", "The log's head in it.", s.Last.Head)
	}
}

func (a *Aggregator) putBroker(x *exposition) {
	br := a.broker.Stats()
	x.gauge("broker_connections", "Open connections.", br.Open)
	x.gauge("broker_clients", "Authenticated agents.", br.Connected)
	x.counter("broker_refused_connections_total", "Connections refused at a limit or in the handshake.", br.RefusedCap+br.RefusedHandshake)
	x.counter("broker_refused_auth_total", "Connections with a credential that is not accepted.", br.RefusedAuth)
	x.counter("broker_denied_total", "Publications and subscriptions outside an agent's own topics.", br.Denied)
	x.counter("broker_rejected_total", "Messages that are no frame of ours.", br.Rejected)
	x.counter("broker_panics_total", "Handlers that failed; the connection was cut.", br.Panics)
	x.counter("broker_down_dropped_total", "Messages to agents dropped because their queue was full.", br.DownDropped)
}
