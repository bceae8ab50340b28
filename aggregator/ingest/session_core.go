package ingest

import (
	"fmt"
	"slices"

	"tillwire/aggregator/orders"
	"tillwire/protocol"
	"tillwire/store/ledger"
)

// session is what the aggregator knows of one journal's conversation. mark is
// ahead of the ledger while a batch is open; was is what the ledger holds.
type session struct {
	origin    protocol.Origin
	mark      ledger.Mark
	was       ledger.Mark
	live      bool  // a HELLO came since this process started
	greetedUS int64 // when the newest did
	bare      bool  // nothing new was merged in the mark's epoch
	backed    bool  // only what a verified backup holds is safe; else what is merged

	lane       *lane          // what the agent announced of its backlog; nil: nothing
	orders     *orders.Orders // nil: none
	ordersRead bool
	copies     copies
	beside     []*session      // of copies that were not picked
	wire       protocol.Origin // where its answers go, if not to origin
	floor      uint64          // the next epoch lies above it

	// what is owed when the batch is committed
	listed  bool // in the batch's list of those to answer
	welcome *protocol.Welcome
	nack    protocol.NackReason
	echoUS  int64
	recvUS  int64
	merged  int // records taken in this batch
}

// lost is a range of events that no peer can deliver any more.
type lost struct {
	epoch, from, to uint64
	why             string
}

// greet answers a HELLO: it decides whether the journal goes on where the
// ledger stands, or starts a new epoch.
//
//	ledger never saw the journal            → epoch 1, from its tail; what it
//	                                          trimmed is missing here: range lost
//	same install, same epoch, merged ≤ head → resume at merged+1
//	  … but chains differ at merged         → fork: new epoch, re-offer all
//	  … but merged > head                   → disk rolled back: new epoch
//	  … but merged < tail−1                 → trimmed unmerged: new epoch, range lost
//	other install                           → re-installed: new epoch, the least loss known
//	same install, a replay is wanted        → new epoch from behind merged_seq
//	other epoch                             → restored on one side: new epoch
//
// A new epoch re-offers every retained record under its old seq; event ids
// dedupe what was merged before.
func (s *session) greet(h *protocol.Hello, nowUS int64) (protocol.Welcome, *lost) {
	m := &s.mark
	var gone *lost
	switch {
	case h.Replay && m.Epoch != 0 && h.InstallID == m.InstallID && h.MergedSeq <= min(h.Head, m.Seq) && h.MergedSeq+1 >= h.Tail:
		s.rebase(h, max(m.Epoch, h.Epoch)+1, s.shared(h))
		m.Seq, m.Chain = h.MergedSeq, h.ChainMerged
	case m.Epoch == 0:
		if h.Tail > 1 {
			gone = &lost{h.Epoch, 1, h.Tail - 1, trimmedUnmerged}
		}
		s.rebase(h, 1, 0)
	case h.InstallID != m.InstallID:
		if m.HeadSeen > m.Seq {
			gone = &lost{m.Epoch, m.Seq + 1, m.HeadSeen, "the journal was re-installed before they were merged"}
		}
		s.rebase(h, max(m.Epoch, h.Epoch)+1, 0)
	case h.Epoch == 0 && m.Seq <= h.Head && m.Seq+1 >= h.Tail && !s.differs(h):
		// the WELCOME of this epoch never reached the agent: nothing forked
	case h.Epoch != m.Epoch:
		if m.Seq+1 < h.Tail {
			gone = &lost{h.Epoch, m.Seq + 1, h.Tail - 1, trimmedUnmerged}
		}
		s.rebase(h, max(m.Epoch, h.Epoch)+1, s.shared(h))
	case m.Seq > h.Head:
		s.rebase(h, m.Epoch+1, s.shared(h))
	case m.Seq+1 < h.Tail:
		gone = &lost{m.Epoch, m.Seq + 1, h.Tail - 1, trimmedUnmerged}
		s.rebase(h, m.Epoch+1, ^uint64(0))
	case s.differs(h):
		s.rebase(h, m.Epoch+1, s.shared(h))
	}
	m.Lease = max(m.Lease, h.Lease) + 1
	m.BootID = h.BootID
	m.HeadSeen = max(m.HeadSeen, h.Head)
	s.live, s.nack, s.greetedUS = true, protocol.NackNone, nowUS
	w := protocol.Welcome{
		V: protocol.Version, BootID: h.BootID, Epoch: m.Epoch, Lease: m.Lease, Rebase: h.Epoch != m.Epoch,
		MergedSeq: m.Seq, ChainMerged: m.Chain, SafeSeq: m.SafeSeq, ServerUS: nowUS,
	}
	return w, gone
}

// differs tells whether a HELLO that speaks of the seq where the ledger stands
// shows another history there.
func (s *session) differs(h *protocol.Hello) bool {
	return h.MergedSeq == s.mark.Seq && s.mark.Seq+1 >= h.Tail && h.ChainMerged != s.mark.Chain
}

// shared is how far a journal is known to be what this ledger merged: to where both
// stand, if its HELLO speaks of that, else to its tail. What is offered again tells
// the rest, see extend.
func (s *session) shared(h *protocol.Hello) uint64 {
	if m := &s.mark; h.MergedSeq == m.Seq && m.Seq <= h.Head && m.Seq+1 >= h.Tail && h.ChainMerged == m.Chain {
		return m.Seq
	}
	return min(h.Tail-1, s.mark.Seq)
}

// extend notes that a record offered again is, at its seq, the one merged before:
// the new epoch shares its history up to there. What is new to the ledger comes
// behind all that it shares, so that nothing is judged before this is whole. It
// tells whether there was news.
func (s *session) extend(seq uint64) bool {
	last := len(s.mark.Forks) - 1
	if last < 0 || s.mark.Forks[last].Epoch != s.mark.Epoch || s.mark.Forks[last].After >= seq {
		return false
	}
	s.mark.Forks = slices.Clone(s.mark.Forks) // what the ledger holds is not ours
	s.mark.Forks[last].After = seq
	return true
}

const trimmedUnmerged = "the store trimmed them before this ledger had them"

// rebase starts an epoch at the journal's tail. after is the last seq that the
// new epoch is known to share with the old one.
func (s *session) rebase(h *protocol.Hello, epoch, after uint64) {
	m := &s.mark
	epoch = max(epoch, s.floor+1)
	if n := len(m.Forks) - 1; s.bare && n >= 0 && m.Forks[n].Epoch == m.Epoch {
		// Nothing stands in the ledger under that epoch: its fork would only hide how
		// far the history before it is shared, and a store that never settles would
		// add forks without end.
		after = min(after, m.Forks[n].After)
		m.Forks = m.Forks[:n:n]
	}
	if m.Epoch != 0 {
		m.Forks = append(m.Forks, ledger.Fork{Epoch: epoch, After: after})
	}
	m.Epoch, m.InstallID = epoch, h.InstallID
	m.Seq, m.Chain = h.Tail-1, h.ChainTail
	m.SafeSeq, m.HeadSeen = m.Seq, h.Head
}

// leaseFloor is what all leases of a cloud generation lie above: a restored ledger
// must not give a lease again that it does not remember, or what was sent under it
// before would pass for what its new holder says.
func leaseFloor(generation uint64) uint64 {
	return (min(max(generation, 1), numberMax>>leaseBits) - 1) << leaseBits
}

// plain tells whether an id can stand in a log line: ASCII without controls.
func plain(id string) bool {
	for _, c := range []byte(id) {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return id != "" && len(id) <= protocol.IDBytesMax
}

// checkHello refuses a HELLO that cannot be true.
func checkHello(h *protocol.Hello) error {
	switch {
	case h.V != protocol.Version:
		return fmt.Errorf("protocol version is %d, this aggregator speaks %d", h.V, protocol.Version)
	case !plain(h.BootID) || !plain(h.InstallID):
		return fmt.Errorf("boot_id and install_id must have 1 to %d bytes of printable ASCII", protocol.IDBytesMax)
	case max(h.Head, h.Epoch, h.Lease, h.MergedSeq) > numberMax:
		return fmt.Errorf("head %d, epoch %d, lease %d or merged_seq %d is beyond %d", h.Head, h.Epoch, h.Lease, h.MergedSeq, uint64(numberMax))
	case h.Tail == 0 || h.Tail > h.Head+1:
		return fmt.Errorf("tail %d and head %d do not fit: tail is at least 1 and at most head+1", h.Tail, h.Head)
	}
	return nil
}

// judge decides on a frame: how many of its records are already merged, or why
// it is refused.
func (s *session) judge(f *protocol.Frame) (skip int, refuse protocol.NackReason) {
	m := &s.mark
	switch {
	case s.copies.SinceUS != 0 && s.copies.Picked == "":
		return 0, protocol.NackQuarantined
	case !s.live:
		return 0, protocol.NackNoSession
	case f.Epoch != m.Epoch || f.Lease != m.Lease:
		return 0, protocol.NackSuperseded
	case f.FirstSeq > m.Seq+1:
		return 0, protocol.NackGap
	case f.LastSeq() <= m.Seq:
		return len(f.Records), protocol.NackNone
	}
	skip = int(m.Seq + 1 - f.FirstSeq)
	chain := f.PrevChain
	for _, r := range f.Records[:skip] {
		chain = chain.Next(r)
	}
	if chain != m.Chain {
		return 0, protocol.NackChain
	}
	return skip, protocol.NackNone
}

// astray says why the session that a heartbeat speaks of is none: one that has
// nothing to send would not learn it from a frame. That is so behind a broker that
// outlived this process, and where a WELCOME was lost on the way. One that may still
// be on its way is waited for: heartbeats follow HELLO closely.
func (s *session) astray(epoch, lease uint64, boot string, nowUS int64) protocol.NackReason {
	m := &s.mark
	switch {
	case s.copies.SinceUS != 0 && s.copies.Picked == "":
		return protocol.NackNone // nobody of them is to speak, and all were told
	case !s.live:
		return protocol.NackNoSession
	case lease == 0 || epoch == m.Epoch && lease == m.Lease || nowUS-s.greetedUS < welcomeUS:
		return protocol.NackNone
	case boot == m.BootID:
		return protocol.NackNoSession
	}
	return protocol.NackSuperseded
}

// take moves the mark over a frame that was judged.
func (s *session) take(f *protocol.Frame, skip int, lastRecordUS, nowUS int64) {
	m := &s.mark
	if skip < len(f.Records) {
		m.Seq, m.Chain = f.LastSeq(), f.LastChain
		s.assume()
		m.HeadSeen = max(m.HeadSeen, m.Seq)
		m.RecordUS, m.MergedUS = lastRecordUS, nowUS
		s.merged += len(f.Records) - skip
	}
	if s.echoUS = f.SentUS; s.echoUS == 0 {
		s.echoUS = -1 // an ACK is owed to one who does not say its time, too
	}
}

// assume makes what is merged safe where no backup is configured to say better.
func (s *session) assume() {
	if !s.backed {
		s.mark.SafeSeq = s.mark.Seq
	}
}

// cover takes a mark that a verified backup holds. Safe never passes what is
// merged, and never goes back. A mark of another epoch says nothing: the journal
// may have forked since, and the next backup is soon.
func (s *session) cover(epoch, seq uint64) {
	if m := &s.mark; epoch == m.Epoch {
		m.SafeSeq = max(m.SafeSeq, min(seq, m.Seq))
	}
}

// heard takes a heartbeat's head: what is known to exist beyond what is merged is
// the least that is lost with the disk.
func (s *session) heard(epoch, head uint64) {
	if s.mark.Epoch == epoch && head > s.mark.HeadSeen {
		s.mark.HeadSeen = head
	}
}

// moved tells whether the mark must be written: it is not what the ledger holds.
func (s *session) moved() bool {
	m, w := &s.mark, &s.was
	return m.Seq != w.Seq || m.Lease != w.Lease || m.Epoch != w.Epoch || m.SafeSeq != w.SafeSeq || m.HeadSeen != w.HeadSeen
}

// ack speaks of what is committed.
func (s *session) ack(credit int, paceMS, nowUS int64) protocol.Ack {
	m := &s.mark
	a := protocol.Ack{
		V: protocol.Version, Epoch: m.Epoch, Lease: m.Lease, MergedSeq: m.Seq, ChainMerged: m.Chain, SafeSeq: m.SafeSeq,
		Credit: credit, PaceMS: paceMS, Nack: s.nack, EchoUS: max(s.echoUS, 0), RecvUS: s.recvUS, SendUS: nowUS,
	}
	if s.nack == protocol.NackGap {
		a.Expected = m.Seq + 1
	}
	return a
}

// settled is called when the ledger holds the mark.
func (s *session) settled() {
	s.was = s.mark
	s.listed, s.welcome, s.nack, s.merged, s.echoUS = false, nil, protocol.NackNone, 0, 0
}

// pending is the mark to commit, with what it must find in the ledger.
func (s *session) pending() ledger.Mark {
	m := s.mark
	m.WasEpoch, m.WasLease, m.WasSeq = s.was.Epoch, s.was.Lease, s.was.Seq
	m.Forks = append([]ledger.Fork(nil), m.Forks...)
	return m
}
