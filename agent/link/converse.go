package link

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"tillwire/protocol"
)

// errDropped ends a connection on the session's own wish.
var errDropped = errors.New("connection given up")

// converse works one connection: inputs to the session, its effects to the
// network and the journal, heartbeats whatever the session does.
func (l *Link) converse(ctx context.Context, c *connection) error {
	defer l.step(ctx, c, Input{Kind: onLost}) //nolint:errcheck // onLost has no effect that could fail
	if err := l.step(ctx, c, Input{Kind: onConnected}); err != nil {
		return err
	}
	l.renew(ctx, c, true)
	beat := time.NewTimer(l.beat(ctx, c))
	defer beat.Stop()
	tick := time.NewTimer(l.wait())
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-c.lost:
			return fmt.Errorf("connection lost: %w", c.why)
		case m := <-l.inbox:
			if m.from == c {
				err = l.hear(ctx, c, m)
			}
		case a := <-l.asks:
			err = l.take(ctx, c, a)
		case <-l.o.Journal.Appended():
			err = l.step(ctx, c, Input{Kind: onTick})
		case <-tick.C:
			err = l.step(ctx, c, Input{Kind: onTick})
		case <-beat.C:
			beat.Reset(l.beat(ctx, c))
			l.renew(ctx, c, false)
			err = l.step(ctx, c, Input{Kind: onTick})
		}
		if err != nil {
			return err
		}
		tick.Reset(l.wait())
	}
}

// wait is how long the session has nothing to do by itself.
func (l *Link) wait() time.Duration {
	at := l.core.deadline(l.o.Journal.State().Head)
	if at == math.MaxInt64 {
		return time.Hour
	}
	return max(time.Duration(at-l.now())*time.Microsecond, 0)
}

// hear decodes a control message and looks up what the session compares it with.
func (l *Link) hear(ctx context.Context, c *connection, m message) error {
	switch m.channel {
	case protocol.DnWelcome:
		var w protocol.Welcome
		if err := protocol.DecodeControl(m.payload, &w); err != nil {
			return l.unreadable(err)
		}
		if protocol.CheckName(w.Node) == nil {
			l.node = w.Node
		}
		own, known := l.own(w.MergedSeq)
		return l.step(ctx, c, Input{Kind: onWelcome, Welcome: &w, Own: own, Known: known})
	case protocol.DnAck:
		var a protocol.Ack
		if err := protocol.DecodeControl(m.payload, &a); err != nil {
			return l.unreadable(err)
		}
		l.clock.take(a.EchoUS, a.RecvUS, a.SendUS, m.gotUS)
		if offset, wrong, ok := l.clock.estimate(); ok && l.o.Clock != nil {
			l.o.Clock(offset, wrong)
		}
		own, known := l.own(a.MergedSeq)
		return l.step(ctx, c, Input{Kind: onAck, Ack: &a, Own: own, Known: known})
	case protocol.DnHolds:
		return l.takeHolds(m.payload)
	case protocol.DnDesired:
		return l.takeDesired(ctx, c, m.payload)
	case protocol.DnCommand:
		return l.takeCommand(m.payload)
	case protocol.DnRenewed:
		return l.takeRenewed(m.payload)
	default:
		return l.unreadable(fmt.Errorf("nobody listens on %s", m.channel))
	}
}

// takeHolds passes a part of the desired holds on. What could not be kept comes
// again: heartbeats say the revision that is.
func (l *Link) takeHolds(payload []byte) error {
	if l.o.Holds == nil {
		return nil
	}
	var h protocol.Holds
	if err := protocol.DecodeControl(payload, &h); err != nil {
		return l.unreadable(err)
	}
	if err := l.o.Holds(&h); err != nil {
		l.note("holds of the store cannot be kept: " + clip(err.Error()))
	}
	return nil
}

// unreadable is counted and passed over: time-outs ask again.
func (l *Link) unreadable(err error) error {
	l.unread++
	l.note("control message cannot be read: " + clip(err.Error()))
	return nil
}

func (l *Link) own(seq uint64) (protocol.Chain, bool) {
	chain, err := l.o.Journal.ChainAt(seq)
	return chain, err == nil
}

// step runs the session until it has nothing more to do.
func (l *Link) step(ctx context.Context, c *connection, in Input) error {
	for {
		st := l.o.Journal.State()
		in.Journal = Facts{InstallID: st.InstallID, Epoch: st.Epoch, Generation: st.Generation, Tail: st.Tail, Head: st.Head, Merged: st.Merged, BacklogBytes: st.BacklogBytes}
		next := Input{}
		for _, e := range l.core.Step(l.now(), in) {
			got, err := l.perform(ctx, c, e)
			if err != nil {
				return err
			}
			if got.Kind != 0 {
				next = got
			}
		}
		l.publishStatus()
		if next.Kind == 0 {
			return nil
		}
		in = next
	}
}

func (l *Link) perform(ctx context.Context, c *connection, e Effect) (Input, error) {
	switch e.Do {
	case SayHello:
		return Input{}, l.sayHello(ctx, c, e)
	case SendFrame:
		return l.sendFrame(ctx, c, e.Seq)
	case Announce:
		return Input{}, l.announce(ctx, c, e.Seq)
	case SetMark:
		l.setMark(e.Mark)
	case Drop:
		return Input{}, fmt.Errorf("%w: %s", errDropped, e.Why)
	case Note:
		l.note(e.Why)
	}
	return Input{}, nil
}

func (l *Link) note(why string) {
	l.update(func(s *Status) { s.LastError = why })
	if why == l.lastNote {
		return
	}
	l.lastNote = why
	l.o.Log.Warn().Str("why", why).Msg("link pauses")
}

// setMark tells the journal. Within one epoch and generation the journal's mark
// never goes back, though the sending cursor may: it stays where it was.
func (l *Link) setMark(m Mark) {
	st := l.o.Journal.State()
	l.o.Journal.SetLease(m.Lease)
	if m.Lease != st.Lease {
		l.o.Log.Info().Uint64("epoch", m.Epoch).Uint64("lease", m.Lease).Uint64("merged", m.Merged).Uint64("head", st.Head).Msg("session opened")
	}
	if m.Epoch == st.Epoch && m.Generation == st.Generation && m.Merged < st.Merged {
		return
	}
	if err := l.o.Journal.SetMerged(m.Epoch, m.Merged, m.Safe, m.Generation); err != nil {
		l.note("journal refuses the merged mark: " + clip(err.Error()))
		return
	}
	if l.core.strikes == 0 && l.core.fenced == 0 {
		l.lastNote = "" // the same trouble is news again
	}
	l.update(func(s *Status) { s.LastError = "" })
}

func (l *Link) sayHello(ctx context.Context, c *connection, e Effect) error {
	st := l.o.Journal.State()
	h := protocol.Hello{
		V: protocol.Version, InstallID: st.InstallID, BootID: l.o.BootID, Epoch: st.Epoch, Lease: l.core.lease, Tail: st.Tail, Head: st.Head,
		ChainTail: st.ChainTail, ChainHead: st.ChainHead, Agent: l.o.Version, Generation: st.Generation,
		MergedSeq: st.Merged, ChainMerged: st.ChainMerged, BootReason: l.bootReason(st.BootReason), SentUS: l.o.Now().UnixMicro(),
	}
	h.Replay = e.Replay
	if h.ConfigVer = 0; l.o.DesiredState != nil {
		h.ConfigVer, _ = l.o.DesiredState()
	}
	if e.At {
		if chain, ok := l.own(e.Seq); ok {
			h.MergedSeq, h.ChainMerged = e.Seq, chain
		}
	}
	return l.say(ctx, c, protocol.UpHello, "", 1, &h)
}

func (l *Link) bootReason(journals string) string {
	if l.o.BootReason != "" {
		return l.o.BootReason
	}
	return journals
}

func (l *Link) say(ctx context.Context, c *connection, ch protocol.Channel, node string, qos byte, m any) error {
	b, err := protocol.EncodeControl(m)
	if err != nil {
		return fmt.Errorf("encode %s: %w", ch, err)
	}
	return l.publish(ctx, c, protocol.Topic(l.o.Origin, ch, node), qos, b)
}

// publish waits until the pump takes the message, or the connection has ended.
func (l *Link) publish(ctx context.Context, c *connection, topic string, qos byte, payload []byte) error {
	select {
	case c.out <- outgoing{topic, qos, payload}:
		return nil
	case <-c.lost:
		return fmt.Errorf("connection lost: %w", c.why)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shelves lend the memory of one frame's records: hundreds of links in one
// process need it in turn.
var shelves = sync.Pool{New: func() any { return new([][]byte) }}

// sendFrame copies records from the journal, in one short transaction.
func (l *Link) sendFrame(ctx context.Context, c *connection, from uint64) (Input, error) {
	shelf, _ := shelves.Get().(*[][]byte)
	defer shelves.Put(shelf)
	records, prev, last, err := l.o.Journal.Read(from, protocol.FrameEventsMax, frameReadBytes, *shelf)
	if err != nil || len(records) == 0 {
		if err != nil {
			l.note("journal cannot be read: " + clip(err.Error()))
		}
		return Input{Kind: onUnsent}, nil
	}
	*shelf = records[:0]
	offset, wrong, _ := l.clock.estimate()
	b, err := l.o.Codec.Append(nil, &protocol.Frame{
		Epoch: l.core.epoch, Lease: l.core.lease, FirstSeq: from, PrevChain: prev, LastChain: last,
		SentUS: l.o.Now().UnixMicro(), UptimeUS: l.now(), ClockOffsetUS: offset, ClockErrorUS: wrong, Records: records,
	})
	if err != nil {
		l.note("frame cannot be encoded: " + clip(err.Error()))
		return Input{Kind: onUnsent}, nil
	}
	if err := l.publish(ctx, c, protocol.Topic(l.o.Origin, protocol.UpJournal, l.node), 1, b); err != nil {
		return Input{}, err
	}
	return Input{Kind: onSent, First: from, Last: from + uint64(len(records)) - 1}, nil
}

// publishStatus makes the session visible to Status.
func (l *Link) publishStatus() {
	offset, wrong, _ := l.clock.estimate()
	n := l.core.n
	l.update(func(s *Status) {
		if s.NextTry = (time.Time{}); l.core.phase == resting {
			s.NextTry = l.o.Now().Add(time.Duration(l.core.until-l.now()) * time.Microsecond)
		}
		s.Session, s.Epoch, s.Lease = l.core.phase.String(), l.core.epoch, l.core.lease
		s.ClockOffsetUS, s.ClockErrorUS = offset, wrong
		s.FramesSent, s.EventsSent, s.Superseded, s.Counts = n.Frames, n.Events, n.Superseded, n
		s.Unreadable = l.unread
		s.Refused = l.unread + n.WelcomesRefused + n.WelcomesBackward + n.AcksBeyondHead + n.AcksForeign + n.AcksWrongChain
	})
}

// spread draws from d ± 20 %, so that heartbeats of a chain do not beat as one.
func spread(d time.Duration) time.Duration {
	return d*4/5 + rand.N(max(d*2/5, 1)) //nolint:gosec // jitter, not a secret
}
