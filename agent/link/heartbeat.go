package link

import (
	"context"
	"maps"
	"time"

	"tillwire/protocol"
)

// drain measures how fast the backlog goes: events merged per second.
type drain struct {
	atUS   int64
	merged uint64
	perS   float64
}

func (d *drain) measure(nowUS int64, merged uint64) float64 {
	if dt := nowUS - d.atUS; d.atUS != 0 && dt > 0 && merged >= d.merged {
		d.perS = float64(merged-d.merged) * 1e6 / float64(dt)
	}
	d.atUS, d.merged = nowUS, merged
	return d.perS
}

// beat sends a heartbeat (QoS 0, never behind the backlog) and returns when the
// next is due. One that cannot be sent is left out: the next is as good.
func (l *Link) beat(ctx context.Context, c *connection) time.Duration {
	if err := l.say(ctx, c, protocol.UpHeartbeat, l.node, 0, l.heartbeat()); err != nil {
		l.o.Log.Debug().Err(err).Msg("heartbeat not sent")
	}
	return spread(l.heartbeatEvery())
}

func (l *Link) heartbeat() *protocol.Heartbeat {
	st, s := l.o.Journal.State(), l.Status()
	h := &protocol.Heartbeat{
		V: protocol.Version, Epoch: st.Epoch, Lease: l.core.lease, BootID: l.o.BootID, SentUS: l.o.Now().UnixMicro(),
		Head: st.Head, Merged: st.Merged, Safe: st.Safe, Tail: st.Tail, OldestUnackedUS: st.OldestUnackedUS,
		BacklogEvents: st.BacklogEvents, BacklogBytes: st.BacklogBytes, DrainPerS: l.drain.measure(l.now(), st.Merged),
		Registers: st.Registers, LastPOSUS: st.LastPOS, LastError: st.LastError,
		DiskFreeBytes: st.DiskFree, JournalBytes: uint64(max(st.FileBytes, 0)), FsyncP99US: st.FsyncP99US,
		ClockOffsetMS: s.ClockOffsetUS / 1000, ClockErrorMS: s.ClockErrorUS / 1000,
		AgentVersion: l.o.Version, BootReason: l.bootReason(st.BootReason), UptimeS: l.now() / 1e6,
		Counters: l.counters(&s),
	}
	if h.LastError == "" {
		h.LastError = s.LastError
	}
	if l.o.HoldsRev != nil {
		h.HoldsRev = l.o.HoldsRev()
	}
	if l.o.DesiredState != nil {
		h.ConfigVersion, h.ConfigRefused = l.o.DesiredState()
	}
	if l.o.Renewal != nil {
		end, renew := l.o.Renewal.Ends()
		h.CertNotAfterUS, h.CertRenewUS = end.UnixMicro(), renew.UnixMicro()
	}
	if l.o.Update != nil {
		h.Update = l.o.Update()
	}
	return h
}

// counters are those that are not zero: a healthy heartbeat is a short one.
func (l *Link) counters(s *Status) map[string]uint64 {
	n := &s.Counts
	out := map[string]uint64{
		"link_reconnects": s.Reconnects, "link_dial_errors": s.DialErrors, "link_inbox_dropped": s.InboxDropped,
		"link_welcomes_refused": n.WelcomesRefused, "link_welcomes_foreign": n.WelcomesForeign, "link_welcomes_backward": n.WelcomesBackward,
		"link_unreadable": s.Unreadable, "link_topics_unknown": s.UnknownTopics, "link_acks_beyond_head": n.AcksBeyondHead, "link_acks_wrong_chain": n.AcksWrongChain,
		"link_acks_foreign": n.AcksForeign, "link_acks_stale": n.AcksStale, "link_nacks": n.Nacks, "link_gaps": n.Gaps,
		"link_superseded": n.Superseded, "link_upgrades": n.Upgrades, "link_malformed": n.Malformed, "link_busy": n.Busy, "link_quarantined": n.Quarantined,
		"link_timeouts": n.Timeouts, "link_forks": n.Forks, "link_rebases": n.Rebases, "link_replays": n.Replays, "link_resent": n.Resent,
	}
	if l.o.Counters != nil {
		maps.Copy(out, l.o.Counters())
	}
	maps.DeleteFunc(out, func(_ string, v uint64) bool { return v == 0 })
	return out
}
