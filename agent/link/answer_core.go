package link

import (
	"fmt"
	"time"

	"tillwire/protocol"
)

// ack takes an Ack: first what it says of merged, then its NACK, if any.
func (s *session) ack(now int64, in *Input) {
	a := in.Ack
	s.n.Acks++
	if s.phase != sending {
		s.n.AcksForeign++ // of a session that is over; the WELCOME to come says it all
		return
	}
	ours := a.V == protocol.Version && a.Epoch == s.epoch && a.Lease == s.lease
	if ours && !s.believe(now, in) {
		return
	}
	if !ours && a.Nack == protocol.NackNone {
		s.n.AcksForeign++
		return
	}
	if a.Nack != protocol.NackNone {
		s.n.Nacks++
		s.obey(now, a, ours, &in.Journal)
	}
}

// believe moves merged where the Ack is true of this journal. It is false where
// the session is at its end.
func (s *session) believe(now int64, in *Input) bool {
	a := in.Ack
	switch {
	case a.MergedSeq > in.Journal.Head:
		s.n.AcksBeyondHead++
		s.again(now, 0, fmt.Sprintf("ACK of seq %d, beyond the head %d", a.MergedSeq, in.Journal.Head))
		return false
	case a.MergedSeq < s.merged:
		s.n.AcksStale++
		return true
	case !in.Known || in.Own != a.ChainMerged:
		s.n.AcksWrongChain++
		s.at, s.atSet = a.MergedSeq, true
		s.again(now, 0, fmt.Sprintf("ACK of seq %d with another chain than the journal's", a.MergedSeq))
		return false
	}
	s.setCredit(a.Credit)
	s.setPace(a.PaceMS)
	progress := a.MergedSeq > s.merged
	if progress || min(a.SafeSeq, a.MergedSeq) > min(s.safe, s.merged) {
		s.merged, s.safe = a.MergedSeq, max(s.safe, a.SafeSeq)
		s.mark()
	}
	if progress {
		s.timeouts, s.malformed = 0, 0
		s.strikes = 0
		s.land(now)
	}
	if now-s.opened > settledAfter.Microseconds() {
		s.fenced = 0
	}
	return true
}

// land forgets the frames that are merged. Those behind get their time anew:
// the aggregator works.
func (s *session) land(now int64) {
	kept := s.flights[:0]
	for _, f := range s.flights {
		if f.last > s.merged {
			f.sentAt = now
			kept = append(kept, f)
		}
	}
	s.flights = kept
	if s.next <= s.merged {
		s.next = s.merged + 1
	}
}

// obey does what a NACK asks for.
func (s *session) obey(now int64, a *protocol.Ack, ours bool, j *Facts) {
	switch a.Nack {
	case protocol.NackGap:
		s.n.Gaps++
		if ours {
			s.closeGap(now, a.Expected, j)
		}
	case protocol.NackSuperseded:
		if ours {
			return // of a frame that our last session left behind
		}
		s.n.Superseded++
		wait := min(restMax, restMin<<min(s.fenced, 6))
		s.fenced++ // progress between two of them proves nothing: the other one makes it too
		s.rest(now, wait, "superseded: another process speaks for this agent; a copied disk, or two installations with one name")
	case protocol.NackUpgrade:
		s.n.Upgrades++
		s.rest(now, s.refusedRest, "aggregator does not know this agent's frame format: upgrade the aggregator")
	case protocol.NackQuarantined:
		s.n.Quarantined++
		s.rest(now, s.refusedRest, "quarantined: several processes speak for this agent; a person must pick the one that goes on")
	case protocol.NackMalformed:
		s.n.Malformed++
		if s.malformed++; s.malformed >= malformedMax {
			s.again(now, restMin, fmt.Sprintf("aggregator cannot read frames from seq %d on", s.merged+1))
			return
		}
		s.rewind(now, s.merged+1)
	case protocol.NackBusy:
		s.n.Busy++
		s.rewind(now, s.merged+1)
		wait := max(busyRest, min(paceMax, time.Duration(min(max(a.PaceMS, 0), paceMax.Milliseconds()))*time.Millisecond))
		s.notBefore = now + wait.Microseconds()
	case protocol.NackChain, protocol.NackNoSession:
		s.again(now, 0, "aggregator asks for HELLO: "+string(a.Nack))
	case protocol.NackNone:
	default:
		s.again(now, restMin, "aggregator refuses frames: "+clip(string(a.Nack)))
	}
}

// closeGap goes back to what is expected. Frames that were under way when the
// gap arose tell of it once each: the same gap is obeyed once a second.
func (s *session) closeGap(now int64, expected uint64, j *Facts) {
	if expected != s.merged+1 || expected > j.Head+1 {
		s.again(now, 0, fmt.Sprintf("aggregator expects seq %d, merged is %d", expected, s.merged))
		return
	}
	if expected == s.gapAt && now < s.gap+gapRepeat.Microseconds() {
		return
	}
	s.gapAt, s.gap = expected, now
	s.rewind(now, expected)
}
