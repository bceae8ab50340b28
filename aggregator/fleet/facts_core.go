package fleet

import (
	"strings"

	"tillwire/protocol"
	"tillwire/store/ledger"
)

// facts is everything heard of one journal. Its methods are the only writers;
// each takes the moment from outside. All times are microseconds of the
// aggregator's clock unless their comment says otherwise.
type facts struct {
	origin protocol.Origin

	connected bool
	connUS    int64 // last change of connected
	heard     bool  // anything at all since this process started
	helloUS   int64
	install   string
	boot      string
	reason    string // boot reason
	version   string

	hb    *protocol.Heartbeat // newest; never written to after it is stored
	hbUS  int64               // when it came
	skew  [skewSamples]int64  // reception minus sending, agent's clock inside
	skews int

	epoch, lease  uint64
	marked        bool // the ledger holds a mark
	merged, safe  uint64
	own           uint64 // of the merged, those that the agent wrote of itself
	tail, head    uint64 // of the journal as last heard
	digest        uint64 // seq up to which its backlog is announced; 0: it is not
	digestUS      int64  // record time there
	recordUS      int64  // agent's clock: record time at merged
	mergedUS      int64  // last merge
	progressUS    int64  // last moment at which merging moved, or had nothing to move
	rebuildTo     uint64 // rebuilding until merged reaches this
	drainPerS     float64
	inflowPerS    float64
	refused       protocol.NackReason
	refusedUS     int64
	refusedRecent int
	refusedTotal  uint64
	supersededUS  int64
	distrustUS    int64            // when the agent last refused what we said
	quarantinedUS int64            // since when several processes of this name wait for a person; 0: they do not
	copyOf        protocol.AgentID // whose name its process speaks under, where it is a copy that was not picked
	lossHead      uint64           // head up to which a loss was already told
}

// loss is a range of events that were heard of, and can no longer come.
type loss struct {
	first, last uint64
	why         string
}

func clip(s string) string {
	if len(s) <= textBytesMax {
		return s
	}
	return strings.ToValidUTF8(s[:textBytesMax], "") + "…"
}

func (f *facts) load(m *ledger.Mark) {
	f.marked, f.epoch, f.lease = true, m.Epoch, m.Lease
	f.merged, f.safe, f.own = m.Seq, m.SafeSeq, m.Own
	f.head = max(m.HeadSeen, m.Seq)
	f.install, f.boot = m.InstallID, m.BootID
	f.recordUS, f.mergedUS = m.RecordUS, m.MergedUS
}

func (f *facts) onConnected(up bool, us int64) {
	if f.connected == up && f.heard {
		return
	}
	f.connected, f.connUS, f.heard = up, us, true
}

// onHello takes the agent's account of its journal. Where the journal is
// shorter than what was heard of before, the difference is lost, and told.
func (f *facts) onHello(h *protocol.Hello, us int64) (lost []loss) {
	known := f.head
	fresh := f.install != "" && h.InstallID != f.install
	switch {
	case fresh && known > f.merged && known > f.lossHead:
		lost = append(lost, loss{f.merged + 1, known, "the journal was replaced by a new one"})
	case !fresh && known > h.Head && known > max(f.merged, h.Head) && known > f.lossHead:
		lost = append(lost, loss{max(f.merged, h.Head) + 1, known, "the journal was rolled back"})
	}
	if !fresh && f.marked && h.Tail > f.merged+1 && h.Tail-1 > f.lossHead {
		lost = append(lost, loss{f.merged + 1, h.Tail - 1, "the journal no longer holds them"})
	}
	for _, l := range lost {
		f.lossHead = max(f.lossHead, l.last)
	}
	if fresh {
		f.lossHead = 0 // numbers start anew with the new journal
	}
	if h.MergedSeq > f.merged && h.Epoch != 0 && !fresh {
		f.rebuildTo = h.Head // it was told more than we hold: we were restored
	}
	if fresh {
		f.merged, f.safe, f.rebuildTo, f.recordUS = 0, 0, 0, 0
	}
	f.heard, f.helloUS, f.progressUS = true, us, us
	f.connected = true
	if f.connUS == 0 {
		f.connUS = us
	}
	f.install, f.boot, f.reason, f.version = h.InstallID, h.BootID, clip(h.BootReason), clip(h.Agent)
	f.tail, f.head = h.Tail, max(h.Head, f.merged)
	if f.hb != nil && (fresh || f.hb.BootID != h.BootID) {
		f.skews = 0 // another process, maybe after the clock was set
	}
	return lost
}

// onHeartbeat takes a heartbeat; it reports false for one of a process that no
// longer speaks for this agent.
func (f *facts) onHeartbeat(hb *protocol.Heartbeat, us int64) bool {
	if hb.Lease < f.lease {
		// Of this process it is one from before its last HELLO; of another, shortly
		// after a HELLO, the last word of the process before. Else it is a clone.
		if hb.BootID != f.boot && us-f.helloUS > helloSettleUS {
			f.supersededUS, f.refused, f.refusedUS = us, protocol.NackSuperseded, us
			f.refusedTotal++
		}
		return false
	}
	if !f.connected { // a broker may tell the end of the old connection after the new one's begin
		f.connected, f.connUS = true, us
	}
	if old := f.hb; old != nil && old.BootID == hb.BootID && hb.SentUS > old.SentUS {
		dt := float64(hb.SentUS-old.SentUS) / 1e6
		f.drainPerS = float64(hb.Merged-min(hb.Merged, old.Merged)) / dt
		f.inflowPerS = float64(hb.Head-min(hb.Head, old.Head)) / dt
	} else {
		f.drainPerS, f.inflowPerS = hb.DrainPerS, 0
	}
	before := uint64(0)
	if f.hb != nil && f.hb.BootID == hb.BootID {
		before = distrust(f.hb)
	}
	if distrust(hb) > before {
		f.distrustUS = us
	}
	f.skew[f.skews%skewSamples] = us - hb.SentUS
	f.skews++
	if !f.marked {
		f.merged = hb.Merged
	}
	f.lease, f.epoch = hb.Lease, max(f.epoch, hb.Epoch)
	idle := f.pending() == 0
	f.hb, f.hbUS, f.heard = hb, us, true
	f.tail = hb.Tail
	if !f.marked { // else the ledger's mark says it
		f.safe = min(hb.Safe, f.merged)
	}
	f.head = max(hb.Head, f.merged)
	f.version = clip(hb.AgentVersion)
	if hb.BootReason != "" {
		f.reason = clip(hb.BootReason)
	}
	if idle || f.pending() == 0 {
		f.progressUS = us
	}
	return true
}

// distrust counts what the agent was told in our name and did not believe. A
// sound aggregator says none of it.
func distrust(hb *protocol.Heartbeat) (n uint64) {
	for _, c := range distrustCounters {
		n += hb.Counters[c]
	}
	return n
}

var distrustCounters = []string{"link_acks_beyond_head", "link_acks_wrong_chain", "link_welcomes_backward", "link_unreadable", "link_topics_unknown"}

func (f *facts) onWill(w *protocol.Will, us int64) bool {
	// A will is fixed when its connection is made, before HELLO gives that
	// connection its lease: it carries the one before.
	if w.Lease+1 < f.lease || (f.boot != "" && w.BootID != f.boot) {
		return false // the last word of a process that was already replaced
	}
	f.onConnected(false, us)
	return true
}

func (f *facts) onMerged(m *ledger.Mark, lastRecordUS, us int64) {
	if m.Epoch > f.epoch && f.marked && f.epoch != 0 && f.head > m.Seq {
		f.rebuildTo = f.head
	}
	f.marked, f.epoch, f.lease = true, m.Epoch, max(f.lease, m.Lease)
	if m.Seq != f.merged {
		f.progressUS = us
	}
	f.merged, f.safe, f.own = m.Seq, m.SafeSeq, m.Own
	f.head = max(f.head, m.Seq)
	if lastRecordUS > 0 {
		f.recordUS = lastRecordUS
	}
	f.mergedUS, f.heard = us, true
	if f.merged >= f.rebuildTo {
		f.rebuildTo = 0
	}
}

func (f *facts) onRefused(r protocol.NackReason, us int64) {
	if us-f.refusedUS > refusalWindowUS {
		f.refusedRecent = 0
	}
	f.refused, f.refusedUS = r, us
	f.refusedRecent++
	f.refusedTotal++
	if r == protocol.NackSuperseded {
		f.supersededUS = us
	}
}

// pending is how many events are known to be journaled and not merged.
func (f *facts) pending() uint64 { return f.head - min(f.head, f.merged) }

// offset is what to add to the agent's clock to get ours: the least delay of
// the last heartbeats, so that a slow one cannot make old knowledge look new.
func (f *facts) offset() int64 {
	n := min(f.skews, skewSamples)
	if n == 0 {
		return 0
	}
	least := f.skew[0]
	for _, s := range f.skew[1:n] {
		least = min(least, s)
	}
	return least
}

// due is the record time of the oldest event known to be not merged, 0 where
// there is none.
func (f *facts) due() int64 {
	if f.pending() == 0 {
		return 0
	}
	var d int64
	switch {
	case f.hb != nil && f.hb.OldestUnackedUS > 0:
		d = f.hb.OldestUnackedUS + f.offset()
	case f.hb != nil:
		d = f.hb.SentUS + f.offset()
	case f.recordUS > 0:
		d = f.recordUS
	default:
		d = f.helloUS
	}
	if f.recordUS > 0 { // what is merged since then is no longer missing
		d = max(d, f.recordUS+f.offset())
	}
	return d
}

// watermark is the last moment at which nothing is known to be missing: all
// that this journal held then is merged. 0 = never.
func (f *facts) watermark() int64 {
	if f.origin.IsFeed() {
		return f.mergedUS
	}
	var w int64
	if f.recordUS > 0 {
		w = f.recordUS + f.offset()
	}
	if f.digest > f.merged {
		w = max(w, f.digestUS+f.offset())
	}
	if f.pending() > 0 {
		return max(w, f.due()-1)
	}
	if f.hb != nil && f.merged >= f.hb.Head {
		w = max(w, f.hb.SentUS+f.offset())
	}
	return w
}

// lastHeard is when the agent gave its last sign of life.
func (f *facts) lastHeard() int64 {
	t := max(f.hbUS, f.helloUS)
	if f.connected {
		t = max(t, f.connUS)
	}
	if f.heard || f.hb == nil {
		t = max(t, f.mergedUS)
	}
	return t
}

// lastPOS is the last write of a register, on our clock; 0 = none known.
func (f *facts) lastPOS() int64 {
	if f.hb == nil || f.hb.LastPOSUS == 0 {
		return 0
	}
	return f.hb.LastPOSUS + f.offset()
}

// clockMS is how far the agent's clock is ahead of ours, from the delays of
// heartbeats; its error is the shortest of their ways.
func (f *facts) clockMS() int64 {
	if f.skews == 0 {
		return 0
	}
	return -f.offset() / 1000
}
