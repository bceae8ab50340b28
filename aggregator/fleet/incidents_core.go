package fleet

import (
	"strconv"
	"strings"

	"tillwire/protocol"
)

// Codes of the incidents that fleet can raise. Each is a heading of
// deploy/OPERATIONS.md; a test of web compares them.
const (
	CodeStoreOffline   = "store_offline"
	CodeNeverSeen      = "agent_never_seen"
	CodeStuck          = "store_stuck"
	CodePOSSilent      = "pos_silent"
	CodeFeedSilent     = "feed_silent"
	CodeClockSkew      = "clock_skew"
	CodeDiskLow        = "disk_low"
	CodeDiskSlow       = "disk_slow"
	CodeSalvaged       = "journal_corrupt_salvaged"
	CodeSuperseded     = "identity_superseded"
	CodeUnrecoverable  = "events_unrecoverable"
	CodeFramesRefused  = "frames_refused"
	CodeTooManyAgents  = "too_many_agents"
	CodeVersionRefused = "agent_version_refused"
	CodeDistrusted     = "aggregator_distrusted"
	CodeQuarantined    = "clone_quarantined"
	CodeCopy           = "clone_beside"
	CodeDesired        = "desired_state_refused"
	CodeUpdateFailed   = "update_failed"
	CodeCertExpiring   = "certificate_expiring"

	// of the chain as a whole
	CodeBackupFailed    = "backup_failed"
	CodeBackupOverdue   = "backup_overdue"
	CodeCloudRestored   = "cloud_restored"
	CodeCloudRolledBack = "cloud_rolled_back"
	CodeRolloutStopped  = "rollout_stopped"
	CodeERPDown         = "erp_down"
	CodeERPRefuses      = "erp_refuses"
	CodePostingsHeld    = "postings_held"
	CodePostingsParked  = "postings_parked"
	CodeSourcePaused    = "source_paused"
)

// Codes lists them all.
var Codes = []string{
	CodeStoreOffline, CodeNeverSeen, CodeStuck, CodePOSSilent, CodeFeedSilent, CodeClockSkew, CodeDiskLow, CodeDiskSlow,
	CodeSalvaged, CodeSuperseded, CodeUnrecoverable, CodeFramesRefused, CodeTooManyAgents, CodeVersionRefused,
	CodeDistrusted, CodeQuarantined, CodeCopy, CodeDesired, CodeUpdateFailed, CodeCertExpiring,
	CodeBackupFailed, CodeBackupOverdue, CodeCloudRestored, CodeCloudRolledBack, CodeRolloutStopped,
	CodeERPDown, CodeERPRefuses, CodePostingsHeld, CodePostingsParked, CodeSourcePaused,
}

// Remedies are what to do first, in one sentence; OPERATIONS.md has the rest.
var Remedies = map[string]string{
	CodeStoreOffline:   "Call the shop: is the line up, is the server on? Nothing is lost; it will catch up by itself.",
	CodeNeverSeen:      "Install and enrol the agent, or take the store out of the aggregator's configuration.",
	CodeStuck:          "Restart the agent service once; where it stays stuck, send us its log and `tillwire-agent status --json`.",
	CodePOSSilent:      "Call the shop: do the tills sell? If so, check that they post to the agent's address.",
	CodeFeedSilent:     "Ask the owner of the sending system whether its job ran.",
	CodeClockSkew:      "Set the machine's time synchronisation right; counts of that store are less certain until then.",
	CodeDiskLow:        "Free disk space on the store's machine before its journal must refuse sales.",
	CodeDiskSlow:       "Look at the machine's disk: tills wait for every write.",
	CodeSalvaged:       "Replace or check the disk; compare the shop's stock by a recount of what was written last.",
	CodeSuperseded:     "Find the second machine with this identity and stop its agent; give it an identity of its own.",
	CodeUnrecoverable:  "Feed the range again from the POS where it can; else recount what was sold in that time.",
	CodeFramesRefused:  "Read the reason; where it goes on, send us the agent's log and `tillwire-agent status --json`.",
	CodeTooManyAgents:  "Look for a script that makes agent names; revoke the token that it uses.",
	CodeVersionRefused: "Update the agent of this store.",
	CodeDistrusted:     "Find out who else answers in the aggregator's name; else send us both logs.",
	CodeQuarantined:    "Pick the machine that is to go on: POST /v1/stores/{store}/agents/{agent}/pick.",
	CodeDesired:        "Correct the desired state (PUT /v1/stores/{store}/agents/{agent}/desired), or update the agent so that it knows the key.",
	CodeUpdateFailed:   "Read the reason; the agent runs on with the version before. Where it does not heal, install that version by hand.",
	CodeCertExpiring:   "Read the agent's last error; where it cannot renew by itself, enrol it anew (`tillwire-agent enroll --again`).",
	CodeCopy:           "Give this machine an agent name of its own, or stop its agent; nothing of it is lost meanwhile.",

	CodeBackupFailed:    "Look at the folder of the backups: is it mounted, writable, not full? A copy is tried again by itself.",
	CodeBackupOverdue:   "Make a backup now (`tillwire-aggregator backup`), and see why none was made in time.",
	CodeCloudRestored:   "Have the sources named send again what is newer; ask channels to repeat reservations since then; then mark this as dealt with.",
	CodeRolloutStopped:  "Look at the stores with update_failed, and decide: another release, or the same again (PUT /v1/releases/rollout).",
	CodeCloudRolledBack: "Find out who brought the old disk back, and whether a second aggregator runs; then treat it as a restore.",
	CodeERPDown:         "Ask the ERP's keepers whether it runs and is reachable from here; postings go out by themselves when it is.",
	CodePostingsHeld:    "Wait until the stores have drained, then `POST /v1/postings/resume` with a reason.",
	CodePostingsParked:  "Look at GET /v1/postings?state=parked: each says why; mend that and retry, or discard with a reason.",
	CodeSourcePaused:    "Look at what the source sent (GET /v1/exceptions?source=…), have its owner mend it, then `POST /v1/sources/{source}/resume` with a reason.",
	CodeERPRefuses:      "Read the reason: a password, a right, a module or a location is missing in the ERP or in [[erp]].",
}

// urgencies say how much an open incident needs a person now, highest first: what
// will cost sales or events, what does not heal by itself, what heals when somebody
// calls, what can wait until tomorrow. A code that is missing has urgency 1.
var urgencies = map[string]int{
	CodeDiskLow: 9, CodeUnrecoverable: 9,
	CodeQuarantined: 8, CodeSalvaged: 8, CodeStuck: 8, CodeDistrusted: 8,
	CodeFramesRefused: 7, CodeERPRefuses: 7, CodePostingsHeld: 7, CodeSourcePaused: 7, CodeVersionRefused: 7, CodeSuperseded: 7,
	CodeStoreOffline: 6, CodeERPDown: 6,
	CodePOSSilent: 5, CodeFeedSilent: 5,
	CodeTooManyAgents: 4, CodeCertExpiring: 4, CodeDiskSlow: 3, CodeClockSkew: 3, CodeDesired: 2, CodePostingsParked: 2, CodeUpdateFailed: 2, CodeCopy: 2, CodeNeverSeen: 1,
}

// Urgency is how much an incident needs a person: 0 for no code at all, else 1 to 9.
func Urgency(code string) int {
	if code == "" {
		return 0
	}
	return max(urgencies[code], 1)
}

// urgent is the code that needs a person most.
func (s *Store) urgent() (code string) {
	for _, c := range s.Codes {
		if Urgency(c) > Urgency(code) {
			code = c
		}
	}
	return code
}

// finding is one condition that holds now. sinceUS 0 means from now on.
type finding struct {
	code    string
	sinceUS int64
}

// findings lists what a person must look at. It is pure in f, v and e.
func findings(f *facts, v *verdict, e *env) []finding {
	var out []finding
	add := func(code string, since int64) { out = append(out, finding{code, since}) }
	switch {
	case v.cause == causeNever:
		add(CodeNeverSeen, 0)
	case v.cause == causeRestart && e.nowUS <= e.startUS+e.graceUS:
	case v.presence == protocol.PresenceOffline:
		add(CodeStoreOffline, v.sinceUS)
	case v.presence == protocol.PresenceStuck:
		add(CodeStuck, v.sinceUS)
	case v.presence == protocol.PresencePOSSilent && f.origin.IsFeed():
		add(CodeFeedSilent, v.sinceUS+e.feedSilentUS)
	case v.presence == protocol.PresencePOSSilent:
		add(CodePOSSilent, v.sinceUS)
	}
	if ms := f.clockMS(); ms*1000 > clockSkewMaxUS || -ms*1000 > clockSkewMaxUS {
		add(CodeClockSkew, 0)
	}
	if hb := f.hb; hb != nil {
		if hb.DiskFreeBytes > 0 && hb.DiskFreeBytes < diskLowBytes {
			add(CodeDiskLow, 0)
		}
		if hb.ConfigRefused != "" {
			add(CodeDesired, 0)
		}
		if hb.Update != nil && hb.Update.State == protocol.UpdateFailed {
			add(CodeUpdateFailed, 0)
		}
		if certExpiring(hb, e.nowUS) {
			add(CodeCertExpiring, 0)
		}
		if hb.FsyncP99US > fsyncSlowUS {
			add(CodeDiskSlow, 0)
		}
	}
	if salvaged(f) {
		add(CodeSalvaged, f.helloUS)
	}
	recent := func(us int64) bool { return us > 0 && e.nowUS-us < refusalWindowUS }
	if recent(f.supersededUS) {
		add(CodeSuperseded, 0)
	}
	if f.quarantinedUS != 0 {
		add(CodeQuarantined, f.quarantinedUS)
	}
	if f.copyOf != "" && e.nowUS-f.lastHeard() < refusalWindowUS {
		add(CodeCopy, 0)
	}
	if recent(f.distrustUS) {
		add(CodeDistrusted, 0)
	}
	if recent(f.refusedUS) && f.refused == protocol.NackUpgrade {
		add(CodeVersionRefused, 0)
	} else if recent(f.refusedUS) && f.refused != protocol.NackSuperseded && blocking(f.refused) && f.refusedRecent >= refusalsBeforeAlarm {
		add(CodeFramesRefused, 0)
	}
	return out
}

// certExpiring tells that a certificate was to be renewed long ago: half of the time
// between the agent's moment for that and its end is over.
func certExpiring(hb *protocol.Heartbeat, nowUS int64) bool {
	return hb.CertNotAfterUS != 0 && nowUS > hb.CertRenewUS+(hb.CertNotAfterUS-hb.CertRenewUS)/2
}

func salvaged(f *facts) bool {
	if strings.Contains(f.reason, "salvag") || strings.Contains(f.reason, "corrupt") {
		return true
	}
	return f.hb != nil && (f.hb.Counters[protocol.CounterSalvaged] > 0 || f.hb.Counters[protocol.CounterLost] > 0 || f.hb.Counters[protocol.CounterCorrupt] > 0)
}

// salvageWords say how much a running agent has kept and lost; of a salvage at its
// start only the boot reason tells.
func salvageWords(f *facts) string {
	if f.hb == nil || f.hb.Counters[protocol.CounterSalvaged]+f.hb.Counters[protocol.CounterLost] == 0 {
		return ""
	}
	return " " + Count(f.hb.Counters[protocol.CounterSalvaged]) + " records were kept, " + Count(f.hb.Counters[protocol.CounterLost]) + " at least are lost."
}

// describe says a finding in words, with numbers.
func describe(code string, f *facts, v *verdict, nowUS int64) string {
	switch code {
	case CodeClockSkew:
		ms := f.clockMS()
		if ms < 0 {
			return "Its clock is " + Ago(-ms*1000) + " slow."
		}
		return "Its clock is " + Ago(ms*1000) + " fast."
	case CodeDiskLow:
		return "Only " + strconv.FormatUint(f.hb.DiskFreeBytes>>20, 10) + " MiB are free on its disk."
	case CodeDiskSlow:
		return "Writing to its disk takes up to " + strconv.FormatInt(f.hb.FsyncP99US/1000, 10) + " ms (99th percentile)."
	case CodeSalvaged:
		return "Its journal was damaged and salvaged: what could be read was kept, the damaged file is quarantined beside it." + salvageWords(f)
	case CodeSuperseded:
		return "Two machines speak for this agent; the older one's frames are refused."
	case CodeFramesRefused:
		return Count(uint64(f.refusedRecent)) + " frames refused lately: " + refusalWords(f.refused) + "."
	case CodeUpdateFailed:
		return "It was asked to run version " + f.hb.Update.Wanted + " and does not: " + f.hb.Update.Reason + "."
	case CodeDesired:
		return "It refuses the desired state and keeps the one before: " + f.hb.ConfigRefused + "."
	case CodeQuarantined:
		return "Several machines speak under this name and took turns; none is merged until one is picked. Each keeps its events."
	case CodeCertExpiring:
		if left := f.hb.CertNotAfterUS - nowUS; left > 0 {
			return "Its certificate ends in " + Ago(left) + " and was not renewed."
		}
		return "Its certificate has ended and was not renewed; it cannot connect again but to renew it."
	case CodeCopy:
		return "It speaks under the name " + string(f.copyOf) + ", which another machine has; its events are merged under this one."
	case CodeDistrusted:
		return "The agent does not believe what it is told in this aggregator's name: " + plural(distrust(f.hb), "answer") + " refused since it started."
	case CodeVersionRefused:
		return "The agent speaks a version that this aggregator does not understand (" + f.version + ")."
	}
	return reasonFor(f, v, nowUS)
}
