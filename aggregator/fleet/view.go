package fleet

import (
	"slices"
	"time"

	"tillwire/protocol"
)

// Snapshot is the chain at one moment. It and all below it never change.
type Snapshot struct {
	Boot       string // of this process; indexes and revisions are good within it
	Rev        uint64
	AtUS       int64
	Totals     protocol.FleetTotals
	Bands      [8]int
	Others     int                 // locations that are not stores
	Incidents  int                 // open ones
	MergedHere uint64              // events merged by this process
	Chain      []protocol.Incident // of the chain as a whole
	Stores     []*Store
}

// Store is one store as last judged. Lag is not in it: it grows by itself, see
// BehindUS.
type Store struct {
	StoreInfo
	Index       int
	Rev         uint64 // of the snapshot in which it last changed
	Presence    protocol.Presence
	SinceUS     int64 // of the presence
	WatermarkUS int64 // all up to then is merged; 0 = nothing known
	Backlog     uint64
	MergedSeq   uint64 // sum over its journals
	LastPOSUS   int64
	Version     string   // of its agents; "1.2, 1.3" where they differ
	Codes       []string // of its incidents
	Provisional bool     // rebuilding: numbers will still move

	nextUS       int64
	fleetStartUS int64
	safeBy       string
	agents       []agentView
	standing     []protocol.Incident
}

type agentView struct {
	facts facts
	v     verdict
	found []finding
}

// Snapshot is the newest. It is never nil.
func (f *Fleet) Snapshot() *Snapshot { return f.snap.Load() }

// Wait returns a channel that is closed at the next publication.
func (f *Fleet) Wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wake
}

// Changed lists the stores that changed after revision since.
func (n *Snapshot) Changed(since uint64) []*Store {
	var out []*Store
	for _, s := range n.Stores {
		if s.Rev > since {
			out = append(out, s)
		}
	}
	return out
}

// find looks a store up.
func (f *Fleet) find(id protocol.StoreID) *Store {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.byID[id]; s != nil {
		return s.view
	}
	return nil
}

// Watermark is the last moment (µs) at which nothing is known to be missing
// from a location; 0 = nothing was ever known.
func (f *Fleet) Watermark(id protocol.StoreID) int64 {
	if v := f.find(id); v != nil {
		return v.WatermarkUS
	}
	return 0
}

// BehindUS is how old the newest complete knowledge is: what tiles show.
func (s *Store) BehindUS(nowUS int64) int64 {
	w := s.WatermarkUS
	if w == 0 {
		w = s.fleetStartUS
	}
	if s.feedsOnly() {
		return 0 // a source is complete when it has spoken
	}
	return max(nowUS-w, 0)
}

func (s *Store) feedsOnly() bool {
	return len(s.agents) > 0 && s.agents[0].facts.origin.IsFeed()
}

func (s *Store) lagUS(nowUS int64) int64 {
	var lag int64
	for i := range s.agents {
		lag = max(lag, lagUS(&s.agents[i].facts, &s.agents[i].v, nowUS))
	}
	return lag
}

// fold makes the store's figures from its agents'. The worst presence is the
// store's; its watermark is the least of its agents', or the newest word of its
// sources where it has no agent.
func (s *Store) fold() {
	s.Presence = protocol.PresenceOffline
	var versions []string
	for i := range s.agents {
		a := &s.agents[i].facts
		p := s.agents[i].v.presence
		if i == 0 || severity(p) > severity(s.Presence) {
			if !a.origin.IsFeed() || s.feedsOnly() {
				s.Presence = p
			}
		}
		w := a.watermark()
		switch {
		case i == 0:
			s.WatermarkUS = w
		case s.feedsOnly():
			s.WatermarkUS = max(s.WatermarkUS, w)
		case !a.origin.IsFeed():
			s.WatermarkUS = min(s.WatermarkUS, w)
		}
		s.Backlog += a.pending()
		s.MergedSeq += a.merged
		s.LastPOSUS = max(s.LastPOSUS, a.lastPOS())
		if a.version != "" && !slices.Contains(versions, a.version) {
			versions = append(versions, a.version)
		}
		for _, x := range s.agents[i].found {
			s.Codes = append(s.Codes, x.code)
		}
	}
	if len(s.agents) == 0 {
		s.Codes = append(s.Codes, CodeNeverSeen)
	}
	for _, in := range s.standing {
		s.Codes = append(s.Codes, in.Code)
	}
	slices.Sort(s.Codes)
	s.Codes = slices.Compact(s.Codes)
	slices.Sort(versions)
	for i, x := range versions {
		if i > 0 {
			s.Version += ", "
		}
		s.Version += x
	}
	s.Provisional = s.Presence == protocol.PresenceRebuilding
}

// same tells whether a reader of the change feed would see no difference.
func (s *Store) same(o *Store) bool {
	return s.Presence == o.Presence && s.WatermarkUS == o.WatermarkUS && s.Backlog == o.Backlog && s.Version == o.Version &&
		s.MergedSeq == o.MergedSeq && s.Provisional == o.Provisional && slices.Equal(s.Codes, o.Codes)
}

// Status is the whole account of one store, as of now.
func (f *Fleet) Status(id protocol.StoreID) (protocol.StoreStatus, bool) {
	v := f.find(id)
	if v == nil {
		return protocol.StoreStatus{}, false
	}
	return v.Status(f.opts.Now().UnixMicro(), true), true
}

// Statuses lists all stores, without their agents.
func (f *Fleet) Statuses() []protocol.StoreStatus {
	n, now := f.Snapshot(), f.opts.Now().UnixMicro()
	out := make([]protocol.StoreStatus, len(n.Stores))
	for i, s := range n.Stores {
		out[i] = s.Status(now, false)
	}
	return out
}

// Status renders the view at a moment: lag and words grow with it.
func (s *Store) Status(nowUS int64, agents bool) protocol.StoreStatus {
	st := protocol.StoreStatus{
		Store: s.Store, Name: s.Name, Region: s.Region, Type: s.Type, Presence: s.Presence, Reason: s.reason(nowUS),
		LagS: float64(s.lagUS(nowUS)) / 1e6, BacklogEvents: s.Backlog, MergedEvents: s.MergedSeq,
		LastPOSWriteAt: at(s.LastPOSUS), Incidents: s.incidents(nowUS), SafeCoveredBy: s.safeBy, Phone: s.Phone,
	}
	var oldest int64
	for i := range s.agents {
		a := &s.agents[i].facts
		st.MergedSeq += a.merged
		st.OwnEvents += a.own
		st.HeadSeq += max(a.head, a.merged)
		st.SafeSeq += a.safe
		if a.hb != nil {
			st.BacklogBytes += a.hb.BacklogBytes
		}
		if d := a.due(); d > 0 && (oldest == 0 || d < oldest) {
			oldest = d
		}
		if ms := a.clockMS(); abs(ms) > abs(st.ClockOffsetMS) {
			st.ClockOffsetMS = ms
		}
		if eta, ok := etaS(a); ok && s.agents[i].v.presence == protocol.PresenceDraining && (st.DrainETAS == nil || eta > *st.DrainETAS) {
			st.DrainETAS = &eta
		}
		if agents {
			x := s.agents[i].status(nowUS)
			x.SafeCoveredBy = s.safeBy
			st.Agents = append(st.Agents, x)
		}
	}
	if s.Backlog == 0 {
		st.BacklogBytes = 0
	}
	st.OldestUnackedAt = at(oldest)
	return st
}

// reason is the worst agent's, and says whose it is where there are several.
func (s *Store) reason(nowUS int64) string {
	worst, n, alike := -1, 0, 0
	for i := range s.agents {
		if s.agents[i].facts.origin.IsFeed() && !s.feedsOnly() {
			continue
		}
		n++
		if worst < 0 || severity(s.agents[i].v.presence) > severity(s.agents[worst].v.presence) {
			worst, alike = i, 0
		}
		if s.agents[i].v.presence == s.agents[worst].v.presence {
			alike++
		}
	}
	if worst < 0 {
		return "No agent of this store has ever connected."
	}
	a := &s.agents[worst]
	words := reasonFor(&a.facts, &a.v, nowUS)
	if n > 1 && alike < n {
		words = string(a.facts.origin.Agent) + " (" + Count(uint64(alike)) + " of " + Count(uint64(n)) + " agents): " + words
	}
	return words
}

func (s *Store) incidents(nowUS int64) []protocol.Incident {
	out := []protocol.Incident{}
	for i := range s.agents {
		out = append(out, s.agents[i].incidents(nowUS)...)
	}
	if len(s.agents) == 0 {
		out = append(out, protocol.Incident{
			ID: CodeNeverSeen + "/" + string(s.Store), Code: CodeNeverSeen, Store: s.Store, Since: time.UnixMicro(s.fleetStartUS).UTC(),
			Summary: "No agent of this store has ever connected.", Remedy: Remedies[CodeNeverSeen],
		})
	}
	return append(out, s.standing...)
}

func (a *agentView) incidents(nowUS int64) []protocol.Incident {
	out := make([]protocol.Incident, 0, len(a.found))
	o := a.facts.origin
	for _, x := range a.found {
		out = append(out, protocol.Incident{
			ID: x.code + "/" + o.String(), Code: x.code, Store: o.Store, Agent: o.Agent, Since: time.UnixMicro(x.sinceUS).UTC(),
			Summary: describe(x.code, &a.facts, &a.v, nowUS), Remedy: Remedies[x.code],
		})
	}
	return out
}

func (a *agentView) status(nowUS int64) protocol.AgentStatus {
	f := &a.facts
	st := protocol.AgentStatus{
		Store: f.origin.Store, Agent: f.origin.Agent, Presence: a.v.presence, Reason: reasonFor(f, &a.v, nowUS), Connected: f.connected,
		LagS: float64(lagUS(f, &a.v, nowUS)) / 1e6, BacklogEvents: f.pending(), OldestUnackedAt: at(f.due()), DrainPerS: f.drainPerS,
		Epoch: f.epoch, Lease: f.lease, MergedSeq: f.merged, HeadSeq: max(f.head, f.merged), SafeSeq: f.safe, TailSeq: f.tail,
		ClockOffsetMS: f.clockMS(), LastHeartbeatAt: at(f.hbUS), LastPOSWriteAt: at(f.lastPOS()), LastMergedAt: at(f.mergedUS),
		Registers: []protocol.RegisterSeen{}, AgentVersion: f.version, Incidents: a.incidents(nowUS), Counters: map[string]uint64{},
	}
	if eta, ok := etaS(f); ok && a.v.presence == protocol.PresenceDraining {
		st.DrainETAS = &eta
	}
	if hb := f.hb; hb != nil {
		st.Update = hb.Update
		if st.BacklogEvents > 0 {
			st.BacklogBytes = hb.BacklogBytes
		}
		st.Registers = append(st.Registers, hb.Registers...)
		st.ClockErrorMS = hb.ClockErrorMS
		st.DiskFreeBytes, st.JournalBytes, st.FsyncP99US = hb.DiskFreeBytes, hb.JournalBytes, hb.FsyncP99US
		st.LastError, st.UptimeS = hb.LastError, hb.UptimeS
		for k, v := range hb.Counters {
			st.Counters[k] = v
		}
	}
	if f.refusedTotal > 0 {
		st.Counters["frames_refused_by_aggregator"] = f.refusedTotal
	}
	return st
}

func at(us int64) *time.Time {
	if us <= 0 {
		return nil
	}
	t := time.UnixMicro(us).UTC()
	return &t
}

func abs(n int64) int64 {
	if n < 0 {
		return -n
	}
	return n
}
