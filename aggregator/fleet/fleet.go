package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// StoreInfo is what the configuration says of a store.
type StoreInfo struct {
	Store  protocol.StoreID
	Name   string
	Region string
	Type   string // store | dc
	Phone  string // whom to call there; "" = not configured
}

// Options of a Fleet; zero values mean the defaults.
type Options struct {
	Now           func() time.Time
	Log           zerolog.Logger
	Stores        []StoreInfo
	Publish       time.Duration // how often snapshots appear
	Grace         time.Duration // silence before a store is offline
	StuckAfter    time.Duration
	DrainAfter    time.Duration
	POSSilent     time.Duration
	FeedSilent    time.Duration
	SafeCoveredBy string       // what safe rests on, as answers tell it; "" = none
	Exceptions    func() int   // open dead letters, for the totals; must be cheap
	Keep          func([]byte) // told to keep the standing incidents; see Restore
}

// Fleet is safe for concurrent use. Hooks cost O(1); reads wait for nobody.
type Fleet struct {
	opts Options
	boot string
	snap atomic.Pointer[Snapshot]

	mu            sync.Mutex // guards all below
	startUS       int64
	stores        []*store
	byID          map[protocol.StoreID]*store
	dirty         []*store
	wake          chan struct{} // closed at the next publication
	rev           uint64
	merged        uint64 // events merged by this process
	rate          [rateWindow + 1]rateAt
	rates         int
	standing      []protocol.Incident
	chain         []protocol.Incident // of the chain as a whole, closing by themselves; never changed in place
	keep          bool                // standing changed since Keep was told
	bands         bandHistory
	fineUS        int64
	coarseUS      int64
	trading       bool
	refusedStores uint64
}

type rateAt struct {
	us     int64
	merged uint64
}

type store struct {
	info         StoreInfo
	index        int
	agents       []*agent
	dirty        bool
	refused      bool // more agents than the limit wanted in
	fine, coarse ring[sample]
	past         ring[uint8] // packState beside each coarse sample: time travel
	view         *Store
}

type agent struct {
	facts
	v     verdict
	since map[string]int64 // open findings, by code
	seen  int64            // when the present presence began
}

// New makes a fleet of the configured stores; others join when they are heard.
func New(o Options) *Fleet {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SafeCoveredBy == "" {
		o.SafeCoveredBy = "none"
	}
	def(&o.Publish, DefaultPublish)
	def(&o.Grace, protocol.PresenceGrace)
	def(&o.StuckAfter, DefaultStuckAfter)
	def(&o.DrainAfter, DefaultDrainAfter)
	def(&o.POSSilent, DefaultPOSSilent)
	def(&o.FeedSilent, DefaultFeedSilent)
	now := o.Now().UnixMicro()
	f := &Fleet{opts: o, startUS: now, boot: strconv.FormatInt(now, 36), byID: map[protocol.StoreID]*store{}, wake: make(chan struct{})}
	for _, s := range o.Stores {
		f.storeOf(s.Store, &s)
	}
	f.Publish()
	return f
}

// Load tells the marks of the ledger, before anything else is told.
func (f *Fleet) Load(marks []ledger.Mark) {
	f.mu.Lock()
	for i := range marks {
		if a, s := f.agentOf(marks[i].Origin); a != nil {
			a.load(&marks[i])
			f.touch(s)
		}
	}
	f.mu.Unlock()
	f.Publish()
}

// Restore gives back what Keep was told.
func (f *Fleet) Restore(b []byte) error {
	var in []protocol.Incident
	if err := json.Unmarshal(b, &in); err != nil {
		return fmt.Errorf("restore standing incidents: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.standing = in[:min(len(in), StandingMax)]
	for _, i := range f.standing {
		if i.Store == protocol.ChainStore {
			continue
		}
		if s := f.storeOf(i.Store, nil); s != nil {
			f.touch(s)
		}
	}
	return nil
}

// Run publishes until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	t := time.NewTicker(f.opts.Publish)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			f.Publish()
		}
	}
}

// Connected tells that the broker's connection of o came up or went down.
func (f *Fleet) Connected(o protocol.Origin, up bool, us int64) {
	f.with(o, func(a *agent) { a.onConnected(up, us) })
}

// Hello tells an agent's first word on a connection.
func (f *Fleet) Hello(o protocol.Origin, h protocol.Hello, us int64) {
	f.with(o, func(a *agent) {
		for _, l := range a.onHello(&h, us) {
			f.stand(o, l, us)
		}
	})
}

// Heartbeat tells an agent's heartbeat; hb is the fleet's to keep.
func (f *Fleet) Heartbeat(o protocol.Origin, hb *protocol.Heartbeat, us int64) {
	hb.Registers = hb.Registers[:min(len(hb.Registers), registersMax)]
	hb.LastError, hb.ConfigRefused = clip(hb.LastError), clip(hb.ConfigRefused)
	if u := hb.Update; u != nil {
		u.Slot, u.State, u.Wanted, u.Reason = clip(u.Slot), clip(u.State), clip(u.Wanted), clip(u.Reason)
	}
	if len(hb.Counters) > countersMax {
		keys := slices.Sorted(maps.Keys(hb.Counters))
		for _, k := range keys[countersMax:] {
			delete(hb.Counters, k)
		}
	}
	f.with(o, func(a *agent) { a.onHeartbeat(hb, us) })
}

// Will tells a last will; one of an older lease is ignored.
func (f *Fleet) Will(o protocol.Origin, w protocol.Will, us int64) {
	f.with(o, func(a *agent) { a.onWill(&w, us) })
}

// Merged tells, after the commit, how far o is merged now; n events were new.
// lastRecordUS is the record time at the mark, agent's clock.
func (f *Fleet) Merged(o protocol.Origin, m ledger.Mark, lastRecordUS int64, n int) {
	us := f.opts.Now().UnixMicro()
	f.with(o, func(a *agent) {
		a.onMerged(&m, lastRecordUS, us)
		f.merged += uint64(n)
	})
}

// Safe tells how far o's events are in a verified backup.
func (f *Fleet) Safe(o protocol.Origin, safe uint64) {
	f.with(o, func(a *agent) { a.safe = safe })
}

// Announced tells that what an agent said of its backlog covers its journal up to
// a seq and a record time of its clock; 0, 0: no more than is merged.
func (f *Fleet) Announced(o protocol.Origin, asOf uint64, asOfUS int64) {
	f.with(o, func(a *agent) { a.digest, a.digestUS = asOf, asOfUS })
}

// Refused tells that a frame, or a HELLO, of o was refused.
func (f *Fleet) Refused(o protocol.Origin, reason protocol.NackReason) {
	us := f.opts.Now().UnixMicro()
	f.with(o, func(a *agent) { a.onRefused(reason, us) })
}

// Copies tells that processes of one name are quarantined, or that one was picked.
func (f *Fleet) Copies(c protocol.Copies) {
	f.with(protocol.Origin{Store: c.Store, Agent: c.Agent}, func(a *agent) {
		if a.quarantinedUS = 0; c.State == protocol.CopiesQuarantined {
			a.quarantinedUS = c.QuarantinedAt.UnixMicro()
		}
	})
	for _, x := range c.Copies {
		if x.Agent != "" && x.Agent != c.Agent {
			f.with(protocol.Origin{Store: c.Store, Agent: x.Agent}, func(a *agent) { a.copyOf = c.Agent })
		}
	}
}

// Acknowledge closes a standing incident, whose remedy was done by a person.
func (f *Fleet) Acknowledge(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.standing, func(in protocol.Incident) bool { return in.ID == id })
	if i < 0 {
		return false
	}
	if s := f.byID[f.standing[i].Store]; s != nil {
		f.touch(s)
	}
	f.standing = slices.Delete(slices.Clone(f.standing), i, i+1)
	f.keep = true
	return true
}

func (f *Fleet) with(o protocol.Origin, fn func(*agent)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, s := f.agentOf(o)
	if a == nil {
		return
	}
	fn(a)
	f.touch(s)
}

func (f *Fleet) touch(s *store) {
	if !s.dirty {
		s.dirty = true
		f.dirty = append(f.dirty, s)
	}
}

func (f *Fleet) storeOf(id protocol.StoreID, info *StoreInfo) *store {
	if s := f.byID[id]; s != nil {
		return s
	}
	if len(f.stores) >= StoresMax {
		f.refusedStores++
		return nil
	}
	s := &store{info: StoreInfo{Store: id, Name: string(id)}, index: len(f.stores)}
	if info != nil {
		s.info = *info
	}
	if s.info.Type == "" {
		s.info.Type = "store"
	}
	f.stores = append(f.stores, s)
	f.byID[id] = s
	f.touch(s)
	return s
}

func (f *Fleet) agentOf(o protocol.Origin) (*agent, *store) {
	s := f.storeOf(o.Store, nil)
	if s == nil {
		return nil, nil
	}
	for _, a := range s.agents {
		if a.origin == o {
			return a, s
		}
	}
	if len(s.agents) >= AgentsPerStoreMax {
		s.refused = true
		f.touch(s)
		return nil, s
	}
	a := &agent{since: map[string]int64{}}
	a.origin = o
	s.agents = append(s.agents, a)
	slices.SortFunc(s.agents, func(x, y *agent) int { // agents before feeds, each by name
		if x.origin.IsFeed() != y.origin.IsFeed() {
			if x.origin.IsFeed() {
				return 1
			}
			return -1
		}
		if x.origin.Agent < y.origin.Agent {
			return -1
		}
		return 1
	})
	return a, s
}

// stand raises an incident that stays until a person closes it.
func (f *Fleet) stand(o protocol.Origin, l loss, us int64) {
	in := protocol.Incident{
		ID:   CodeUnrecoverable + "/" + o.String() + "/" + strconv.FormatUint(l.first, 10) + "-" + strconv.FormatUint(l.last, 10),
		Code: CodeUnrecoverable, Store: o.Store, Agent: o.Agent, Since: time.UnixMicro(us).UTC(),
		Summary: "At least " + plural(l.last-l.first+1, "event") + " lost (seq " + strconv.FormatUint(l.first, 10) + " to " + strconv.FormatUint(l.last, 10) + "): " + l.why + ".",
		Remedy:  Remedies[CodeUnrecoverable],
	}
	f.opts.Log.Error().Str("store", string(o.Store)).Str("agent", string(o.Agent)).Uint64("seq", l.first).Uint64("last_seq", l.last).Msg("events unrecoverable")
	if len(f.standing) >= StandingMax || slices.ContainsFunc(f.standing, func(x protocol.Incident) bool { return x.ID == in.ID }) {
		return
	}
	f.standing = append(slices.Clip(f.standing), in)
	f.keep = true
}
