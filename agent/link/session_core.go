package link

import (
	"fmt"
	"time"

	"tillwire/protocol"
)

// kind says what happened.
type kind uint8

const (
	onConnected kind = iota + 1
	onLost
	onWelcome
	onAck
	onSent   // a SendFrame effect is done; First and Last say what it carried
	onUnsent // … could not be done: the journal would not give the records
	onReplay // First is wanted again, under a new epoch
	onTick   // time passed, or the journal grew
)

// Input is one thing that happened, with the journal as it then stood.
type Input struct {
	Kind    kind
	Journal Facts

	Welcome *protocol.Welcome
	Ack     *protocol.Ack
	// Own is this journal's chain at the merged_seq of Welcome or Ack, where it
	// retains one (Known).
	Own   protocol.Chain
	Known bool

	First, Last uint64
}

// Facts are what the session must know of the journal.
type Facts struct {
	InstallID    string
	Epoch        uint64
	Generation   uint64 // highest that an aggregator ever told
	Tail, Head   uint64
	Merged       uint64 // as the journal keeps it
	BacklogBytes uint64
}

// Effect is one thing to do, in order.
type Effect struct {
	Do Do

	Seq    uint64 // SayHello: merged_seq to speak of (At); SendFrame: first record
	At     bool   // SayHello: speak of Seq instead of what the journal believes
	Replay bool   // SayHello: a new epoch is wanted that begins behind Seq
	Mark   Mark   // SetMark
	Why    string // Note, Drop
}

// Do is what an Effect wants.
type Do uint8

// The effects.
const (
	SayHello  Do = iota + 1
	SendFrame    // answered by onSent or onUnsent before anything else
	Announce     // what the backlog behind Seq comes to, before its first frame
	SetMark      // journal.SetMerged and SetLease
	Drop         // the connection
	Note         // log once and keep as the last error
)

// Mark is what the journal is told.
type Mark struct{ Epoch, Lease, Merged, Safe, Generation uint64 }

// phase of the session; README.md draws it.
type phase uint8

const (
	offline  phase = iota
	greeting       // HELLO is said
	resting        // HELLO will be said at until
	sending        // a session is open
)

func (p phase) String() string { return [...]string{"offline", "greeting", "resting", "sending"}[p] }

// flight is a frame on its way, or merged but not acknowledged.
type flight struct {
	last   uint64
	sentAt int64
}

// Counts are what the session counted since the process started.
type Counts struct {
	Hellos, Welcomes, WelcomesRefused, WelcomesForeign uint64
	WelcomesBackward                                   uint64 // of a lower generation, or behind what was merged
	Acks, AcksBeyondHead, AcksForeign, AcksStale       uint64
	AcksWrongChain                                     uint64
	Nacks, Gaps, Superseded, Upgrades, Malformed, Busy uint64
	Quarantined                                        uint64
	Timeouts, Forks, Rebases, Replays                  uint64
	Frames, Events, Resent                             uint64
}

// session decides what an agent says to its aggregator. It is pure: times come
// in as microseconds of a clock that only goes forward, effects go out.
type session struct {
	bootID      string
	ackUS       int64 // AckTimeout
	linger      int64
	refusedRest time.Duration
	phase       phase
	until       int64 // resting: HELLO is due then
	asked       int64 // greeting: when HELLO was said
	tries       int   // greeting: HELLOs unanswered
	at          uint64
	atSet       bool   // the next HELLO speaks of at
	replay      uint64 // first seq that is to be offered again; 0: none
	replayAsked bool   // the last HELLO asked for it
	told        bool   // this connection has had a HELLO that speaks of at
	install     string // journal that HELLO spoke of

	epoch, lease, generation uint64
	merged, safe             uint64
	opened                   int64

	next      uint64 // seq to send next
	top       uint64 // highest seq ever sent in this session
	flights   []flight
	credit    int
	awaiting  bool  // SendFrame is out
	notBefore int64 // start_after, pace, busy
	paceUS    int64
	ripe      int64 // a small frame leaves then; 0: not set

	timeouts, malformed int
	strikes             int   // HELLOs said because something was refused, without progress since
	fenced              int   // times superseded, without a settled session since
	gap                 int64 // when the last gap was obeyed
	gapAt               uint64

	n   Counts
	out []Effect
}

func newSession(bootID string, t Timing) *session {
	return &session{bootID: bootID, ackUS: t.AckTimeout.Microseconds(), linger: t.Linger.Microseconds(), refusedRest: t.RefusedRest}
}

// Step takes one input and tells what to do. now is in microseconds. The result
// is valid until the next Step.
func (s *session) Step(now int64, in Input) []Effect {
	s.out = s.out[:0]
	switch in.Kind {
	case onConnected:
		s.phase, s.tries, s.awaiting, s.told = offline, 0, false, false
		s.hello(now, &in)
	case onLost:
		s.phase, s.awaiting, s.atSet, s.flights = offline, false, false, s.flights[:0]
	case onWelcome:
		s.welcome(now, &in)
	case onAck:
		s.ack(now, &in)
	case onSent:
		s.sent(now, &in)
	case onUnsent:
		s.awaiting = false
		s.again(now, restMin, "journal does not give the records to send")
	case onReplay:
		s.replay = in.First
		if s.phase == sending {
			s.rest(now, 0, fmt.Sprintf("journal is offered again from seq %d: a command says so", in.First))
		}
	case onTick:
	}
	s.advance(now, &in)
	return s.out
}

// advance does what is due.
func (s *session) advance(now int64, in *Input) {
	switch s.phase {
	case resting:
		if now >= s.until {
			s.hello(now, in)
		}
	case greeting:
		if now < s.asked+s.ackUS {
			return
		}
		if s.tries >= helloTriesMax {
			s.phase = offline
			s.do(Effect{Do: Drop, Why: fmt.Sprintf("no WELCOME after %d HELLOs", s.tries)})
			return
		}
		s.hello(now, in)
	case sending:
		s.pursue(now, in)
	case offline:
	}
}

func (s *session) do(e Effect) { s.out = append(s.out, e) }

// hello says who we are.
func (s *session) hello(now int64, in *Input) {
	s.phase, s.asked, s.install = greeting, now, in.Journal.InstallID
	s.tries++
	s.n.Hellos++
	s.flights, s.awaiting, s.replayAsked = s.flights[:0], false, false
	e := Effect{Do: SayHello, Seq: min(s.at, in.Journal.Head), At: s.atSet}
	if j := &in.Journal; s.replay != 0 && !s.atSet {
		s.replay = max(s.replay, j.Tail)
		e.Seq, e.At, e.Replay = min(s.replay-1, j.Head), true, true
		s.replayAsked = true
	}
	s.do(e)
	s.atSet = false
}

// rest waits before the next HELLO; nothing is sent meanwhile.
func (s *session) rest(now int64, wait time.Duration, why string) {
	s.phase, s.until, s.flights, s.tries = resting, now+wait.Microseconds(), s.flights[:0], 0
	s.do(Effect{Do: Note, Why: why})
}

// again says HELLO because something was refused: at once the first time, then
// after a delay that doubles from one second to a minute. Progress resets it.
func (s *session) again(now int64, least time.Duration, why string) {
	wait := least
	if s.strikes >= strikesForRest {
		wait = max(least, min(restMax, restMin<<min(s.strikes-strikesForRest, 6)))
	}
	s.strikes++
	s.rest(now, wait, why)
}

// tell says HELLO of the seq where the two sides differ: at once on each
// connection, for until the aggregator hears of it nothing can get better, and
// a connection that a clone takes away must not count against the next one.
func (s *session) tell(now int64, why string) {
	if s.told {
		s.again(now, 0, why)
		return
	}
	s.told = true
	s.rest(now, 0, why)
}

// welcome opens a session, or finds that the two sides do not agree.
//
//	chain there = own chain   → send from merged_seq+1
//	chain differs, or beyond  → HELLO that speaks of that seq, so that the
//	the head, no rebase         aggregator sees the fork and mints an epoch
func (s *session) welcome(now int64, in *Input) {
	w := in.Welcome
	switch {
	case s.phase == offline || w.BootID != s.bootID:
		s.n.WelcomesForeign++
		return
	case w.Refused != "":
		s.n.WelcomesRefused++
		s.rest(now, s.refusedRest, "aggregator refuses to merge: "+clip(w.Refused))
		return
	case s.phase != greeting && w.Lease <= s.lease && w.Epoch <= s.epoch:
		s.n.WelcomesForeign++ // delivered twice
		return
	case w.Generation == s.generation && w.Lease <= s.lease:
		s.n.WelcomesForeign++ // of an earlier HELLO, late: leases only rise
		return
	case w.Generation < in.Journal.Generation:
		// Aggregators take a HELLO's generation for their own; one that does not is
		// broken, or another chain's. Following it would forget what is safe.
		s.n.WelcomesBackward++
		s.rest(now, s.refusedRest, fmt.Sprintf("WELCOME of cloud generation %d, this journal has seen %d", w.Generation, in.Journal.Generation))
		return
	case w.V != protocol.Version || w.Epoch == 0 || w.Lease == 0:
		s.n.WelcomesRefused++
		s.rest(now, s.refusedRest, fmt.Sprintf("WELCOME of version %d, epoch %d, lease %d cannot be followed", w.V, w.Epoch, w.Lease))
		return
	}
	if !in.Known || in.Own != w.ChainMerged {
		if s.phase == resting {
			return // late, and nothing new: HELLO is due anyway
		}
		s.n.Forks++
		s.at, s.atSet = w.MergedSeq, true
		s.tell(now, fmt.Sprintf("journal and aggregator differ at seq %d (head %d)", w.MergedSeq, in.Journal.Head))
		return
	}
	s.n.Welcomes++
	if s.replay != 0 && w.Rebase && w.MergedSeq < s.replay {
		s.replay = 0
		s.n.Replays++
	}
	if w.Epoch == in.Journal.Epoch && w.Generation == in.Journal.Generation && w.MergedSeq < in.Journal.Merged {
		s.n.WelcomesBackward++ // sent again; the journal's mark stays where it is
	}
	if w.Rebase {
		s.n.Rebases++
		s.strikes = min(s.strikes, strikesForRest) // what differed is settled; a repetition still waits a second
	}
	s.phase, s.tries, s.opened = sending, 0, now
	s.epoch, s.lease, s.generation = w.Epoch, w.Lease, w.Generation
	s.merged, s.safe = w.MergedSeq, w.SafeSeq
	s.timeouts, s.malformed, s.gap, s.gapAt, s.top = 0, 0, 0, 0, w.MergedSeq
	s.setCredit(w.Credit)
	s.setPace(w.PaceMS)
	s.notBefore = now + 1000*min(max(w.StartAfterMS, 0), startAfterMax.Milliseconds())
	s.rewind(now, w.MergedSeq+1)
	s.mark()
	// A command came between HELLO and this answer, or the HELLO spoke of a fork.
	if s.replay != 0 && !s.replayAsked {
		s.rest(now, 0, fmt.Sprintf("journal is offered again from seq %d: a command says so", s.replay))
		return
	}
	// Under a new epoch what is offered again may be merged already: only the
	// ledger, which knows the ids, can tell what it comes to.
	if !w.Rebase && in.Journal.Head > w.MergedSeq+digestBacklog {
		s.do(Effect{Do: Announce, Seq: w.MergedSeq})
	}
}

func (s *session) setCredit(n int) { s.credit = min(max(n, 1), protocol.CreditMax) }

func (s *session) setPace(ms int64) {
	s.paceUS = 1000 * min(max(ms, 0), paceMax.Milliseconds())
}

func (s *session) mark() {
	s.do(Effect{Do: SetMark, Mark: Mark{s.epoch, s.lease, s.merged, min(s.safe, s.merged), s.generation}})
}

// rewind makes seq the next to send, without waiting for company.
func (s *session) rewind(now int64, seq uint64) {
	s.next, s.flights, s.ripe, s.awaiting = seq, s.flights[:0], now, false
}

func clip(why string) string {
	if len(why) > errorBytesMax {
		return why[:errorBytesMax] + "…"
	}
	return why
}
