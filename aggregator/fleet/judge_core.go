package fleet

import (
	"math"
	"strings"

	"tillwire/protocol"
)

// env is what judging needs beside the facts.
type env struct {
	nowUS, startUS            int64
	graceUS, stuckUS, drainUS int64
	posSilentUS, feedSilentUS int64
	trading                   bool // most of the chain sells: silence of one till is news
}

// verdict is what the facts mean at a moment.
//
//	               no connection, or no word, for the grace
//	any ────────────────────────────────────────────────────► offline
//	connected:  refused, or backlog without progress ───────► stuck
//	            merged below the head it once had ──────────► rebuilding
//	            backlog older than DrainAfter, moving ──────► draining
//	            no write of any register, chain is selling ─► pos_silent
//	            else ───────────────────────────────────────► online
type verdict struct {
	presence protocol.Presence
	cause    cause
	sinceUS  int64 // 0: since the presence was first seen
	nextUS   int64 // the verdict holds until then, unless something is heard
}

// cause tells apart the ways into one presence.
type cause uint8

const (
	causeNone cause = iota
	causeNever
	causeRestart // not heard of since the aggregator started
	causeDropped
	causeMute // connection is open, heartbeats stopped
	causeRefused
	causeNoProgress
)

const never = math.MaxInt64

func judge(f *facts, e *env) verdict {
	if f.origin.IsFeed() {
		return judgeFeed(f, e)
	}
	if v, off := judgeOffline(f, e); off {
		return v
	}
	next := int64(never)
	later := func(at int64) bool { // true once at has passed; else remembers it
		if e.nowUS > at {
			return true
		}
		next = min(next, at)
		return false
	}
	if f.connected {
		later(f.lastHeard() + e.graceUS)
	} else {
		later(f.connUS + e.graceUS)
	}
	pending, due := f.pending(), f.due()
	if pending > 0 && blocking(f.refused) && !later(f.refusedUS+e.stuckUS) && f.refusedUS > f.mergedUS {
		return verdict{protocol.PresenceStuck, causeRefused, f.progressUS, next}
	}
	if pending > 0 && later(max(due, f.progressUS)+e.stuckUS) {
		return verdict{protocol.PresenceStuck, causeNoProgress, f.progressUS, next}
	}
	if f.rebuildTo > f.merged {
		return verdict{presence: protocol.PresenceRebuilding, nextUS: next}
	}
	if pending > 0 && later(due+e.drainUS) {
		return verdict{presence: protocol.PresenceDraining, nextUS: next}
	}
	if pos := f.lastPOS(); pos > 0 && e.trading && later(pos+e.posSilentUS) {
		return verdict{protocol.PresencePOSSilent, causeNone, pos, next}
	}
	return verdict{presence: protocol.PresenceOnline, nextUS: next}
}

func judgeOffline(f *facts, e *env) (verdict, bool) {
	switch {
	case !f.heard && !f.marked:
		return verdict{protocol.PresenceOffline, causeNever, 0, never}, true
	case !f.heard:
		next := e.startUS + e.graceUS
		if e.nowUS > next {
			next = never
		}
		return verdict{protocol.PresenceOffline, causeRestart, f.mergedUS, next}, true
	case f.connected && e.nowUS > f.lastHeard()+e.graceUS:
		return verdict{protocol.PresenceOffline, causeMute, f.lastHeard(), never}, true
	case !f.connected && e.nowUS > f.connUS+e.graceUS && e.nowUS > f.mergedUS+e.graceUS:
		since := f.connUS
		if since == 0 {
			since = f.lastHeard()
		}
		return verdict{protocol.PresenceOffline, causeDropped, since, never}, true
	}
	return verdict{}, false
}

func judgeFeed(f *facts, e *env) verdict {
	at := f.mergedUS + e.feedSilentUS
	if e.nowUS > at {
		return verdict{protocol.PresencePOSSilent, causeNone, f.mergedUS, never}
	}
	return verdict{presence: protocol.PresenceOnline, nextUS: at}
}

// blocking tells refusals that do not go away by themselves.
func blocking(r protocol.NackReason) bool {
	switch r {
	case protocol.NackNone, protocol.NackGap, protocol.NackBusy, protocol.NackNoSession:
		return false
	}
	return true
}

// lagUS is the age of the oldest event known to be not merged; of an offline
// agent at least its silence.
func lagUS(f *facts, v *verdict, nowUS int64) int64 {
	var lag int64
	if d := f.due(); d > 0 {
		lag = nowUS - d
	}
	if v.presence == protocol.PresenceOffline && !f.origin.IsFeed() {
		if t := f.lastHeard(); t > 0 {
			lag = max(lag, nowUS-t)
		}
	}
	return max(lag, 0)
}

// etaS is how long draining will take at the present pace; ok is false where
// it would never end, or nothing is known of the pace.
func etaS(f *facts) (float64, bool) {
	net := f.drainPerS - f.inflowPerS
	if f.pending() == 0 || net <= 0 {
		return 0, false
	}
	return float64(f.pending()) / net, true
}

// reasonFor says a verdict in words, for whoever has to make the phone call.
func reasonFor(f *facts, v *verdict, nowUS int64) string {
	n := f.pending()
	since := func(us int64) string { return Ago(nowUS - us) }
	if f.origin.IsFeed() {
		if v.presence == protocol.PresencePOSSilent {
			return "No statement from this source for " + since(f.mergedUS) + "."
		}
		return "Last statement merged " + since(f.mergedUS) + " ago."
	}
	switch v.presence {
	case protocol.PresenceOffline:
		return offlineWords(f, v, nowUS)
	case protocol.PresenceStuck:
		s := "Stuck for " + since(v.sinceUS) + ": connected, but " + wait(n) + " and none is merged"
		if v.cause == causeRefused {
			s += "; its frames are refused (" + refusalWords(f.refused) + ")"
		} else if f.hb != nil && f.hb.LastError != "" {
			s += "; its last error was: " + clip(f.hb.LastError)
		}
		return s + ". It keeps selling; nothing is lost."
	case protocol.PresenceRebuilding:
		return "Rebuilding: the aggregator asked for its journal again; " +
			Count(f.rebuildTo-min(f.rebuildTo, f.merged)) + " of " + plural(f.rebuildTo, "event") + " still to come."
	case protocol.PresenceDraining:
		s := since(f.due()) + " behind and catching up: " + wait(n) + " in its journal"
		if eta, ok := etaS(f); ok {
			return s + "; current in about " + Ago(int64(eta*1e6)) + "."
		}
		return s + "; at the present pace it is not getting shorter."
	case protocol.PresencePOSSilent:
		return "No till has written for " + since(v.sinceUS) + " while the chain is selling. The link is fine; look at the tills."
	}
	if n > 0 {
		return "Sales arrive within seconds; " + plural(n, "event") + " on the way."
	}
	return "Sales arrive within seconds; nothing is waiting."
}

func offlineWords(f *facts, v *verdict, nowUS int64) string {
	held := " It keeps selling into its journal; all it had told of is merged."
	if n := f.pending(); n > 0 {
		held = " It keeps selling; at least " + wait(n) + " in its journal."
	}
	switch v.cause {
	case causeNever:
		return "No agent of this store has ever connected."
	case causeRestart:
		if f.mergedUS == 0 {
			return "Not heard of since the aggregator started." + held
		}
		return "Not heard of since the aggregator started; its last merge was " + Ago(nowUS-f.mergedUS) + " ago." + held
	case causeMute:
		return "Offline for " + Ago(nowUS-v.sinceUS) + "; its connection is open but heartbeats stopped." + held
	}
	return "Offline for " + Ago(nowUS-v.sinceUS) + "; its link dropped." + held
}

func refusalWords(r protocol.NackReason) string {
	switch r {
	case protocol.NackSuperseded:
		return "another machine speaks for this agent"
	case protocol.NackChain:
		return "its journal does not continue what is merged"
	case protocol.NackUpgrade:
		return "its version is not understood"
	case protocol.NackMalformed:
		return "they cannot be read"
	case protocol.NackQuarantined:
		return "several machines speak under its name"
	}
	return strings.ReplaceAll(clip(string(r)), "_", " ")
}

// severity orders presences, worst highest.
func severity(p protocol.Presence) int {
	switch p {
	case protocol.PresenceOnline:
		return 0
	case protocol.PresencePOSSilent:
		return 1
	case protocol.PresenceDraining:
		return 2
	case protocol.PresenceRebuilding:
		return 3
	case protocol.PresenceStuck:
		return 4
	}
	return 5
}
