package intake

import (
	"bytes"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"

	"tillwire/protocol"
	"tillwire/store/journal"
)

// counters are made once: a sale only adds to them.
type counters struct {
	set      *metrics.Set
	accepted [protocol.KindLimit]*metrics.Counter // by kind
	again    [protocol.KindLimit]*metrics.Counter
	masked   *metrics.Counter
	clock    *metrics.Counter
	seconds  *metrics.Histogram
	byCode   sync.Map // refusals: code → *atomic.Uint64, for heartbeats
}

// newCounters registers the port's and the journal's metrics in base units.
func newCounters(set *metrics.Set, in *Intake) *counters {
	c := &counters{
		set:     set,
		masked:  set.NewCounter("tillwire_agent_pan_masked_total"),
		clock:   set.NewCounter("tillwire_agent_clock_ahead_total"),
		seconds: set.NewHistogram("tillwire_agent_document_seconds"),
	}
	for k := protocol.KindSale; k.Valid(); k++ {
		c.accepted[k] = set.NewCounter(`tillwire_agent_documents_total{kind="` + k.String() + `",result="journaled"}`)
		c.again[k] = set.NewCounter(`tillwire_agent_documents_total{kind="` + k.String() + `",result="duplicate"}`)
	}
	gauge := func(name string, f func(journal.State) float64) {
		set.NewGauge(name, func() float64 { return f(in.o.Journal.State()) })
	}
	gauge("tillwire_agent_journal_head_seq", func(s journal.State) float64 { return float64(s.Head) })
	gauge("tillwire_agent_journal_merged_seq", func(s journal.State) float64 { return float64(s.Merged) })
	gauge("tillwire_agent_journal_safe_seq", func(s journal.State) float64 { return float64(s.Safe) })
	gauge("tillwire_agent_backlog_events", func(s journal.State) float64 { return float64(s.BacklogEvents) })
	gauge("tillwire_agent_backlog_bytes", func(s journal.State) float64 { return float64(s.BacklogBytes) })
	gauge("tillwire_agent_journal_bytes", func(s journal.State) float64 { return float64(s.FileBytes) })
	gauge("tillwire_agent_disk_free_bytes", func(s journal.State) float64 { return float64(s.DiskFree) })
	gauge("tillwire_agent_fsync_p99_seconds", func(s journal.State) float64 { return float64(s.FsyncP99US) / 1e6 })
	gauge("tillwire_agent_backlog_age_seconds", func(s journal.State) float64 {
		if s.OldestUnackedUS == 0 {
			return 0
		}
		return max(0, float64(in.o.Now().UnixMicro()-s.OldestUnackedUS)/1e6)
	})
	set.NewGauge("tillwire_agent_link_connected", func() float64 {
		if in.o.Link().Connected {
			return 1
		}
		return 0
	})
	set.NewGauge("tillwire_agent_start_time_seconds", func() float64 { return float64(in.started.Unix()) })
	set.NewGauge("tillwire_agent_local_stock_skus", func() float64 { return float64(in.stock.size()) })
	return c
}

func (s *stock) size() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.cells)
}

func (c *counters) journaled(e *protocol.Event, duplicate bool) {
	if duplicate {
		c.again[e.Kind].Inc()
	} else {
		c.accepted[e.Kind].Inc()
	}
	if e.Flags&protocol.FlagMasked != 0 {
		c.masked.Inc()
	}
}

// refused counts by code; codes are few and ours.
func (c *counters) refused(k protocol.Kind, p *protocol.Problem) {
	kind := "any"
	if k.Valid() {
		kind = k.String()
	}
	c.set.GetOrCreateCounter(`tillwire_agent_refused_total{kind="` + kind + `",code="` + p.Code + `"}`).Inc()
	c.refusal(p.Code)
}

func (c *counters) refusal(code string) {
	n, known := c.byCode.Load(code)
	if !known {
		n, _ = c.byCode.LoadOrStore(code, new(atomic.Uint64))
	}
	n.(*atomic.Uint64).Add(1)
}

// Counters are the refusals since the start by their code, and the card numbers
// masked: what heartbeats carry up. The keys begin with http_.
func (in *Intake) Counters() map[string]uint64 {
	m := map[string]uint64{}
	in.count.byCode.Range(func(code, n any) bool {
		m["http_"+code.(string)] = n.(*atomic.Uint64).Load()
		return true
	})
	if n := in.count.masked.Get(); n > 0 {
		m["http_pan_masked"] = n
	}
	return m
}

// guard counts requests refused before their document was looked at.
func (c *counters) guard(why string) {
	c.set.GetOrCreateCounter(`tillwire_agent_requests_refused_total{why="` + why + `"}`).Inc()
	c.refusal("guard_" + why)
}

func (in *Intake) metrics(w http.ResponseWriter, _ *http.Request) {
	var b bytes.Buffer
	in.count.set.WritePrometheus(&b)
	answer(w, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", b.Bytes())
}
