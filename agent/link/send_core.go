package link

import (
	"math"

	"tillwire/protocol"
)

// pursue keeps the window full and repeats what is not answered.
func (s *session) pursue(now int64, in *Input) {
	j := &in.Journal
	if j.InstallID != s.install {
		s.again(now, 0, "journal was salvaged into a new file")
		s.advanceRest(now, in)
		return
	}
	if len(s.flights) > 0 && now >= s.flights[0].sentAt+s.ackUS {
		s.n.Timeouts++
		if s.timeouts++; s.timeouts > resendsMax {
			// A half-open line looks like this long before the keep-alive
			// notices; a fresh connection says HELLO either way.
			s.do(Effect{Do: Drop, Why: "frames are not answered"})
			return
		}
		s.rewind(now, s.merged+1)
	}
	if s.awaiting || len(s.flights) >= s.credit || s.next > j.Head || now < s.notBefore || !s.isRipe(now, j) {
		return
	}
	s.awaiting = true
	s.do(Effect{Do: SendFrame, Seq: s.next})
}

func (s *session) advanceRest(now int64, in *Input) {
	if s.phase == resting && now >= s.until {
		s.hello(now, in)
	}
}

// isRipe lets a small frame wait for company; a full one leaves at once.
func (s *session) isRipe(now int64, j *Facts) bool {
	if j.Head-s.next+1 >= protocol.FrameEventsMax || (len(s.flights) == 0 && j.BacklogBytes >= protocol.FrameRawBytesMax) {
		return true
	}
	if s.ripe == 0 {
		s.ripe = now + s.linger
	}
	return now >= s.ripe
}

// sent notes what a frame carried.
func (s *session) sent(now int64, in *Input) {
	s.awaiting = false
	if s.phase != sending || in.First != s.next || in.Last < in.First {
		return
	}
	s.n.Frames++
	s.n.Events += in.Last - in.First + 1
	if in.First <= s.top {
		s.n.Resent += min(in.Last, s.top) - in.First + 1
	}
	s.top = max(s.top, in.Last)
	s.flights = append(s.flights, flight{in.Last, now})
	s.next, s.ripe = in.Last+1, 0
	s.notBefore = max(s.notBefore, now+s.paceUS)
}

// deadline is when Step wants an onTick, should nothing else happen; head is the
// journal's. math.MaxInt64 means never.
func (s *session) deadline(head uint64) int64 {
	at := int64(math.MaxInt64)
	switch s.phase {
	case resting:
		at = s.until
	case greeting:
		at = s.asked + s.ackUS
	case sending:
		if len(s.flights) > 0 {
			at = s.flights[0].sentAt + s.ackUS
		}
		if !s.awaiting && len(s.flights) < s.credit && s.next <= head {
			at = min(at, max(s.ripe, s.notBefore))
		}
	case offline:
	}
	return at
}
