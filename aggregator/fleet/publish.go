package fleet

import (
	"encoding/json"
	"slices"
	"time"

	"tillwire/protocol"
)

// Publish judges what changed since the last time, and whatever was due to
// change by time alone, and makes a new snapshot. Run calls it; tests may.
func (f *Fleet) Publish() {
	f.mu.Lock()
	now := f.opts.Now().UnixMicro()
	e := f.env(now)
	old := f.snap.Load()
	if old == nil || e.trading != f.trading {
		f.trading = e.trading
		for _, s := range f.stores {
			f.touch(s)
		}
	} else {
		for _, s := range f.stores { // one compare each
			if s.view == nil || s.view.nextUS < now {
				f.touch(s)
			}
		}
	}
	f.rev++
	changed := len(f.dirty) > 0
	for _, s := range f.dirty {
		s.dirty = false
		f.judgeStore(s, &e)
	}
	f.dirty = f.dirty[:0]
	next := &Snapshot{Boot: f.boot, Rev: f.rev, AtUS: now}
	if old != nil && !changed {
		next.Stores = old.Stores
	} else {
		next.Stores = make([]*Store, len(f.stores))
		for i, s := range f.stores {
			next.Stores[i] = s.view
		}
	}
	next.Chain = f.ofChain()
	f.sum(next)
	f.record(next)
	f.snap.Store(next)
	close(f.wake)
	f.wake = make(chan struct{})
	var keep []byte
	if f.keep {
		keep, _ = json.Marshal(f.standing) // of strings and times: cannot fail
		f.keep = false
	}
	f.mu.Unlock()
	if keep != nil && f.opts.Keep != nil {
		f.opts.Keep(keep)
	}
}

func (f *Fleet) env(now int64) env {
	o := &f.opts
	e := env{
		nowUS: now, startUS: f.startUS, graceUS: o.Grace.Microseconds(), stuckUS: o.StuckAfter.Microseconds(), drainUS: o.DrainAfter.Microseconds(),
		posSilentUS: o.POSSilent.Microseconds(), feedSilentUS: o.FeedSilent.Microseconds(),
	}
	known, selling := 0, 0
	for _, s := range f.stores {
		if s.view == nil || s.view.LastPOSUS == 0 || s.view.Presence == protocol.PresenceOffline {
			continue
		}
		known++
		if now-s.view.LastPOSUS < e.posSilentUS {
			selling++
		}
	}
	// At night all tills are silent, and none of them is news.
	e.trading = known > 0 && selling*2 >= known
	return e
}

// judgeStore rebuilds the view of one store from its agents.
func (f *Fleet) judgeStore(s *store, e *env) {
	v := &Store{StoreInfo: s.info, Index: s.index, Rev: f.rev, nextUS: never, fleetStartUS: f.startUS, safeBy: f.opts.SafeCoveredBy}
	for _, a := range s.agents {
		was := a.v.presence
		a.v = judge(&a.facts, e)
		if a.v.presence != was {
			a.seen = e.nowUS
			f.log(a, was)
		}
		if a.v.sinceUS == 0 {
			a.v.sinceUS = a.seen
		}
		v.nextUS = min(v.nextUS, a.v.nextUS)
		v.agents = append(v.agents, agentView{facts: a.facts, v: a.v, found: a.findings(e)})
	}
	for _, in := range f.standing {
		if in.Store == s.info.Store {
			v.standing = append(v.standing, in)
		}
	}
	if s.refused {
		v.standing = append(v.standing, protocol.Incident{
			ID: CodeTooManyAgents + "/" + string(s.info.Store), Code: CodeTooManyAgents, Store: s.info.Store, Since: time.UnixMicro(f.startUS).UTC(),
			Summary: "More than " + Count(AgentsPerStoreMax) + " agent names were used in this store; the others are not shown.", Remedy: Remedies[CodeTooManyAgents],
		})
	}
	v.fold()
	if s.view != nil && s.view.same(v) {
		v.Rev = s.view.Rev // nothing that a reader of the change feed would see
	}
	if s.view != nil && s.view.Presence == v.Presence {
		v.SinceUS = s.view.SinceUS
	}
	if v.SinceUS == 0 {
		v.SinceUS = e.nowUS
	}
	s.view = v
}

// findings keeps since when each one holds.
func (a *agent) findings(e *env) []finding {
	found := findings(&a.facts, &a.v, e)
	open := make(map[string]int64, len(found))
	for i := range found {
		x := &found[i]
		if x.sinceUS == 0 {
			x.sinceUS = e.nowUS
			if t, ok := a.since[x.code]; ok {
				x.sinceUS = t
			}
		}
		open[x.code] = x.sinceUS
	}
	a.since = open
	return found
}

func (f *Fleet) log(a *agent, was protocol.Presence) {
	if was == "" {
		return
	}
	f.opts.Log.Info().Str("store", string(a.origin.Store)).Str("agent", string(a.origin.Agent)).
		Str("was", string(was)).Str("presence", string(a.v.presence)).Msg("presence changed")
}

// sum adds the chain up. It visits each store once: 20 µs at 4,000 stores.
func (f *Fleet) sum(n *Snapshot) {
	t := &n.Totals
	t.Stores, t.MergedEvents, t.At = len(n.Stores), 0, time.UnixMicro(n.AtUS).UTC()
	worst := int64(-1)
	for _, s := range n.Stores {
		t.ByPresence[severity(s.Presence)]++
		t.BacklogEvents += s.Backlog
		t.MergedEvents += s.MergedSeq
		behind := s.BehindUS(n.AtUS)
		n.Bands[protocol.Band(s.Presence, behind)]++
		if s.Presence != protocol.PresenceOffline && behind < 60_000_000 {
			t.Current++
		}
		if lag := s.lagUS(n.AtUS); lag > worst {
			worst, t.WorstStore, t.WorstLagS = lag, s.Store, float64(lag)/1e6
		}
		if s.Type != "store" {
			n.Others++
		}
		n.Incidents += len(s.Codes)
	}
	n.Incidents += len(n.Chain)
	f.rate[f.rates%len(f.rate)] = rateAt{n.AtUS, f.merged}
	first := f.rate[(f.rates+1)%len(f.rate)]
	if f.rates < len(f.rate) {
		first = f.rate[0]
	}
	f.rates++
	if dt := n.AtUS - first.us; dt > 0 {
		t.EventsPerS = float64(f.merged-first.merged) / (float64(dt) / 1e6)
	}
	n.MergedHere = f.merged
	if f.opts.Exceptions != nil {
		t.Exceptions = f.opts.Exceptions()
	}
}

// record samples the histories at their distances.
func (f *Fleet) record(n *Snapshot) {
	f.fineUS = f.sampleAll(n, f.fineUS, fineEveryUS, fineSamples, func(s *store, x sample) { s.fine.push(x, fineSamples) })
	f.coarseUS = f.sampleAll(n, f.coarseUS, coarseEveryUS, coarseSamples, func(s *store, x sample) {
		s.coarse.push(x, coarseSamples)
		s.past.push(packState(severity(s.view.Presence), protocol.Band(s.view.Presence, s.view.BehindUS(n.AtUS))), coarseSamples)
	})
	f.bands.add(n)
}

// sampleAll pushes one sample per distance passed since last, on a fixed grid;
// where publications were missed, the present stands for the gap.
func (f *Fleet) sampleAll(n *Snapshot, last, every int64, limit int, put func(*store, sample)) int64 {
	at := n.AtUS - n.AtUS%every
	times := int64(1)
	if last > 0 {
		times = min((at-last)/every, int64(limit))
	}
	if times <= 0 {
		return last
	}
	for _, s := range f.stores {
		x := sample{pack(uint64(max(s.view.lagUS(n.AtUS), 0)) / 100_000), pack(s.view.Backlog)}
		for range times {
			put(s, x)
		}
	}
	return at
}

// bandHistory is how many stores were in each lag band, one column per
// 5 min.
type bandHistory struct{ cols []protocol.BandColumn }

func (b *bandHistory) add(n *Snapshot) {
	at := n.AtUS - n.AtUS%bandEveryUS
	if k := len(b.cols); k > 0 && b.cols[k-1].AtUS == at {
		if late(&n.Bands) >= late(&b.cols[k-1].Count) {
			b.cols[k-1].Count = n.Bands
		}
		return
	}
	if len(b.cols) >= bandColumns {
		b.cols = slices.Delete(b.cols, 0, len(b.cols)-bandColumns+1)
	}
	b.cols = append(b.cols, protocol.BandColumn{AtUS: at, Count: n.Bands})
}

func late(b *[8]int) (n int) {
	for i := 1; i < len(b); i++ {
		n += b[i] * i
	}
	return n
}
